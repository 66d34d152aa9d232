package backup

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/RC918/morningai"
)

// Format is the version of the form that this program writes, and the newest
// that it reads.
const Format = 1

// magic is not text, so that nobody takes a backup for it, and what changes
// line ends destroys it at once.
var magic = [8]byte{0x89, 'M', 'A', 'I', 'B', 'K', '\r', '\n'}

const (
	headerSize  = len(magic) + 2 + 2 + 4 // version, nothing, checksum
	blockHeader = 1 + 1 + 4 + 4 + 4      // kind, encoding, stored, plain, checksum
	// blockTarget is how much a block of records gathers, and maxBlock what a
	// single record may have: a thousand steps of the largest results do not fit.
	blockTarget = 1 << 20
	maxBlock    = 256 << 20
	// maxRatio bounds what a block unpacks to. What compresses better is stored
	// as it is, so that a reader can refuse a file that would grow without end.
	maxRatio    = 1000
	maxManifest = 1 << 20
	// What the settings of queues may have, and how many of them and of reports
	// there may be: far more than any system has, and what a reader can hold.
	maxSettings  = 64 << 20
	maxQueues    = 1 << 17
	maxIncidents = 10_000 // a server remembers a thousand
)

// most is what a block of a kind may unpack to.
func most(kind byte) uint32 {
	switch kind {
	case kindQueues:
		return maxSettings
	case kindManifest:
		return maxManifest
	case kindSignature, kindEnd:
		return sha256.Size
	}
	return maxBlock
}

// The kinds of block, in the order in which they come.
const (
	kindQueues    = 'Q' // JSON: settings of queues
	kindIncidents = 'I' // JSON: reports of outages
	kindRecords   = 'R' // length (uvarint) and packed record, again and again
	kindManifest  = 'M' // JSON
	kindSignature = 'S' // HMAC-SHA256
	kindEnd       = 'E' // SHA-256 of everything before the block
)

const (
	plainData = 0
	zstdData  = 1
)

// CodeDamaged: the file is no backup, or not any more what was written.
const CodeDamaged morningai.Code = "backup_damaged"

// CodeUntrusted: the signature is missing, or is not by this key.
const CodeUntrusted morningai.Code = "backup_untrusted"

// ErrDamaged and ErrUntrusted are for errors.Is.
var (
	ErrDamaged   error = &morningai.Error{Code: CodeDamaged}
	ErrUntrusted error = &morningai.Error{Code: CodeUntrusted}
)

func damaged(detail string) error {
	return &morningai.Error{Code: CodeDamaged, Op: "read backup", Detail: detail, Hint: "use another copy of it, or an older backup; nothing was changed"}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func header() []byte {
	b := append([]byte(nil), magic[:]...)
	b = binary.BigEndian.AppendUint16(b, Format)
	b = binary.BigEndian.AppendUint16(b, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// sign is the signature of a file whose bytes so far have this sum.
func sign(key, sum []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("morningai backup\x00"))
	m.Write(sum)
	return m.Sum(nil)
}

// Manifest says what a backup holds.
type Manifest struct {
	Format     int       `json:"format"`
	Program    string    `json:"program"` // version of the program that wrote it
	Engine     string    `json:"engine"`  // where the tasks were
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	// Consistency: "snapshot", all as of one moment, or "per_task", each task as
	// of a moment between the two times.
	Consistency string `json:"consistency"`
	// Generation is how often the data had been restored.
	Generation int64 `json:"generation"`
	// Data names the data of a Redis that servers with journals work on; absent
	// where there is no such thing.
	Data morningai.ID `json:"data,omitzero"`
	// Tasks counts them by state; Deleted are the ids of deleted ones, kept so
	// that they do not come back.
	Tasks     int64                     `json:"tasks"`
	States    map[morningai.State]int64 `json:"states"`
	Deleted   int64                     `json:"deleted"`
	Queues    int                       `json:"queues"`    // with settings
	Incidents int                       `json:"incidents"` // reports of outages
	// Undelivered counts entries of journals that Redis did not have: they are
	// not in the backup.
	Undelivered int64 `json:"undelivered"`
	// Bytes is the size of the records unpacked, Digest a checksum of them that
	// does not depend on their order.
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// The values of Manifest.Consistency.
const (
	ConsistencySnapshot = "snapshot"
	ConsistencyPerTask  = "per_task"
)

// Contents is what a backup has beside tasks.
type Contents struct {
	Queues    []morningai.QueueConfig
	Incidents []morningai.Incident
}

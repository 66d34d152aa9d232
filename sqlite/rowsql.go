package sqlite

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// A row has five columns: its number, its id, its slot (line, state and
// priority in one integer, which the index orders by), and two blobs: what was
// asked for, which never changes, and what has become of it. Few columns are
// what makes SQLite fast: it decodes and encodes all of them at every update.
const rowColumns = "seq,id,slot,spec,life"

const (
	insertColumns = 5
	blobFormat    = 1
)

// slotOf packs line, state and priority so that one line's tasks of one state
// and priority lie together, by number.
func slotOf(line int64, st status, prio int) int64 { return line<<8 | int64(st)<<4 | int64(prio) }

func (r *row) slot() int64 { return slotOf(r.line.id, r.status, r.priority) }

func bindInsert(s *stmt, at int, r *row, buf []byte) []byte {
	s.int(at+1, r.seq)
	s.blob(at+2, r.id[:])
	s.int(at+3, r.slot())
	buf = r.appendSpec(buf[:0])
	s.blob(at+4, buf)
	buf = r.appendLife(buf[:0])
	s.blob(at+5, buf)
	return buf
}

func insertSQL(n int) string { return "INSERT INTO tasks (" + rowColumns + ") VALUES " + fives(n) }

func noteSQL(n int) string { return "INSERT INTO notes (seq,kind,key,alt,data) VALUES " + fives(n) }

func fives(n int) string { return strings.Repeat("(?,?,?,?,?),", n-1) + "(?,?,?,?,?)" }

const updateSQL = "UPDATE tasks SET slot=?1,life=?2 WHERE seq=?3"

func bindUpdate(s *stmt, r *row, buf []byte) []byte {
	s.int(1, r.slot())
	buf = r.appendLife(buf[:0])
	s.blob(2, buf)
	s.int(3, r.seq)
	return buf
}

func appendText[T string | []byte](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// Marks of fields that a spec's blob carries only if they are not the default.
const (
	hasCreated = 1 << iota
	hasAttempts
	hasTimeout
	hasRetention
	hasTrace
	hasKey
	hasMetadata
	hasFingerprint
)

func (r *row) appendSpec(b []byte) []byte {
	var has byte
	mark := func(ok bool, bit byte) {
		if ok {
			has |= bit
		}
	}
	mark(r.created != r.seq, hasCreated)
	mark(r.maxAttempts != morningai.DefaultMaxAttempts || r.exclusive, hasAttempts)
	mark(r.timeout != morningai.DefaultTimeout, hasTimeout)
	mark(r.retention != nil, hasRetention)
	mark(r.trace != r.id, hasTrace)
	mark(r.ukey != "", hasKey)
	mark(r.metadata != "", hasMetadata)
	mark(r.fingerprint != "", hasFingerprint)
	b = append(b, blobFormat, has)
	if has&hasCreated != 0 {
		b = binary.AppendVarint(b, r.created)
	}
	if has&hasAttempts != 0 {
		attempts := int64(r.maxAttempts)
		if r.exclusive { // a number below zero says so
			attempts = -attempts
		}
		b = binary.AppendVarint(b, attempts)
	}
	if has&hasTimeout != 0 {
		b = binary.AppendVarint(b, int64(r.timeout))
	}
	if has&hasRetention != 0 {
		b = binary.AppendVarint(b, int64(*r.retention))
	}
	if has&hasTrace != 0 {
		b = append(b, r.trace[:]...)
	}
	if has&hasKey != 0 {
		b = appendText(b, r.ukey)
	}
	if has&hasMetadata != 0 {
		b = appendText(b, r.metadata)
	}
	if has&hasFingerprint != 0 {
		b = appendText(b, r.fingerprint)
	}
	return append(b, r.payload...)
}

// lifeRoom is what the life of a task that ends at its first attempt with a
// short result takes. A fresh row has that room, so that the end overwrites it
// in place: a row that grows is moved about in its page, and often to another.
const lifeRoom = 48

var noLife [lifeRoom]byte

// appendLife writes what has become of the task, filled up with zeros to
// lifeRoom. A fresh one has none of the fields after the due time.
func (r *row) appendLife(b []byte) []byte {
	at := len(b)
	b = r.appendFields(b)
	return append(b, noLife[:max(0, lifeRoom-(len(b)-at))]...)
}

func (r *row) appendFields(b []byte) []byte {
	b = append(b, blobFormat)
	for _, v := range [...]int64{r.version, r.era, r.runAt} {
		b = binary.AppendVarint(b, v)
	}
	if r.fresh() {
		return append(b, 0)
	}
	b = append(b, 1)
	nodeID := int64(0)
	if r.node != nil {
		nodeID = r.node.id
	}
	for _, v := range [...]int64{r.life, r.attempt, r.failures, r.claim, int64(r.flags), int64(r.settled), nodeID,
		r.started - r.created, r.finished - r.started, r.expires - r.finished} {
		b = binary.AppendVarint(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(r.lease))
	b = appendText(b, r.result)
	b = appendText(b, r.err)
	b = appendText(b, r.stack)
	return appendText(b, r.progress)
}

func (r *row) fresh() bool {
	return r.life == 1 && r.attempt == 0 && r.failures == 0 && r.claim == 0 && r.lease == 0 && r.flags == 0 && r.settled == 0 && r.node == nil &&
		r.started == 0 && r.finished == 0 && r.expires == 0 && r.result == nil && r.err == "" && r.stack == "" && r.progress == nil
}

// decoder reads the blobs; bad stays set after the first field that does not
// fit.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) take(n uint64) []byte {
	if uint64(len(d.b)) < n {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) text() []byte {
	n, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.bad = true
		return nil
	}
	d.b = d.b[k:]
	if n == 0 {
		return nil
	}
	return d.take(n)
}

func (d *decoder) format() {
	if f := d.take(1); len(f) != 1 || f[0] != blobFormat {
		d.bad = true
	}
}

var errBadRow = errors.New("a stored task cannot be read; the file is damaged")

// scanRow reads the columns of rowColumns.
func (e *Engine) scanRow(s *stmt) (*row, error) {
	r := &row{seq: s.colInt(0)}
	copy(r.id[:], s.colRaw(1))
	slot := s.colInt(2)
	r.line = e.names.line(slot >> 8)
	r.status, r.priority = status(slot>>4&15), int(slot&15)
	if r.line == nil || r.status.base() == 0 || !r.readSpec(decoder{b: s.colRaw(3)}) || !e.readLife(r, decoder{b: s.colRaw(4)}) {
		return nil, errBadRow
	}
	return r, nil
}

func (r *row) readSpec(d decoder) bool {
	d.format()
	mark := d.take(1)
	if d.bad {
		return false
	}
	has := mark[0]
	r.created, r.maxAttempts, r.timeout, r.trace = r.seq, morningai.DefaultMaxAttempts, morningai.DefaultTimeout, r.id
	if has&hasCreated != 0 {
		r.created = d.int()
	}
	if has&hasAttempts != 0 {
		attempts := int(d.int())
		r.maxAttempts, r.exclusive = max(attempts, -attempts), attempts < 0
	}
	if has&hasTimeout != 0 {
		r.timeout = time.Duration(d.int())
	}
	if has&hasRetention != 0 {
		keep := time.Duration(d.int())
		r.retention = &keep
	}
	if has&hasTrace != 0 {
		copy(r.trace[:], d.take(16))
	}
	if has&hasKey != 0 {
		r.ukey = string(d.text())
	}
	if has&hasMetadata != 0 {
		r.metadata = string(d.text())
	}
	if has&hasFingerprint != 0 {
		r.fingerprint = string(d.text())
	}
	r.payload = clone(d.b)
	return !d.bad
}

func (e *Engine) readLife(r *row, d decoder) bool {
	d.format()
	r.version, r.era, r.runAt, r.life = d.int(), d.int(), d.int(), 1
	if used := d.take(1); d.bad || used[0] == 0 {
		return !d.bad
	}
	r.life, r.attempt, r.failures, r.claim = d.int(), d.int(), d.int(), d.int()
	r.flags, r.settled = uint8(d.int()), uint8(d.int())
	if id := d.int(); id != 0 {
		r.node = e.names.node(id)
	}
	r.started = r.created + d.int()
	r.finished = r.started + d.int()
	r.expires = r.finished + d.int()
	if raw := d.take(8); raw != nil {
		r.lease = int64(binary.LittleEndian.Uint64(raw))
	}
	r.result = clone(d.text())
	r.err, r.stack = string(d.text()), string(d.text())
	r.progress = clone(d.text())
	return !d.bad && int(r.settled) < len(outcomes)
}

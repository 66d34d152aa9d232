package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/RC918/morningai"
)

// reader reads one backup and takes nothing in it on trust.
type reader struct {
	from   *bufio.Reader
	sum    hash.Hash
	at     int64 // bytes read
	unpack *zstd.Decoder
	data   []byte
	plain  []byte
	// sums are those of the file after each block; known, if not nil, are those
	// that it had when it was read before.
	sums, known [][]byte
}

// block is valid until the next one is read.
type block struct {
	kind  byte
	plain []byte
	check uint32
	sum   []byte // of the file before the block
	start int64
}

func newReader(from io.Reader) (*reader, error) {
	unpack, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("set up decompression: %w", err)
	}
	return &reader{from: bufio.NewReaderSize(from, 256<<10), sum: sha256.New(), unpack: unpack}, nil
}

func (r *reader) close() { r.unpack.Close() }

// full reads exactly this much.
func (r *reader) full(b []byte) error {
	n, err := io.ReadFull(r.from, b)
	r.at += int64(n)
	r.sum.Write(b[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("the backup is cut off: it ends before its end is written")
	}
	return err
}

func (r *reader) header() error {
	b := make([]byte, headerSize)
	if err := r.full(b); err != nil {
		if r.at == 0 || !bytes.HasPrefix(b, magic[:min(int(r.at), len(magic))]) {
			return notABackup()
		}
		return err
	}
	if !bytes.HasPrefix(b, magic[:]) {
		return notABackup()
	}
	if binary.BigEndian.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli) {
		return damaged("the header of the backup is damaged")
	}
	switch version := binary.BigEndian.Uint16(b[len(magic):]); {
	case version > Format:
		return &morningai.Error{Code: morningai.CodeNewerFormat, Op: "read backup",
			Detail: fmt.Sprintf("the backup has format %d and this program knows formats up to %d", version, Format),
			Hint:   "use the version of the program that wrote it, or a newer one"}
	case version != Format || b[len(magic)+2] != 0 || b[len(magic)+3] != 0:
		return damaged("the header of the backup is damaged")
	}
	return nil
}

func notABackup() error { return damaged("the file is not a backup of morningai") }

// next reads a block.
func (r *reader) next() (*block, error) {
	b := &block{sum: r.sum.Sum(nil), start: r.at}
	head := make([]byte, blockHeader)
	if err := r.full(head); err != nil {
		return nil, err
	}
	b.kind = head[0]
	stored, plain := binary.BigEndian.Uint32(head[2:]), binary.BigEndian.Uint32(head[6:])
	b.check = binary.BigEndian.Uint32(head[10:])
	broken := func() error {
		return damaged(fmt.Sprintf("the backup is damaged at byte %d", b.start))
	}
	if stored > maxBlock || head[1] > zstdData || head[1] == plainData && stored != plain {
		return nil, broken()
	}
	if plain > most(b.kind) || head[1] == zstdData && plain/maxRatio >= max(stored, 1) {
		return nil, damaged(fmt.Sprintf("the backup unpacks to more than it can hold, at byte %d", b.start))
	}
	// The room grows with what comes, not with what is announced.
	r.data = r.data[:0]
	for left := int(stored); left > 0; {
		n := min(left, 1<<20)
		from := len(r.data)
		r.data = append(r.data, make([]byte, n)...)
		if err := r.full(r.data[from:]); err != nil {
			return nil, err
		}
		left -= n
	}
	sum := r.sum.Sum(nil)
	if n := len(r.sums); r.known != nil && (n >= len(r.known) || !bytes.Equal(r.known[n], sum)) {
		return nil, damaged("the backup has changed since it was checked")
	}
	r.sums = append(r.sums, sum)
	if b.check != crc32.Update(crc32.Checksum(head[:10], castagnoli), castagnoli, r.data) {
		return nil, broken()
	}
	b.plain = r.data
	if head[1] == zstdData {
		if cap(r.plain) < int(plain) || cap(r.plain) > 4*blockTarget {
			r.plain = make([]byte, 0, plain)
		}
		out, err := r.unpack.DecodeAll(r.data, r.plain[:0:plain])
		if err != nil || len(out) != int(plain) {
			return nil, broken()
		}
		b.plain = out
	}
	return b, nil
}

// found is what a backup was found to hold.
type found struct {
	Contents
	manifest  Manifest
	signed    bool
	signature int64 // where the blocks after the manifest begin
	sum       []byte
}

// read goes through a whole backup. each is called with the records of a block,
// in order; they may be kept. key, if not nil, must be that of the signature.
func (r *reader) read(ctx context.Context, key []byte, each func([]morningai.Record) error) (*found, error) {
	if err := r.header(); err != nil {
		return nil, err
	}
	f := &found{}
	counted := newTally()
	last := byte(0)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := r.next()
		if err != nil {
			return nil, err
		}
		if !follows(last, b.kind) {
			return nil, damaged(fmt.Sprintf("the backup is damaged at byte %d: its parts are out of order", b.start))
		}
		last = b.kind
		switch b.kind {
		case kindQueues:
			f.Queues, err = readList(b, maxQueues, func(q *morningai.QueueConfig) error {
				return morningai.QueueChange{Paused: &q.Paused, Concurrency: &q.Concurrency, Rate: &q.Rate}.Validate(q.Name)
			})
		case kindIncidents:
			f.Incidents, err = readList(b, maxIncidents, reportOK)
		case kindRecords:
			var records []morningai.Record
			if records, err = parse(b, &counted); err == nil {
				err = each(records)
			}
		case kindManifest:
			err = r.manifest(b, f, &counted)
		case kindSignature:
			f.signed = true
			if key != nil && !hmac.Equal(b.plain, sign(key, b.sum)) {
				return nil, &morningai.Error{Code: CodeUntrusted, Op: "read backup", Detail: "the signature is not by this key: the backup was changed, or signed with another key",
					Hint: "use the key that the backup was made with; if it is this one, do not use the backup"}
			}
		case kindEnd:
			return f, r.end(b, f, key)
		}
		if err != nil {
			return nil, err
		}
	}
}

// follows says which kind of block may come after which.
func follows(last, kind byte) bool {
	switch kind {
	case kindQueues:
		return last == 0
	case kindIncidents:
		return last == kindQueues
	case kindRecords, kindManifest:
		return last == kindIncidents || last == kindRecords
	case kindSignature:
		return last == kindManifest
	case kindEnd:
		return last == kindManifest || last == kindSignature
	}
	return false
}

func (r *reader) end(b *block, f *found, key []byte) error {
	if !bytes.Equal(b.plain, b.sum) {
		return damaged("the backup is damaged: its checksum is another")
	}
	f.sum = append([]byte(nil), b.sum...)
	if _, err := r.from.ReadByte(); err == nil {
		return damaged("something follows the end of the backup")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if key != nil && !f.signed {
		return &morningai.Error{Code: CodeUntrusted, Op: "read backup", Detail: "the backup is not signed", Hint: "leave the key out to use it all the same"}
	}
	return nil
}

func (r *reader) manifest(b *block, f *found, counted *tally) error {
	if err := readJSON(b, &f.manifest); err != nil {
		return err
	}
	m := &f.manifest
	if m.Format != Format || !counted.matches(m) || m.Queues != len(f.Queues) || m.Incidents != len(f.Incidents) {
		return damaged("the manifest of the backup does not fit to what it holds")
	}
	f.signature = r.at
	return nil
}

func readJSON(b *block, to any) error {
	if err := json.Unmarshal(b.plain, to); err != nil {
		return damaged(fmt.Sprintf("the backup is damaged at byte %d: it has no such contents", b.start))
	}
	return nil
}

// readList reads a JSON list item by item, each of them one that can be. What it
// holds in memory is bounded by their number: an item costs more than its text.
func readList[T any](b *block, most int, check func(*T) error) ([]T, error) {
	no := damaged(fmt.Sprintf("the backup is damaged at byte %d: it has no such contents", b.start))
	from := json.NewDecoder(bytes.NewReader(b.plain))
	if open, err := from.Token(); err != nil || open != json.Delim('[') {
		return nil, no
	}
	out := []T{}
	for from.More() {
		var item T
		if len(out) == most || from.Decode(&item) != nil || check(&item) != nil {
			return nil, no
		}
		out = append(out, item)
	}
	if _, err := from.Token(); err != nil { // the end of the list
		return nil, no
	}
	if _, err := from.Token(); !errors.Is(err, io.EOF) {
		return nil, no
	}
	return out, nil
}

func reportOK(i *morningai.Incident) error {
	if i.ID.IsZero() || i.StartedAt.IsZero() || max(len(i.RepeatedIDs), len(i.MaybeRepeatedIDs), len(i.SetAsideIDs), len(i.LostIDs)) > morningai.MaxIncidentIDs {
		return morningai.ErrInvalidInput
	}
	return nil
}

// parse reads the records of a block, each of them one that engines import.
func parse(b *block, counted *tally) ([]morningai.Record, error) {
	var out []morningai.Record
	for rest := b.plain; len(rest) > 0; {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return nil, damaged(fmt.Sprintf("the backup is damaged at byte %d", b.start))
		}
		packed := rest[used : used+int(n)]
		rest = rest[used+int(n):]
		if len(b.plain) > blockTarget+binary.MaxVarintLen64 && len(packed)+used != len(b.plain) {
			return nil, damaged(fmt.Sprintf("the backup is damaged at byte %d: more tasks in one part than it holds", b.start))
		}
		rec, err := morningai.ParseRecord(packed)
		if errors.Is(err, morningai.ErrNewerFormat) {
			return nil, err
		}
		if err == nil {
			err = rec.Validate()
		}
		if err != nil {
			return nil, damaged(fmt.Sprintf("the backup is damaged at byte %d: a task in it cannot be one", b.start))
		}
		counted.add(&rec, packed)
		out = append(out, rec)
	}
	return out, nil
}

package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/RC918/morningai"
)

// writer writes one backup. The first error stays, and is returned by all that
// follows.
type writer struct {
	to    io.Writer
	sum   hash.Hash
	pack  *zstd.Encoder
	block []byte // records gathered
	one   []byte // the record packed last
	data  []byte // a block compressed
	tally tally
	err   error
}

func newWriter(to io.Writer) (*writer, error) {
	// Small windows keep the memory of reader and writer small.
	pack, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(blockTarget), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	w := &writer{to: to, sum: sha256.New(), pack: pack, tally: newTally()}
	w.write(header())
	return w, w.err
}

func (w *writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.to.Write(b)
		w.sum.Write(b)
	}
}

// emit writes a block.
func (w *writer) emit(kind byte, plain []byte) {
	if w.err != nil {
		return
	}
	encoding, data := byte(plainData), plain
	if kind != kindEnd && kind != kindSignature {
		w.data = w.pack.EncodeAll(plain, w.data[:0])
		if len(w.data) < len(plain) && len(plain)/maxRatio < len(w.data) {
			encoding, data = zstdData, w.data
		}
	}
	head := []byte{kind, encoding}
	head = binary.BigEndian.AppendUint32(head, uint32(len(data)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(plain)))
	check := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, data)
	w.write(binary.BigEndian.AppendUint32(head, check))
	w.write(data)
}

func (w *writer) emitJSON(kind byte, v any) {
	data, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write backup: %w", err)
	}
	w.emit(kind, data)
}

// add takes a record.
func (w *writer) add(r *morningai.Record) error {
	if w.err != nil {
		return w.err
	}
	var err error
	if w.one, err = r.AppendBinary(w.one[:0]); err != nil {
		return err
	}
	if len(w.one) > maxBlock-binary.MaxVarintLen64 {
		return &morningai.Error{Code: morningai.CodeTooLarge, Op: "write backup", Detail: fmt.Sprintf("the task %s has more than %d MiB of steps, logs and attempts", r.Task.ID, maxBlock>>20)}
	}
	if len(w.block) > 0 && len(w.block)+len(w.one) > blockTarget {
		w.flush()
	}
	w.block = binary.AppendUvarint(w.block, uint64(len(w.one)))
	w.block = append(w.block, w.one...)
	w.tally.add(r, w.one)
	return w.err
}

func (w *writer) flush() {
	if len(w.block) > 0 {
		w.emit(kindRecords, w.block)
	}
	w.block = w.block[:0]
	if cap(w.block) > 4*blockTarget { // of a rare large record
		w.block, w.one, w.data = nil, nil, nil
	}
}

// finish writes what comes last. m has everything but the counts.
func (w *writer) finish(m *Manifest, key []byte) error {
	w.flush()
	m.Format = Format
	w.tally.into(m)
	w.emitJSON(kindManifest, m)
	w.end(key)
	return w.err
}

// end writes the signature, if there is a key, and the sum of everything.
func (w *writer) end(key []byte) {
	if key != nil {
		w.emit(kindSignature, sign(key, w.sum.Sum(nil)))
	}
	w.emit(kindEnd, w.sum.Sum(nil))
}

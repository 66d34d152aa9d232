package redis

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"
)

// mark is what one partition had acknowledged to an earlier process.
type mark struct {
	lineage    string
	generation int64
	lanes      []string
	acked      []uint64
}

// Acknowledged is what Redis has acknowledged to this engine so far, in a form for
// [WithAcknowledged]. It is of use while the lanes of this engine are on record:
// for a week, if nothing is lost meanwhile.
func (e *Engine) Acknowledged() []byte {
	var out []byte
	for i, d := range e.known(e.awayParts()) {
		lanes := e.parts[i].marks(d)
		if d.lineage == "" {
			lanes = nil
		}
		out = appendText(out, d.lineage)
		out = binary.AppendUvarint(out, uint64(d.generation))
		out = binary.AppendUvarint(out, uint64(len(lanes)/2))
		for n := 0; n < len(lanes); n += 2 {
			acked, err := strconv.ParseUint(lanes[n+1], 10, 64)
			if err != nil {
				acked = 0 // marks has made it of a number
			}
			out = binary.AppendUvarint(appendText(out, lanes[n]), acked)
		}
	}
	return out
}

// readMarks reads what Acknowledged has returned; nil if it is not of so many
// partitions.
func readMarks(packed []byte, partitions int) []mark {
	r := &reader{rest: string(packed), ok: true}
	out := make([]mark, partitions)
	for i := range out {
		m := &out[i]
		m.lineage, m.generation = r.text(), int64(r.uvarint())
		for range r.uvarint() {
			if !r.ok {
				return nil
			}
			m.lanes, m.acked = append(m.lanes, r.text()), append(m.acked, r.uvarint())
		}
	}
	if !r.ok || r.rest != "" {
		return nil
	}
	return out
}

// recall compares the data with what an earlier process was acknowledged. If they
// have less of it, and nobody has noticed yet, they have lost something since.
func (p *partition) recall(ctx context.Context) error {
	known := p.dataSet()
	if p.n >= len(p.eng.opt.acknowledged) {
		return nil
	}
	m := p.eng.opt.acknowledged[p.n]
	if m.lineage != known.lineage || len(m.lanes) == 0 {
		return nil
	}
	result, err := p.eng.do(ctx, p.eng.client.B().Hmget().Key(p.base+"lanes").Field(m.lanes...).Build())
	if err != nil {
		return err
	}
	stored, err := result.AsStrSlice()
	if err != nil {
		return err
	}
	if len(stored) != len(m.lanes) {
		return errCorrupt
	}
	forgotten := time.Since(p.eng.opt.acknowledgedAt) > p.eng.opt.laneAge-laneMargin
	for i, text := range stored {
		if text == "" && forgotten {
			continue // it has not been used for so long that its record has gone
		}
		if lags(text, strconv.FormatUint(m.acked[i], 10)) {
			return p.noticed(ctx, known)
		}
	}
	return nil
}

// laneMargin covers clocks that differ.
const laneMargin = time.Hour

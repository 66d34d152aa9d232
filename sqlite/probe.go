package sqlite

import (
	"context"

	"github.com/RC918/morningai"
)

// Probe implements morningai.Engine: it commits a row of its own, behind the
// writes under way. After a request found the disk full, the row has its size:
// a small one often fits where tasks do not.
func (e *Engine) Probe(ctx context.Context) error {
	p := &probe{}
	if err := e.submit(ctx, p); err != nil {
		return err
	}
	if p.refused == nil && p.room > 0 {
		return e.submit(ctx, &emptied{p.room})
	}
	return p.refused
}

type probe struct {
	room    int // bytes written to find out whether they fit
	refused error
}

func (*probe) size() int { return 1 }

func (p *probe) apply(t *txn) error {
	full, err := t.full()
	if err != nil {
		return err
	}
	if p.refused = nil; full {
		p.refused = fileFull("probe")
		return nil
	}
	if p.room = t.e.tight; p.room > 0 {
		s := t.e.sql.metaPut
		s.text(1, metaRoom)
		s.blob(2, make([]byte, p.room))
		if err := s.exec(); err != nil {
			return err
		}
	}
	return t.e.sql.setMeta(metaProbe, t.nowUS)
}

// emptied gives the room back that a probe has found.
type emptied struct{ room int }

func (*emptied) size() int { return 1 }

func (p *emptied) apply(t *txn) error {
	t.after = append(t.after, func(e *Engine) error {
		if e.tight <= p.room {
			e.tight = 0
		}
		return nil
	})
	return t.e.sql.setMeta(metaRoom, 0)
}

// maxTight bounds the size of a probe.
const maxTight = 2 << 20

// noteFull remembers the largest request of a commit that found the disk full.
func (e *Engine) noteFull(batch []*request) {
	for _, r := range batch {
		e.tight = min(maxTight, max(e.tight, room(r.work)))
	}
}

// room is about how many bytes work needs.
func room(w work) int {
	const row = 512 // and its entries in indexes
	n := row * w.size()
	if in, ok := w.(*enqueueWork); ok {
		for _, r := range in.rows {
			n += len(r.payload) + len(r.metadata)
		}
	}
	return n
}

func fileFull(op string) error {
	return &morningai.Error{Code: morningai.CodeStorageFull, Op: op, Detail: "the task file has reached its size limit; nothing was accepted",
		Hint: "raise the limit, or wait until ended tasks have passed their retention"}
}

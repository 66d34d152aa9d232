package sqlite

import (
	"context"

	"github.com/RC918/morningai"
)

// withdrawWork turns tasks that do not run into notes.
type withdrawWork struct {
	kind  morningai.NoteKind
	limit int
	notes []morningai.Note
}

func (w *withdrawWork) size() int { return w.limit }

// Withdraw implements morningai.Journal. Tasks past their retention are among
// those it takes, as long as they are stored; at most a thousand go at once.
func (e *Engine) Withdraw(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	if err := checkKind("withdraw", kind); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > morningai.MaxBatch {
		limit = morningai.MaxBatch
	}
	w := &withdrawWork{kind: kind, limit: limit}
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.notes, nil
}

func (w *withdrawWork) apply(t *txn) error {
	w.notes = nil
	for after := int64(0); len(w.notes) < w.limit; {
		// A page at a time: what runs, and tombstones, are passed over.
		q := t.e.sql.oldestAny
		q.int(1, after)
		q.int(2, int64(w.limit-len(w.notes)))
		seqs, err := numbers(q)
		if err != nil || len(seqs) == 0 {
			return err
		}
		after = seqs[len(seqs)-1]
		for _, seq := range seqs {
			if err := w.take(t, seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// take withdraws one task, unless it runs or is a tombstone. One that is ready
// is out of reach for claims from findSeq on.
func (w *withdrawWork) take(t *txn, seq int64) error {
	if t.bySeq[seq] == nil && t.e.runOf(seq) != nil {
		return nil
	}
	it, err := t.findSeq(seq)
	if err != nil || it == nil || it.gone || it.running || it.row.flags&flagDeleted != 0 {
		return err
	}
	rec, err := t.e.record(t.e.own, it.row, nil)
	if err != nil {
		return err
	}
	n := morningai.Note{NoteKey: morningai.NoteKey{Kind: w.kind, Key: it.row.id}, Alt: it.row.ukey}
	if n.Data, err = rec.AppendBinary(nil); err != nil {
		return err
	}
	if err := t.freeKey(it); err != nil {
		return err
	}
	if err := t.leave(it); err != nil {
		return err
	}
	if n.Seq, err = t.note(&n); err != nil {
		return err
	}
	w.notes = append(w.notes, n)
	return nil
}

package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

type enqueueWork struct {
	rows     []*row // one per valid spec, as the spec asks for
	at       []int  // the spec each row came from
	made     []bool // the row is a new task, whose receipt is left to the caller's goroutine
	now      time.Time
	receipts []morningai.Receipt
	refused  error // the file is full
}

func (w *enqueueWork) size() int { return len(w.rows) }

// Enqueue implements morningai.Engine.
func (e *Engine) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	w := &enqueueWork{rows: make([]*row, 0, len(specs)), at: make([]int, 0, len(specs)), receipts: make([]morningai.Receipt, len(specs))}
	for i := range specs {
		spec := specs[i]
		err := spec.Normalize()
		if err == nil {
			r := new(row)
			if err = e.rowOf(r, &spec); err == nil {
				w.rows = append(w.rows, r)
			}
		}
		if err != nil {
			w.receipts[i].Err = err
			continue
		}
		w.at = append(w.at, i)
	}
	if len(w.rows) > 0 {
		w.made = make([]bool, len(w.rows))
		if err := e.submit(ctx, w); err != nil {
			return nil, err
		}
	}
	if w.refused != nil {
		return nil, w.refused
	}
	for i, r := range w.rows {
		if w.made[i] {
			w.receipts[w.at[i]] = stamp(morningai.Receipt{Task: e.view(r, nil, w.now)})
		}
	}
	return w.receipts, nil
}

// rowOf fills a row with what a spec asks for. It copies the payload, which the
// caller may use again.
func (e *Engine) rowOf(r *row, s *morningai.TaskSpec) error {
	meta := ""
	if len(s.Metadata) > 0 {
		raw, err := json.Marshal(s.Metadata)
		if err != nil {
			return fmt.Errorf("enqueue: %w", err)
		}
		meta = string(raw)
	}
	*r = row{
		id: s.ID, trace: s.TraceID, line: e.names.lineFor(s.Queue, s.Type), priority: s.Priority, payload: clone(s.Payload),
		maxAttempts: s.MaxAttempts, exclusive: s.Exclusive, timeout: s.Timeout, ukey: s.UniqueKey, metadata: meta, fingerprint: s.Fingerprint,
		runAt: micros(s.RunAt), version: 1, era: e.era, life: 1,
	}
	if s.Retention != nil {
		d := *s.Retention
		r.retention = &d
	}
	return nil
}

func (w *enqueueWork) apply(t *txn) error {
	w.refused = nil
	if full, err := t.full(); err != nil || full {
		if err != nil {
			return err
		}
		return w.repeats(t)
	}
	w.now = t.now
	for i, r := range w.rows {
		rc, made, err := t.enqueue(r)
		if err != nil {
			return err
		}
		w.receipts[w.at[i]], w.made[i] = rc, made
	}
	return nil
}

// repeats answers, with the file full, for tasks that are all known already.
func (w *enqueueWork) repeats(t *txn) error {
	for i := range w.rows {
		old, run, err := t.peek(w.rows[i].id)
		if err != nil {
			return err
		}
		if old == nil {
			w.refused = fileFull("enqueue")
			return nil
		}
		w.receipts[w.at[i]] = t.again(w.rows[i], old, run)
	}
	return nil
}

// enqueue makes a task of the row, unless it answers with a receipt for one
// that exists.
func (t *txn) enqueue(r *row) (rc morningai.Receipt, made bool, err error) {
	old, run, err := t.peek(r.id)
	if err != nil {
		return rc, false, err
	}
	if old != nil {
		return t.again(r, old, run), false, nil
	}
	if r.ukey != "" {
		holder, run, err := t.holder(r.ukey)
		if err != nil {
			return rc, false, err
		}
		if holder != nil {
			rc = morningai.Receipt{Task: t.e.view(holder, run, t.now), Existing: true}
			rc.Task.Duplicate = true
			return stamp(rc), false, nil
		}
	}
	r.status = stQueued
	kind := morningai.EventQueued
	if r.runAt > t.nowUS {
		r.status, kind = stScheduled, morningai.EventScheduled
	} else {
		r.runAt = 0
	}
	it := t.create(r)
	if r.ukey != "" {
		if err := t.holdKey(it); err != nil {
			return rc, false, err
		}
	}
	t.event(kind, it)
	t.traffic[trafficEnqueued]++
	return rc, true, nil
}

// again answers for an id that is known.
func (t *txn) again(r, old *row, run *runState) morningai.Receipt {
	was, is := old.spec(), r.spec()
	if old.flags&flagDeleted != 0 || !was.SameRequest(&is) {
		return morningai.Receipt{Err: &morningai.Error{Code: morningai.CodeConflict, Op: "enqueue",
			Detail: "a task with this id exists and asks for something else, or was deleted", Hint: "use a new id"}}
	}
	return stamp(morningai.Receipt{Task: t.e.view(old, run, t.now), Existing: true})
}

func stamp(rc morningai.Receipt) morningai.Receipt {
	rc.Task.Durable, rc.Task.Runs = durable, "here"
	rc.Task.Payload = clone(rc.Task.Payload)
	return rc
}

// holder returns the live task that holds a unique key, if there is one.
func (t *txn) holder(key string) (*row, *runState, error) {
	t.e.sql.keyGet.text(1, key)
	seq, ok, err := first(t.e.sql.keyGet)
	if err != nil || !ok {
		return nil, nil, err
	}
	if it := t.bySeq[seq]; it != nil {
		return it.row, it.live(), nil
	}
	run := t.e.runOf(seq)
	r, err := t.e.rowBySeq(t.e.sql.bySeq, seq)
	return r, run, err
}

// holdKey and freeKey keep the table of unique keys with the live tasks.
func (t *txn) holdKey(it *item) error {
	s := t.e.sql.keyPut
	s.text(1, it.row.ukey)
	s.int(2, it.row.seq)
	return s.exec()
}

func (t *txn) freeKey(it *item) error {
	if it.row.ukey == "" {
		return nil
	}
	s := t.e.sql.keyDel
	s.text(1, it.row.ukey)
	s.int(2, it.row.seq)
	return s.exec()
}

// full reports whether the file has reached its limit, less a reserve for how
// running tasks end: a sixteenth, at least 64 pages.
func (t *txn) full() (bool, error) {
	if t.e.maxPages == 0 || t.checked {
		return t.isFull, nil
	}
	used, err := t.e.sql.usedPages()
	t.checked, t.isFull = true, used >= t.e.maxPages-max(64, t.e.maxPages/16)
	return t.isFull, err
}

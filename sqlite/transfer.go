package sqlite

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/RC918/morningai"
)

// Export implements morningai.Engine: every stored record by order of
// acceptance, those past their retention and tombstones included.
func (e *Engine) Export(ctx context.Context, cursor string, limit int) (morningai.ExportPage, error) {
	var page morningai.ExportPage
	after := int64(0)
	if cursor != "" {
		n, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != cursor {
			return page, morningai.InvalidInput("export", morningai.FieldError{Location: "cursor", Message: "must be the cursor of an earlier page"})
		}
		after = n
	}
	if limit <= 0 || limit > morningai.MaxBatch {
		limit = morningai.MaxBatch
	}
	err := e.read(ctx, "export", func(r *reader) error {
		entries := e.snapshotRuns()
		rows, err := e.exportRows(r, after, limit+1)
		if err != nil {
			return err
		}
		if len(rows) > limit {
			rows = rows[:limit]
			page.Next = strconv.FormatInt(rows[limit-1].seq, 10)
		}
		for _, found := range rows {
			rec, err := e.record(r, found, entries[found.seq])
			if err != nil {
				return err
			}
			page.Records = append(page.Records, rec)
		}
		return nil
	})
	return page, err
}

type runCopy struct {
	run     runState
	session morningai.SessionID
}

// snapshotRuns copies what runs, before any row is read.
func (e *Engine) snapshotRuns() map[int64]*runCopy {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[int64]*runCopy, len(e.running))
	for seq, en := range e.running {
		c := &runCopy{run: en.run}
		if en.sess != nil {
			c.session = en.sess.id
		}
		out[seq] = c
	}
	return out
}

func (e *Engine) record(r *reader, found *row, c *runCopy) (morningai.Record, error) {
	var run *runState
	if c != nil && found.claim < c.run.claim {
		run = &c.run
	}
	rec := morningai.Record{
		Task: e.view(found, run, e.now()), UniqueKey: found.ukey, Retention: found.retention, Fingerprint: found.fingerprint,
		Claim: found.claim, Lease: found.lease, Node: found.nodeName(), Settled: outcomes[found.settled],
		Deleted: found.flags&flagDeleted != 0,
	}
	rec.Task.Fresh = ""
	if run != nil {
		rec.Claim, rec.Lease, rec.Node, rec.Session, rec.Settled = run.claim, run.lease, run.node, c.session, ""
	}
	h, err := e.history(r, found, run)
	if err != nil {
		return rec, err
	}
	rec.Attempts, rec.Logs = h.Attempts, h.Logs
	if found.flags&flagSteps != 0 {
		rec.Steps, err = readSteps(r, found.seq)
	}
	return rec, err
}

type importWork struct {
	records []morningai.Record
	results []morningai.ImportResult
}

func (w *importWork) size() int { return len(w.records) }

// Import implements morningai.Engine. Imported tasks that are new here take
// their place behind those that are queued already.
func (e *Engine) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	w := &importWork{records: append([]morningai.Record(nil), records...), results: make([]morningai.ImportResult, len(records))}
	if len(records) == 0 {
		return w.results, nil
	}
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.results, nil
}

func (w *importWork) apply(t *txn) error {
	for i := range w.records {
		rec := &w.records[i]
		if err := rec.Validate(); err != nil {
			w.results[i] = morningai.ImportResult{Err: err}
			continue
		}
		res, err := t.merge(rec)
		if err != nil {
			return err
		}
		w.results[i] = res
	}
	return nil
}

// stored gives Compare what it looks at.
func (t *txn) stored(it *item) morningai.Record {
	rec := morningai.Record{Claim: it.row.claim, Lease: it.row.lease, Settled: outcomes[it.row.settled], Deleted: it.row.flags&flagDeleted != 0}
	rec.Task.Life, rec.Task.Version, rec.Task.State = it.row.life, t.version(it), t.state(it)
	if it.running {
		rec.Claim, rec.Lease, rec.Settled = it.run.claim, it.run.lease, ""
	}
	return rec
}

func (t *txn) merge(rec *morningai.Record) (morningai.ImportResult, error) {
	it, err := t.find(rec.Task.ID)
	if err != nil {
		return morningai.ImportResult{}, err
	}
	status := morningai.ImportAdded
	if it != nil {
		old := t.stored(it)
		if !rec.Newer(&old) {
			if v := rec.Task.Version; v > old.Task.Version && !rec.Deleted && !old.Deleted {
				t.raise(it, v+1) // a reader may have seen that
			}
			kept := morningai.ImportResult{Status: morningai.ImportKept, Task: t.task(it)}
			ended := func(r *morningai.Record) bool { return r.Task.State.Terminal() && !r.Deleted }
			if ended(&old) && ended(rec) && old.Task.Life == rec.Task.Life &&
				(old.Task.State != rec.Task.State || old.Claim != rec.Claim || old.Lease != rec.Lease) {
				kept.Status = morningai.ImportRepeated
			}
			return kept, nil
		}
		status = morningai.ImportUpdated
		if rec.Task.Life > old.Task.Life && rec.Task.State != morningai.StateRunning && rec.Claim < old.Claim {
			next := *rec
			next.Claim, rec = old.Claim, &next
		}
		if err := t.clear(it); err != nil {
			return morningai.ImportResult{}, err
		}
	}
	it, err = t.install(it, rec)
	if err != nil {
		return morningai.ImportResult{}, err
	}
	return morningai.ImportResult{Status: status, Task: t.task(it)}, nil
}

// leave deletes a row at once, to make room for another with the same id.
func (t *txn) leave(it *item) error {
	it.gone, it.moved, it.running = true, true, false
	return t.flushGone(it)
}

// clear removes what belongs to the stored record, which another replaces.
func (t *txn) clear(it *item) error {
	if err := t.freeKey(it); err != nil {
		return err
	}
	q := &t.e.sql
	for _, s := range []*stmt{q.attemptDel, q.stepDel, q.logDel} {
		s.int(1, it.row.seq)
		if err := s.exec(); err != nil {
			return err
		}
	}
	return nil
}

// install writes an imported record over it, or as a new row.
func (t *txn) install(it *item, rec *morningai.Record) (*item, error) {
	k := &rec.Task
	spec := rec.Spec()
	if err := spec.Normalize(); err != nil {
		return nil, err
	}
	r := &row{}
	if err := t.e.rowOf(r, &spec); err != nil {
		return nil, err
	}
	if err := t.fillState(r, rec); err != nil {
		return nil, err
	}
	switch {
	case it == nil:
		var err error
		if it, err = t.place(r); err != nil {
			return nil, err
		}
	case it.row.created != r.created:
		// Accepted at another time, it has another place in the order.
		r.version = max(r.version, t.version(it)+1)
		if err := t.leave(it); err != nil {
			return nil, err
		}
		var err error
		if it, err = t.place(r); err != nil {
			return nil, err
		}
	default:
		r.seq = it.row.seq
		r.version = max(r.version, t.version(it)+1)
		it.row, it.private, it.dirty, it.running = r, true, true, false
		it.replaced = true
	}
	if r.status.live() && r.ukey != "" {
		holder, _, err := t.holder(r.ukey)
		if err != nil {
			return nil, err
		}
		if holder == nil {
			if err := t.holdKey(it); err != nil {
				return nil, err
			}
		}
	}
	if k.State == morningai.StateRunning {
		it.running, it.mark, it.installed = true, true, true
		it.run = runState{claim: rec.Claim, lease: rec.Lease, attempt: int64(k.Attempt), version: r.version, started: micros(k.StartedAt), node: rec.Node, cancel: k.CancelRequested}
		r.claim, r.lease, r.settled = rec.Claim-1, 0, 0
		r.attempt = int64(max(k.Attempt-1, 0))
	}
	if err := t.installHistory(it, rec); err != nil {
		return nil, err
	}
	t.event(importEvent(rec), it)
	return it, nil
}

func importEvent(rec *morningai.Record) morningai.EventKind {
	if rec.Deleted {
		return morningai.EventDeleted
	}
	switch rec.Task.State {
	case morningai.StateScheduled, morningai.StateBlocked:
		if rec.Task.Failures > 0 {
			return morningai.EventRetrying
		}
		return morningai.EventScheduled
	case morningai.StateRunning:
		return morningai.EventStarted
	case morningai.StateSucceeded:
		return morningai.EventSucceeded
	case morningai.StateFailed:
		return morningai.EventFailed
	case morningai.StateCanceled:
		return morningai.EventCanceled
	}
	return morningai.EventQueued
}

func (t *txn) fillState(r *row, rec *morningai.Record) error {
	k := &rec.Task
	r.created = micros(k.CreatedAt)
	if r.created == 0 {
		r.created = t.nowUS
	}
	r.version, r.life, r.attempt, r.failures = k.Version, k.Life, int64(k.Attempt), int64(k.Failures)
	r.claim, r.lease = rec.Claim, rec.Lease
	r.settled, _ = outcomeNumber(rec.Settled)
	r.node, r.started, r.finished = t.e.names.nodeFor(rec.Node), micros(k.StartedAt), micros(k.FinishedAt)
	r.result, r.progress = clone(k.Result), clone(k.Progress)
	text, err := errorText(k.Error)
	if err != nil {
		return err
	}
	r.err = text
	if k.CancelRequested {
		r.flags |= flagCancel
	}
	if k.MaybeRepeated {
		r.flags |= flagRepeat
	}
	switch k.State {
	case morningai.StateQueued, morningai.StateRunning:
		r.status, r.runAt = stQueued, 0
	case morningai.StateBlocked:
		r.status = stBlocked
	case morningai.StateScheduled:
		r.status = stScheduled
		if r.failures > 0 {
			r.status = stRetrying
		}
		if r.runAt <= t.nowUS && !rec.Deleted {
			r.status, r.runAt = stQueued, 0
		}
	default:
		r.status, r.runAt = map[morningai.State]status{morningai.StateSucceeded: stSucceeded, morningai.StateFailed: stFailed,
			morningai.StateCanceled: stCanceled}[k.State], 0
		if r.finished == 0 {
			r.finished = t.nowUS
		}
		r.expires = r.finished + r.keepFor(&t.e.cfg).Microseconds()
		if r.expires <= t.nowUS {
			r.status |= stHidden
		}
	}
	if rec.Deleted {
		r.status |= stHidden
		r.flags |= flagDeleted
		r.expires = t.nowUS
	}
	return nil
}

// installHistory writes attempts, steps and logs. The row itself then describes
// no attempt.
func (t *txn) installHistory(it *item, rec *morningai.Record) error {
	for _, a := range rec.Attempts {
		if a.Outcome == "" || a.Number < 1 {
			continue // still running: the claim describes it
		}
		if err := t.e.putAttempt(it.row.seq, a); err != nil {
			return err
		}
		it.edit().flags |= flagAttempts
	}
	for name, data := range rec.Steps {
		if err := t.putStep(it, name, json.RawMessage(data)); err != nil {
			return err
		}
	}
	for i := range rec.Logs {
		if err := t.putLog(it, &rec.Logs[i]); err != nil {
			return err
		}
	}
	return nil
}

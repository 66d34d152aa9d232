package sqlite

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/RC918/morningai"
)

type finishWork struct {
	reports  []morningai.Report
	texts    []string // of the errors
	refused  []bool
	verdicts []morningai.Verdict
}

func (w *finishWork) size() int { return len(w.reports) }

// Finish implements morningai.Engine.
func (e *Engine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	w := &finishWork{reports: make([]morningai.Report, len(reports)), texts: make([]string, len(reports)), refused: make([]bool, len(reports)), verdicts: make([]morningai.Verdict, len(reports))}
	copy(w.reports, reports)
	for i := range w.reports {
		r := &w.reports[i]
		r.Result = clone(r.Result)
		if w.verdicts[i].Err = checkReport(r); w.verdicts[i].Err != nil {
			w.refused[i] = true
			continue
		}
		text, err := errorText(r.Error)
		if err != nil {
			return nil, err
		}
		w.texts[i] = text
	}
	if len(reports) == 0 {
		return w.verdicts, nil
	}
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.verdicts, nil
}

func checkReport(r *morningai.Report) error {
	const op = "finish"
	if n, ok := outcomeNumber(r.Outcome); !ok || n == 0 || r.Outcome == morningai.OutcomeLost {
		return morningai.InvalidInput(op, morningai.FieldError{Location: "outcome", Message: "must be an outcome that a worker reports"})
	}
	if len(r.Result) > morningai.MaxPayload {
		return &morningai.Error{Code: morningai.CodeTooLarge, Op: op, Detail: "the result is over the size limit",
			Hint: "keep the data elsewhere and return its address"}
	}
	if len(r.Result) > 0 && !validJSON(r.Result) {
		return morningai.InvalidInput(op, morningai.FieldError{Location: "result", Message: "must be one JSON value in UTF-8"})
	}
	return nil
}

func validJSON(raw []byte) bool { return utf8.Valid(raw) && json.Valid(raw) }

func (w *finishWork) apply(t *txn) error {
	t.gather(w.reports)
	for i := range w.reports {
		if w.refused[i] {
			continue
		}
		v, err := t.finish(&w.reports[i], w.texts[i])
		if err != nil {
			return err
		}
		w.verdicts[i] = v
	}
	return nil
}

func (t *txn) finish(rep *morningai.Report, text string) (morningai.Verdict, error) {
	it, err := t.find(rep.Lease.ID)
	if err != nil {
		return morningai.Verdict{}, err
	}
	if it == nil {
		return morningai.Verdict{Err: notFound("finish")}, nil
	}
	switch t.fence(it, rep.Lease, rep.Outcome) {
	case morningai.FenceStale:
		return morningai.Verdict{Err: stale("finish")}, nil
	case morningai.FenceAccept:
		if err := t.settle(it, rep, text); err != nil {
			return morningai.Verdict{}, err
		}
	}
	return morningai.Verdict{State: t.state(it)}, nil
}

func (t *txn) state(it *item) morningai.State {
	if it.running {
		return morningai.StateRunning
	}
	return it.row.status.state()
}

func (t *txn) fence(it *item, l morningai.Lease, o morningai.Outcome) morningai.Fencing {
	if !it.running {
		return it.row.fence(l, o)
	}
	if it.run.claim == l.Claim && it.run.lease == l.Lease || it.run.claim < l.Claim {
		return morningai.FenceAccept
	}
	return morningai.FenceStale
}

// settle records an outcome that has passed the fence.
func (t *txn) settle(it *item, rep *morningai.Report, text string) error {
	if err := t.keepAttempt(it); err != nil {
		return err
	}
	cancel := it.row.flags&flagCancel != 0 || it.running && it.run.cancel
	attempt := max(it.row.attempt, int64(rep.Attempt))
	started := rep.StartedAt
	switch {
	case it.running && it.run.claim == rep.Lease.Claim:
		attempt = it.run.attempt
		if started.IsZero() {
			started = timeOf(it.run.started)
		}
	case it.running:
		// The outcome is of a later hand-out, which this storage has lost.
		attempt = max(attempt, it.run.attempt)
		if attempt > it.run.attempt {
			lost := morningai.Attempt{Number: int(it.run.attempt), Life: it.row.life, Node: it.run.node, StartedAt: timeOf(it.run.started),
				FinishedAt: t.now, Outcome: morningai.OutcomeLost}
			if err := t.e.putAttempt(it.row.seq, lost); err != nil {
				return err
			}
			it.edit().flags |= flagAttempts
		}
	}
	ended := rep.FinishedAt
	if ended.IsZero() {
		ended = t.now
	}
	v := t.version(it) + 1
	r := it.edit()
	it.running = false
	number, _ := outcomeNumber(rep.Outcome)
	r.version, r.era = v, t.e.era
	r.claim, r.lease, r.settled, r.attempt = rep.Lease.Claim, rep.Lease.Lease, number, attempt
	r.node, r.started, r.finished, r.stack = t.e.names.nodeFor(rep.Node), micros(started), micros(ended), rep.Stack
	r.flags = r.flags&^flagCancel | flagLast
	r.runAt = 0
	if rep.Outcome == morningai.OutcomeFailed || rep.Outcome == morningai.OutcomeRetry {
		r.failures++
	}
	if cancel {
		return t.endCanceled(it, rep, text)
	}
	switch rep.Outcome {
	case morningai.OutcomeSucceeded:
		r.result, r.err = rep.Result, ""
		t.traffic[trafficSucceeded]++
		return t.end(it, stSucceeded)
	case morningai.OutcomeCanceled:
		return t.endCanceled(it, rep, text)
	case morningai.OutcomeFailed:
		r.err = text
		t.traffic[trafficFailed]++
		return t.end(it, stFailed)
	case morningai.OutcomeRetry:
		r.err = text
		t.traffic[trafficRetried]++
		if r.failures >= int64(r.maxAttempts) {
			return t.end(it, stFailed)
		}
		t.later(it, rep.RunAt, stRetrying, morningai.EventRetrying)
	case morningai.OutcomeSnoozed:
		st := stScheduled
		if r.failures > 0 {
			st = stRetrying
		}
		t.later(it, rep.RunAt, st, morningai.EventScheduled)
	default: // released
		t.later(it, time.Time{}, stQueued, "")
	}
	return nil
}

// later makes a task run again at a time, or at once if that has passed.
func (t *txn) later(it *item, at time.Time, st status, kind morningai.EventKind) {
	r := it.edit()
	r.status, r.runAt = stQueued, 0
	if us := micros(at); us > t.nowUS {
		r.status, r.runAt = st, us
	} else if kind != morningai.EventRetrying {
		kind = morningai.EventQueued
	}
	t.event(kind, it)
}

// endCanceled ends a task whose cancel was asked for, keeping a result.
func (t *txn) endCanceled(it *item, rep *morningai.Report, text string) error {
	r := it.edit()
	r.result, r.err = rep.Result, text
	if rep.Error == nil || rep.Outcome != morningai.OutcomeCanceled {
		r.err = canceledText
	}
	t.traffic[trafficCanceled]++
	return t.end(it, stCanceled)
}

var canceledText = `{"code":"` + morningai.ErrorCodeCanceled + `","message":"the task was canceled"}`

// end brings a task to a terminal state. The row's finished time must be set.
func (t *txn) end(it *item, st status) error {
	if err := t.freeKey(it); err != nil {
		return err
	}
	r := it.edit()
	r.status, r.runAt = st, 0
	r.expires = t.nowUS + r.keepFor(&t.e.cfg).Microseconds()
	kind := morningai.EventSucceeded
	switch st {
	case stFailed:
		kind = morningai.EventFailed
	case stCanceled:
		kind = morningai.EventCanceled
	}
	t.event(kind, it)
	if r.expires <= t.nowUS {
		r.status |= stHidden
	}
	return nil
}

// lose returns a running task to its queue because nobody runs it any more, or
// nobody ever got it (released). A cancel that was asked for ends it instead.
func (t *txn) lose(it *item, outcome morningai.Outcome) error {
	if err := t.keepAttempt(it); err != nil {
		return err
	}
	v := t.version(it) + 1
	run := it.run
	r := it.edit()
	it.running = false
	r.version, r.era = v, t.e.era
	r.claim, r.lease, r.attempt = run.claim, run.lease, run.attempt
	r.settled, _ = outcomeNumber(outcome)
	r.node, r.started, r.finished, r.stack = t.e.names.nodeFor(run.node), run.started, t.nowUS, ""
	r.flags |= flagLast
	if run.cancel || r.flags&flagCancel != 0 {
		r.flags &^= flagCancel
		r.err = canceledText
		t.traffic[trafficCanceled]++
		return t.end(it, stCanceled)
	}
	t.later(it, time.Time{}, stQueued, "")
	return nil
}

// loseWork returns tasks whose session has gone, or never got them.
type loseWork struct {
	lost    []lostRun
	outcome morningai.Outcome
}

type lostRun struct {
	seq          int64
	claim, lease int64
}

func (w *loseWork) size() int { return len(w.lost) }

func (w *loseWork) apply(t *txn) error {
	for _, l := range w.lost {
		it, err := t.findSeq(l.seq)
		if err != nil {
			return err
		}
		if it == nil || !it.running || it.run.claim != l.claim || it.run.lease != l.lease {
			continue
		}
		if err := t.lose(it, w.outcome); err != nil {
			return err
		}
	}
	return nil
}

package enginetest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

func (e *Reference) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]morningai.Verdict, len(reports))
	for i := range reports {
		out[i].State, out[i].Err = e.finish(&reports[i])
	}
	return out, nil
}

var outcomes = []morningai.Outcome{
	morningai.OutcomeSucceeded, morningai.OutcomeRetry, morningai.OutcomeFailed,
	morningai.OutcomeSnoozed, morningai.OutcomeCanceled, morningai.OutcomeReleased,
}

func (e *Reference) finish(r *morningai.Report) (morningai.State, error) {
	if !slices.Contains(outcomes, r.Outcome) || r.Result != nil && !json.Valid(r.Result) {
		return "", morningai.ErrInvalidInput
	}
	if len(r.Result) > morningai.MaxPayload {
		return "", morningai.ErrTooLarge
	}
	t := e.tasks[r.Lease.ID]
	if t == nil {
		return "", morningai.ErrNotFound
	}
	switch t.Fence(r.Lease, r.Outcome) {
	case morningai.FenceStale:
		return "", morningai.ErrStale
	case morningai.FenceRepeat:
		return t.Task.State, nil
	}
	t.Claim, t.Lease, t.Node = r.Lease.Claim, r.Lease.Lease, r.Node
	t.Task.Attempt = max(t.Task.Attempt, r.Attempt)
	if r.Outcome == morningai.OutcomeRetry || r.Outcome == morningai.OutcomeFailed {
		t.Task.Failures++
	}
	if r.Error != nil {
		failure := *r.Error
		t.Task.Error = &failure
	}
	if r.Result != nil {
		t.Task.Result = slices.Clone(r.Result)
	}
	a := t.attempt(r.Attempt, r.StartedAt, e.setup.Now())
	a.Node, a.Error, a.Stack = r.Node, t.Task.Error, r.Stack
	e.settle(t, a, r.Outcome, r.RunAt)
	return t.Task.State, nil
}

// attempt finds the record of an execution, or adds it: the storage may have
// lost the hand-out.
func (t *entry) attempt(number int, started, now time.Time) *morningai.Attempt {
	for i := range t.Attempts {
		if t.Attempts[i].Number == number && t.Attempts[i].Outcome == "" {
			return &t.Attempts[i]
		}
	}
	for i := range t.Attempts {
		if t.Attempts[i].Outcome == "" {
			t.Attempts[i].Outcome, t.Attempts[i].FinishedAt = morningai.OutcomeLost, now.UTC()
		}
	}
	t.Attempts = append(t.Attempts, morningai.Attempt{Number: number, Life: t.Task.Life, StartedAt: started})
	t.Task.StartedAt = started
	return &t.Attempts[len(t.Attempts)-1]
}

// settle ends the running claim and moves the task on.
func (e *Reference) settle(t *entry, a *morningai.Attempt, o morningai.Outcome, runAt time.Time) {
	now := e.setup.Now().UTC()
	t.Settled, t.Session, t.orphaned = o, morningai.SessionID{}, time.Time{}
	a.Outcome, a.FinishedAt = o, now
	state, kind := morningai.StateQueued, morningai.EventQueued
	switch o {
	case morningai.OutcomeSucceeded:
		state, kind = morningai.StateSucceeded, morningai.EventSucceeded
	case morningai.OutcomeFailed:
		state, kind = morningai.StateFailed, morningai.EventFailed
	case morningai.OutcomeCanceled:
		state, kind = morningai.StateCanceled, morningai.EventCanceled
	case morningai.OutcomeRetry, morningai.OutcomeSnoozed:
		if runAt.After(now) {
			state, kind = morningai.StateScheduled, morningai.EventScheduled
		}
		if o == morningai.OutcomeRetry {
			kind = morningai.EventRetrying
		}
	}
	if t.Task.CancelRequested {
		state, kind = morningai.StateCanceled, morningai.EventCanceled
	}
	e.move(t, state, kind, runAt)
	e.count(map[morningai.State]morningai.Outcome{
		morningai.StateSucceeded: morningai.OutcomeSucceeded,
		morningai.StateFailed:    morningai.OutcomeFailed,
		morningai.StateCanceled:  morningai.OutcomeCanceled,
		morningai.StateScheduled: o,
		morningai.StateQueued:    o,
	}[state])
}

func (e *Reference) move(t *entry, to morningai.State, kind morningai.EventKind, runAt time.Time) {
	t.Task.State, t.Task.RunAt = to, time.Time{}
	if to == morningai.StateScheduled {
		t.Task.RunAt = runAt.UTC()
	}
	if to.Terminal() {
		t.Task.FinishedAt, t.Task.CancelRequested = e.setup.Now().UTC(), false
	}
	switch {
	case to == morningai.StateSucceeded:
		t.Task.Error = nil
	case to == morningai.StateCanceled && (t.Task.Error == nil || t.Task.Error.Code != morningai.ErrorCodeCanceled):
		t.Task.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled"}
	}
	e.touch(t, kind)
}

func (e *Reference) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]error, len(points))
	for i, p := range points {
		out[i] = e.checkpoint(p)
	}
	return out, nil
}

func (e *Reference) checkpoint(p morningai.Checkpoint) error {
	if p.Kind != morningai.CheckpointLog && p.Kind != morningai.CheckpointRepeat && !json.Valid(p.Data) || p.Kind == morningai.CheckpointStep && !morningai.ValidName(p.Name) {
		return morningai.ErrInvalidInput
	}
	t := e.tasks[p.Lease.ID]
	if t == nil {
		return morningai.ErrNotFound
	}
	if t.Fence(p.Lease, "") != morningai.FenceAccept {
		return morningai.ErrStale
	}
	switch p.Kind {
	case morningai.CheckpointStep:
		if t.Steps == nil {
			t.Steps = map[string]json.RawMessage{}
		}
		if _, done := t.Steps[p.Name]; !done {
			t.Steps[p.Name] = slices.Clone(p.Data)
		}
	case morningai.CheckpointProgress:
		t.Task.Progress = slices.Clone(p.Data)
		e.touch(t, morningai.EventProgress)
	case morningai.CheckpointRepeat:
		t.Task.MaybeRepeated = true
		t.Task.Version++
		e.notify()
	case morningai.CheckpointLog:
		t.Logs = append(t.Logs, p.Line)
		t.Logs = t.Logs[max(0, len(t.Logs)-morningai.MaxLogLines):]
		e.touch(t, morningai.EventLog)
	default:
		return morningai.ErrInvalidInput
	}
	return nil
}

func (e *Reference) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.BeatReply{}, err
	}
	defer e.mu.Unlock()
	m := e.sessions[req.Session]
	if m == nil {
		m = &member{Session: morningai.Session{ID: req.Session}}
		e.sessions[req.Session] = m
	}
	m.Counter++
	m.Node, m.Types, m.Queues, m.Concurrency, m.LeaseTime = req.Node, slices.Clone(req.Types), slices.Clone(req.Queues), req.Concurrency, req.LeaseTime
	reply := morningai.BeatReply{Counter: m.Counter}
	holds := map[morningai.Lease]bool{}
	for _, l := range req.Holding {
		holds[l] = true
		t := e.tasks[l.ID]
		if t == nil || t.Task.State != morningai.StateRunning || t.Claim != l.Claim || t.Lease != l.Lease {
			reply.Lost = append(reply.Lost, l)
			continue
		}
		t.Session, t.orphaned = req.Session, time.Time{}
		if t.Task.CancelRequested {
			reply.Cancels = append(reply.Cancels, l.ID)
		}
	}
	for _, t := range e.sorted() {
		l := morningai.Lease{ID: t.Task.ID, Claim: t.Claim, Lease: t.Lease}
		if t.Task.State == morningai.StateRunning && t.Session == req.Session && !holds[l] && (t.grantSeq <= req.Through || req.Leaving) {
			e.settle(t, t.attempt(t.Task.Attempt, t.Task.StartedAt, e.setup.Now()), morningai.OutcomeReleased, time.Time{})
		}
	}
	if req.Leaving {
		delete(e.sessions, req.Session)
	}
	reply.Sessions, reply.Members = e.members(), e.record(&req)
	return reply, nil
}

// record brings the record of members up to a beat and returns it.
func (e *Reference) record(req *morningai.BeatRequest) []morningai.Member {
	for _, id := range req.Forget {
		delete(e.fleet, id)
	}
	if m := req.Member; m != nil {
		e.fleet[m.Journal] = *m
		if req.Leaving && m.Backlog == 0 {
			delete(e.fleet, m.Journal)
		}
	}
	var out []morningai.Member
	for _, id := range slices.SortedFunc(maps.Keys(e.fleet), compareIDs) {
		m := e.fleet[id]
		m.Connected = e.sessions[m.Session] != nil
		out = append(out, m)
	}
	return out
}

// bury forgets a session; what it ran goes back to the queues.
func (e *Reference) bury(id morningai.SessionID) {
	delete(e.sessions, id)
	for _, t := range e.sorted() {
		if t.Task.State == morningai.StateRunning && t.Session == id {
			e.settle(t, t.attempt(t.Task.Attempt, t.Task.StartedAt, e.setup.Now()), morningai.OutcomeLost, time.Time{})
		}
	}
}

func (e *Reference) Reap(ctx context.Context, observed []morningai.Observation) ([]morningai.SessionID, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	var out []morningai.SessionID
	for _, o := range observed {
		if m := e.sessions[o.Session]; m != nil && m.Counter == o.Counter {
			e.bury(o.Session)
			out = append(out, o.Session)
		}
	}
	return out, nil
}

func (e *Reference) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]morningai.CommandResult, len(cmds))
	for i, c := range cmds {
		if out[i].Task, out[i].Err = e.command(c); out[i].Err == nil {
			out[i].UniqueKey, out[i].Retention = e.tasks[c.ID].UniqueKey, e.tasks[c.ID].Retention
		}
	}
	return out, nil
}

func (e *Reference) command(c morningai.Command) (morningai.Task, error) {
	t := e.tasks[c.ID]
	switch {
	case t == nil, t.Deleted && c.Kind != morningai.CommandDelete:
		return morningai.Task{}, morningai.ErrNotFound
	case t.Deleted:
		return e.snapshot(t), nil
	case c.Version != 0 && c.Version != t.Task.Version:
		return morningai.Task{}, morningai.ErrConflict
	}
	state := t.Task.State
	switch c.Kind {
	case morningai.CommandCancel:
		switch {
		case state == morningai.StateRunning:
			if !t.Task.CancelRequested {
				t.Task.CancelRequested = true
				t.Task.Version++
				e.notify()
			}
		case !state.Terminal():
			e.move(t, morningai.StateCanceled, morningai.EventCanceled, time.Time{})
			if c.Error != nil {
				why := *c.Error
				t.Task.Error = &why
			}
			e.count(morningai.OutcomeCanceled)
		case state != morningai.StateCanceled:
			return morningai.Task{}, morningai.ErrWrongState
		}
	case morningai.CommandRetry:
		switch {
		case state == morningai.StateFailed, state == morningai.StateCanceled:
			if e.holder(t.UniqueKey) != nil {
				return morningai.Task{}, morningai.ErrConflict
			}
			t.Task.Life++
			t.Task.Failures, t.Task.FinishedAt = 0, time.Time{}
			t.Task.Error, t.Task.Result, t.Task.Progress = nil, nil, nil
			e.move(t, morningai.StateQueued, morningai.EventQueued, time.Time{})
		case state == morningai.StateScheduled && t.Task.Failures > 0:
			e.move(t, morningai.StateQueued, morningai.EventQueued, time.Time{})
		case state == morningai.StateScheduled, state == morningai.StateSucceeded:
			return morningai.Task{}, morningai.ErrWrongState
		}
	case morningai.CommandRun:
		if state.Terminal() {
			return morningai.Task{}, morningai.ErrWrongState
		}
		if state == morningai.StateScheduled {
			e.move(t, morningai.StateQueued, morningai.EventQueued, time.Time{})
		}
	case morningai.CommandDelete:
		if state == morningai.StateRunning {
			return morningai.Task{}, morningai.ErrWrongState
		}
		task := e.snapshot(t)
		t.Deleted = true
		e.touch(t, morningai.EventDeleted)
		return task, nil
	default:
		return morningai.Task{}, morningai.ErrInvalidInput
	}
	return e.snapshot(t), nil
}

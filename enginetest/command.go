package enginetest

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
)

// situation brings a fresh task into a state that commands can meet.
type situation struct {
	name string
	make func(r *rig) morningai.ID
}

func situations() []situation {
	ended := func(o morningai.Outcome) func(r *rig) morningai.ID {
		return func(r *rig) morningai.ID {
			g := held(r)
			r.finish(report(g, o))
			return g.Task.ID
		}
	}
	return []situation{
		{"scheduled", func(r *rig) morningai.ID { return r.enqueue(r.specs(1, later)...)[0].ID }},
		{"retrying", ended(morningai.OutcomeRetry)},
		{"queued", func(r *rig) morningai.ID { return r.enqueue(r.specs(1)...)[0].ID }},
		{"running", func(r *rig) morningai.ID { return held(r).Task.ID }},
		{"succeeded", ended(morningai.OutcomeSucceeded)},
		{"failed", ended(morningai.OutcomeFailed)},
		{"canceled", ended(morningai.OutcomeCanceled)},
		{"deleted", func(r *rig) morningai.ID {
			id := r.enqueue(r.specs(1)...)[0].ID
			r.command(morningai.CommandDelete, id)
			return id
		}},
		{"unknown", func(r *rig) morningai.ID { return r.id() }},
	}
}

// What each command does to a task in each situation: the state after it, or
// the error. same means that it succeeds and changes nothing.
const same = morningai.State("same")

var commandTable = map[morningai.CommandKind]map[string]any{
	morningai.CommandCancel: {
		"scheduled": morningai.StateCanceled, "retrying": morningai.StateCanceled, "queued": morningai.StateCanceled,
		"running": morningai.StateRunning, "succeeded": morningai.ErrWrongState, "failed": morningai.ErrWrongState,
		"canceled": same, "deleted": morningai.ErrNotFound, "unknown": morningai.ErrNotFound,
	},
	morningai.CommandRetry: {
		"scheduled": morningai.ErrWrongState, "retrying": morningai.StateQueued, "queued": same,
		"running": same, "succeeded": morningai.ErrWrongState, "failed": morningai.StateQueued,
		"canceled": morningai.StateQueued, "deleted": morningai.ErrNotFound, "unknown": morningai.ErrNotFound,
	},
	morningai.CommandRun: {
		"scheduled": morningai.StateQueued, "retrying": morningai.StateQueued, "queued": same,
		"running": same, "succeeded": morningai.ErrWrongState, "failed": morningai.ErrWrongState,
		"canceled": morningai.ErrWrongState, "deleted": morningai.ErrNotFound, "unknown": morningai.ErrNotFound,
	},
	morningai.CommandDelete: {
		"scheduled": morningai.State(""), "retrying": morningai.State(""), "queued": morningai.State(""),
		"running": morningai.ErrWrongState, "succeeded": morningai.State(""), "failed": morningai.State(""),
		"canceled": morningai.State(""), "deleted": morningai.State(""), "unknown": morningai.ErrNotFound,
	},
}

var commandKinds = []morningai.CommandKind{
	morningai.CommandCancel, morningai.CommandRetry, morningai.CommandRun, morningai.CommandDelete,
}

func commandChecks() []check {
	checks := []check{
		{"a version makes a command conditional", commandVersion},
		{"results come in the order of the commands, one error does not touch the others", commandBatch},
		{"an unknown kind is refused", commandBogus},
		{"a result says what the task was asked for with", commandAsked},
		{"a retry starts another life", commandNewLife},
		{"a retried task takes its old place and limits", commandRetryPlace},
		{"a deleted task is gone from everywhere, its id stays taken", commandDeleted},
		{"commands survive a reopen", commandReopened},
		{"a cancel that ends a task says why", commandWhy},
		{"a cancel and a claim at once end in one of two ways", commandRace},
	}
	for _, kind := range commandKinds {
		for _, s := range situations() {
			checks = append(checks, check{string(kind) + " when " + s.name, func(r *rig) { commandOne(r, kind, s) }})
		}
	}
	return checks
}

func commandOne(r *rig, kind morningai.CommandKind, s situation) {
	id := s.make(r)
	before := r.getAll(id)[0]
	stats := fmt.Sprint(r.stats().States)
	for round := range 3 { // repeats end in the same state
		after, err := r.tryCommand(morningai.Command{Kind: kind, ID: id})
		now := r.getAll(id)[0]
		switch want := commandTable[kind][s.name].(type) {
		case error:
			r.wantError(err, want, "round %d", round)
			r.want(sameTask(now, before) && fmt.Sprint(r.stats().States) == stats, "a refused command changed the task: %+v", now)
		case morningai.State:
			r.noError(err, "round %d", round)
			switch want {
			case "":
				r.want(now.ID.IsZero(), "the deleted task is still there: %+v", now)
				r.want(round > 0 || before.ID.IsZero() || after.ID == id && after.State == before.State, "delete answers %+v, want the task as it was", after)
			case same:
				r.want(sameTask(now, before), "the command changed the task: %+v, was %+v", now, before)
			default:
				r.want(now.State == want && after.State == want, "the task is %s, the answer says %s, want %s", now.State, after.State, want)
				r.want(round > 0 || now.Version > before.Version, "the version stays %d", now.Version)
				r.want(now.CancelRequested == (kind == morningai.CommandCancel && s.name == "running"), "cancel requested: %v", now.CancelRequested)
				if kind == morningai.CommandCancel && want == morningai.StateCanceled {
					r.want(now.Error != nil && now.Error.Code == morningai.ErrorCodeCanceled && !now.FinishedAt.IsZero(), "the canceled task is %+v", now)
				}
			}
			if round > 0 {
				r.want(sameTask(now, before), "a repeated command changed the task: %+v, was %+v", now, before)
			}
			before = now
		}
	}
	r.countsMatch()
}

func commandVersion(r *rig) {
	t := r.enqueue(r.specs(1, later)...)[0]
	for _, kind := range commandKinds {
		_, err := r.tryCommand(morningai.Command{Kind: kind, ID: t.ID, Version: t.Version + 1})
		r.wantError(err, morningai.ErrConflict, "%s with a version that is not the task's", kind)
	}
	r.want(r.wantState(t.ID, morningai.StateScheduled).Version == t.Version, "a conflicting command changed the task")
	ran, err := r.tryCommand(morningai.Command{Kind: morningai.CommandRun, ID: t.ID, Version: t.Version})
	r.noError(err, "run with the right version")
	_, err = r.tryCommand(morningai.Command{Kind: morningai.CommandCancel, ID: t.ID, Version: t.Version})
	r.wantError(err, morningai.ErrConflict, "cancel with the version before")
	_, err = r.tryCommand(morningai.Command{Kind: morningai.CommandCancel, ID: t.ID, Version: ran.Version})
	r.noError(err, "cancel with the version that run returned")
}

func commandAsked(r *rig) {
	s := r.specs(1, later)[0]
	keep := 3 * time.Hour
	s.UniqueKey, s.Retention = "k", &keep
	r.enqueue(s)
	for _, kind := range []morningai.CommandKind{morningai.CommandRun, morningai.CommandCancel, morningai.CommandRetry, morningai.CommandDelete} {
		got, err := r.eng.Command(r.ctx, []morningai.Command{{Kind: kind, ID: s.ID}})
		r.noError(err, "%s", kind)
		r.noError(got[0].Err, "%s", kind)
		r.want(got[0].UniqueKey == "k" && got[0].Retention != nil && *got[0].Retention == keep, "%s says key %q, retention %v", kind, got[0].UniqueKey, got[0].Retention)
	}
}

func commandBatch(r *rig) {
	ids := specIDs(r.specs(4))
	for i := range 3 {
		s := spec(i)
		s.ID = ids[i]
		r.enqueue(s)
	}
	got, err := r.eng.Command(r.ctx, []morningai.Command{
		{Kind: morningai.CommandCancel, ID: ids[2]}, {Kind: morningai.CommandCancel, ID: ids[3]},
		{Kind: morningai.CommandDelete, ID: ids[0]}, {Kind: morningai.CommandRun, ID: ids[2]}, {Kind: morningai.CommandCancel, ID: ids[1]},
	})
	r.noError(err, "command")
	r.want(len(got) == 5, "5 commands have %d results", len(got))
	r.want(got[0].Err == nil && got[0].Task.ID == ids[2] && got[4].Err == nil && got[4].Task.ID == ids[1], "results are in another order")
	r.wantError(got[1].Err, morningai.ErrNotFound, "an unknown task")
	r.want(got[2].Err == nil && r.gone(ids[0]), "delete within a batch: %v", got[2].Err)
	r.wantError(got[3].Err, morningai.ErrWrongState, "run of a task canceled in the same batch")
}

func commandBogus(r *rig) {
	t := r.enqueue(r.specs(1)...)[0]
	for _, kind := range []morningai.CommandKind{"", "approve!", "Cancel"} {
		_, err := r.tryCommand(morningai.Command{Kind: kind, ID: t.ID})
		r.wantError(err, morningai.ErrInvalidInput, "command %q", kind)
	}
}

func commandNewLife(r *rig) {
	_, g := r.start(r.specs(1)[0])
	r.mark(progress(g.Lease, `1`))
	r.finish(report(g, morningai.OutcomeFailed))
	t := r.command(morningai.CommandRetry, g.Task.ID)
	r.want(t.Life == 2 && t.State == morningai.StateQueued && t.Failures == 0 && t.Attempt == 1 && t.FinishedAt.IsZero(), "the new life is %+v", t)
	r.want(t.Error == nil && t.Result == nil && t.Progress == nil, "the new life has error %v, result %s, progress %s", t.Error, t.Result, t.Progress)
	g = r.claim(r.join(), 1)[0]
	gaveUp := report(g, morningai.OutcomeCanceled)
	gaveUp.Result = json.RawMessage(`"partial"`)
	r.finish(gaveUp)
	t = r.command(morningai.CommandRetry, g.Task.ID)
	r.want(t.Life == 3 && t.Attempt == 2 && t.Result == nil, "the third life is %+v", t)
	g = r.claim(r.join(), 1)[0]
	r.finish(report(g, morningai.OutcomeSucceeded))
	r.want(r.wantState(g.Task.ID, morningai.StateSucceeded).Life == 3, "the end changed the life")
	// A retry of one that waits is no new life.
	_, g = r.start(r.specs(1)[0])
	r.finish(report(g, morningai.OutcomeRetry))
	t = r.command(morningai.CommandRetry, g.Task.ID)
	r.want(t.Life == 1 && t.Failures == 1 && t.RunAt.IsZero(), "a waiting retry made to run is %+v", t)
}

func commandRetryPlace(r *rig) {
	specs := r.specs(3)
	r.enqueue(specs...)
	session := r.join()
	r.finish(report(r.claim(session, 1)[0], morningai.OutcomeFailed))
	r.command(morningai.CommandRetry, specs[0].ID)
	got := grantIDs(r.claim(session, 3))
	r.want(got[0] == specs[0].ID && got[1] == specs[1].ID && got[2] == specs[2].ID, "claimed %v", got)
}

func commandDeleted(r *rig) {
	s := r.specs(1)[0]
	r.enqueue(s, spec(2))
	r.command(morningai.CommandDelete, s.ID)
	for range 2 {
		got, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: []morningai.ID{s.ID}, Lingering: true})
		r.noError(err, "get")
		r.want(got[0].ID.IsZero(), "a deleted task lingers")
		_, err = r.eng.History(r.ctx, s.ID)
		r.wantError(err, morningai.ErrNotFound, "history of a deleted task")
		r.want(len(r.listAll(morningai.Filter{})) == 1, "a deleted task is listed")
		r.want(r.stats().States[morningai.StateQueued] == 1, "a deleted task is counted")
		r.wantError(r.tryEnqueue(s)[0].Err, morningai.ErrConflict, "enqueue with the id of a deleted task")
		r.command(morningai.CommandDelete, s.ID)
		r.reopen()
	}
	r.claim(r.join(), 1)
	r.want(len(r.ask(r.join(), 1).Grants) == 0, "a deleted task is handed out")
}

func commandWhy(r *rig) {
	why := morningai.TaskError{Code: morningai.ErrorCodeSuperseded, Message: "another task\u2019s \"key\""}
	cancel := func(id morningai.ID, why *morningai.TaskError) {
		r.Helper()
		_, err := r.tryCommand(morningai.Command{Kind: morningai.CommandCancel, ID: id, Error: why})
		r.noError(err, "cancel")
	}
	check := func(id morningai.ID, want morningai.TaskError) {
		r.Helper()
		t := r.wantState(id, morningai.StateCanceled)
		r.want(t.Error != nil && *t.Error == want, "its error is %+v, want %+v", t.Error, want)
	}
	var ended []morningai.ID
	for _, s := range situations() {
		if end, ok := commandTable[morningai.CommandCancel][s.name].(morningai.State); !ok || end != morningai.StateCanceled {
			continue
		}
		id := s.make(r)
		cancel(id, &why)
		check(id, why)
		cancel(id, &morningai.TaskError{Code: "other", Message: "a repeat"})
		check(id, why)
		ended = append(ended, id)
	}
	r.want(len(ended) >= 3, "only %d situations end at once", len(ended))
	// One that runs ends with what its handler says.
	_, g := r.start(r.specs(1)[0])
	cancel(g.Task.ID, &why)
	gaveUp := report(g, morningai.OutcomeCanceled)
	r.finish(gaveUp)
	check(g.Task.ID, *gaveUp.Error)
	r.reopen()
	for _, id := range ended {
		check(id, why)
	}
	// Another life has nothing of it.
	t := r.command(morningai.CommandRetry, ended[0])
	r.want(t.Error == nil, "the next life has the error %+v", t.Error)
}

func commandReopened(r *rig) {
	ids := taskIDs(r.enqueue(r.specs(3, later)...))
	session, g := r.start(r.specs(1)[0])
	r.command(morningai.CommandCancel, ids[0])
	r.command(morningai.CommandRun, ids[1])
	r.command(morningai.CommandDelete, ids[2])
	r.command(morningai.CommandCancel, g.Task.ID)
	r.reopen()
	r.wantState(ids[0], morningai.StateCanceled)
	r.wantState(ids[1], morningai.StateQueued)
	r.want(r.gone(ids[2]), "a deleted task is back")
	// The cancel of the running task was acknowledged: it must end so.
	r.beat(morningai.BeatRequest{Session: session, Node: "after"})
	r.noError(reapAll(r, "after"), "reap")
	r.wantState(g.Task.ID, morningai.StateCanceled)
}

func commandRace(r *rig) {
	session := r.join()
	for range 15 {
		id := r.enqueue(r.specs(1)...)[0].ID
		var granted atomic.Int32
		var canceled morningai.CommandResult
		r.together(2, func(i int) error {
			if i == 0 {
				reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
				granted.Store(int32(len(reply.Grants)))
				if len(reply.Grants) == 1 && err == nil {
					_, err = r.eng.Finish(r.ctx, []morningai.Report{report(reply.Grants[0], morningai.OutcomeSucceeded)})
				}
				return err
			}
			got, err := r.eng.Command(r.ctx, []morningai.Command{{Kind: morningai.CommandCancel, ID: id}})
			if err == nil {
				canceled = got[0]
			}
			return err
		})
		state := r.get(id).State
		switch {
		case canceled.Err == nil:
			r.want(state == morningai.StateCanceled, "an acknowledged cancel ended in %s", state)
		default:
			r.wantError(canceled.Err, morningai.ErrWrongState, "a cancel that came too late")
			r.want(state == morningai.StateSucceeded && granted.Load() == 1, "a refused cancel ended in %s", state)
		}
	}
}

// sameTask compares what two snapshots say of a task, whenever they were taken.
func sameTask(a, b morningai.Task) bool {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	flat := func(t morningai.Task) string {
		return fmt.Sprint(t.ID, t.TraceID, t.Type, t.Queue, t.Priority, t.State, t.Attempt, t.Failures, t.MaxAttempts, t.Exclusive, t.Timeout,
			string(t.Payload), string(t.Result), t.Error == nil, string(t.Progress), len(t.Metadata), t.Metadata,
			at(t.CreatedAt), at(t.RunAt), at(t.StartedAt), at(t.FinishedAt), t.Life, t.Version, t.CancelRequested)
	}
	return flat(a) == flat(b) && (a.Error == nil || *a.Error == *b.Error)
}

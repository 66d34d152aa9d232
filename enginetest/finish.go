package enginetest

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

func finishChecks() []check {
	checks := []check{
		{"a retry due later is scheduled and runs when due", finishRetryDue},
		{"failures count failures alone", finishFailures},
		{"one bad report of a batch does not touch the others", finishMixed},
		{"a report that no worker may make is refused without trace", finishRefused},
		{"history keeps every attempt, oldest first", finishHistory},
		{"outcomes survive a reopen", finishReopened},
	}
	for _, o := range outcomes {
		checks = append(checks,
			check{"outcome " + string(o), func(r *rig) { finishOutcome(r, o) }},
			check{"cancel requested, then " + string(o) + ": canceled, the result kept", func(r *rig) { finishCanceled(r, o) }},
		)
	}
	return checks
}

func finishOutcome(r *rig, o morningai.Outcome) {
	session, g := r.start(r.specs(1)[0])
	rep := report(g, o)
	rep.Stack = "stack"
	if o == morningai.OutcomeCanceled {
		rep.Result = json.RawMessage(`"partial"`)
	}
	verdict := r.tryFinish(rep)[0]
	r.noError(verdict.Err, "verdict")
	want := map[morningai.Outcome]struct {
		state    morningai.State
		failures int
		result   string
		code     string
	}{
		morningai.OutcomeSucceeded: {morningai.StateSucceeded, 0, `{"done":true}`, ""},
		morningai.OutcomeRetry:     {morningai.StateScheduled, 1, "", "boom"},
		morningai.OutcomeFailed:    {morningai.StateFailed, 1, "", "boom"},
		morningai.OutcomeSnoozed:   {morningai.StateScheduled, 0, "", ""},
		morningai.OutcomeCanceled:  {morningai.StateCanceled, 0, `"partial"`, morningai.ErrorCodeCanceled},
		morningai.OutcomeReleased:  {morningai.StateQueued, 0, "", ""},
	}[o]
	t := r.wantState(g.Task.ID, want.state)
	r.want(verdict.State == want.state, "the verdict says %s", verdict.State)
	r.want(t.Failures == want.failures && t.Attempt == 1, "failures %d, attempt %d", t.Failures, t.Attempt)
	r.want(string(t.Result) == want.result, "result %s, want %s", t.Result, want.result)
	r.want((t.Error == nil) == (want.code == "") && (t.Error == nil || t.Error.Code == want.code), "error %v, want %q", t.Error, want.code)
	r.want(t.FinishedAt.IsZero() != want.state.Terminal(), "finished at %v in state %s", t.FinishedAt, want.state)
	r.want(t.RunAt.IsZero() == (want.state != morningai.StateScheduled), "due at %v in state %s", t.RunAt, want.state)
	r.want(t.Version > g.Task.Version, "the version stays %d", t.Version)
	r.want(r.queue(t.Queue).Counts[want.state] == 1 && r.queue(t.Queue).Counts[morningai.StateRunning] == 0, "counts %v", r.queue(t.Queue).Counts)
	a := r.history(t.ID).Attempts
	r.want(len(a) == 1 && a[0].Number == 1 && a[0].Outcome == o && a[0].Node == "node" && a[0].Stack == "stack" && !a[0].FinishedAt.IsZero(), "attempts %+v", a)

	again := r.tryFinish(rep, rep)
	for _, v := range again {
		r.want(v.Err == nil && v.State == want.state, "a repeat is answered %+v", v)
	}
	after := r.get(t.ID)
	r.want(after.Version == t.Version && after.Failures == t.Failures, "a repeat changed the task: %+v", after)
	r.want(len(r.history(t.ID).Attempts) == 1, "a repeat added an attempt")
	for _, other := range outcomes {
		if other != o {
			r.wantError(r.tryFinish(report(g, other))[0].Err, morningai.ErrStale, "outcome %s after %s", other, o)
		}
	}
	r.want(r.get(t.ID).Version == t.Version, "a refused outcome changed the task")
	if ready := len(r.ask(session, 2).Grants); ready != 0 && want.state != morningai.StateQueued || ready > 1 {
		r.Fatalf("a task in state %s was handed out %d times", want.state, ready)
	}
}

func finishCanceled(r *rig, o morningai.Outcome) {
	session, g := r.start(r.specs(1)[0])
	marked := r.command(morningai.CommandCancel, g.Task.ID)
	r.want(marked.State == morningai.StateRunning && marked.CancelRequested, "a running task after cancel: %+v", marked)
	rep := report(g, o)
	if o == morningai.OutcomeSucceeded || o == morningai.OutcomeCanceled {
		rep.Result = json.RawMessage(`"kept"`)
	}
	for range 2 { // the repeat is acknowledged too
		v := r.tryFinish(rep)[0]
		r.want(v.Err == nil && v.State == morningai.StateCanceled, "the verdict is %+v", v)
	}
	t := r.wantState(g.Task.ID, morningai.StateCanceled)
	r.want(!t.CancelRequested && !t.FinishedAt.IsZero() && t.RunAt.IsZero(), "the canceled task is %+v", t)
	r.want(string(t.Result) == string(rep.Result), "result %s, want %s", t.Result, rep.Result)
	r.want(t.Error != nil && t.Error.Code == morningai.ErrorCodeCanceled, "error %v", t.Error)
	r.want(len(r.ask(session, 1).Grants) == 0, "a canceled task runs again")
}

func finishRetryDue(r *rig) {
	session, g := r.start(r.specs(1)[0])
	rep := report(g, morningai.OutcomeRetry)
	rep.RunAt = time.Now().Add(60 * time.Millisecond).Truncate(time.Millisecond)
	r.finish(rep)
	t := r.wantState(g.Task.ID, morningai.StateScheduled)
	r.want(t.RunAt.Equal(rep.RunAt), "due at %v, want %v", t.RunAt, rep.RunAt)
	again := r.await(session, 1)[0]
	r.want(!time.Now().Before(rep.RunAt), "the retry ran before it was due")
	r.want(again.Task.Attempt == 2 && again.Task.Failures == 1, "attempt %d, failures %d", again.Task.Attempt, again.Task.Failures)
	r.finish(report(again, morningai.OutcomeSucceeded))
	t = r.wantState(g.Task.ID, morningai.StateSucceeded)
	r.want(t.Error == nil, "a success keeps the error of an earlier failure: %v", t.Error)
}

func finishFailures(r *rig) {
	session, g := r.start(r.specs(1)[0])
	steps := []struct {
		outcome  morningai.Outcome
		failures int
	}{
		{morningai.OutcomeRetry, 1}, {morningai.OutcomeSnoozed, 1}, {morningai.OutcomeReleased, 1},
		{morningai.OutcomeRetry, 2}, {morningai.OutcomeFailed, 3},
	}
	for i, s := range steps {
		rep := report(g, s.outcome)
		rep.RunAt = time.Time{}
		r.finish(rep)
		t := r.get(g.Task.ID)
		r.want(t.Failures == s.failures && t.Attempt == i+1, "after %s: failures %d, attempt %d; want %d, %d", s.outcome, t.Failures, t.Attempt, s.failures, i+1)
		if !t.State.Terminal() {
			g = r.claim(session, 1)[0]
		}
	}
}

func finishMixed(r *rig) {
	r.enqueue(r.specs(4)...)
	g := r.claim(r.join(), 4)
	r.finish(report(g[1], morningai.OutcomeSucceeded))
	unknown := report(g[0], morningai.OutcomeSucceeded)
	unknown.Lease.ID = r.id()
	stale := report(g[2], morningai.OutcomeSucceeded)
	stale.Lease.Lease++
	got := r.tryFinish(report(g[0], morningai.OutcomeSucceeded), unknown, report(g[1], morningai.OutcomeFailed), stale,
		report(g[3], morningai.OutcomeRetry), report(g[3], morningai.OutcomeRetry), report(g[3], morningai.OutcomeFailed))
	r.noError(got[0].Err, "a good report before a bad one")
	r.wantError(got[1].Err, morningai.ErrNotFound, "an unknown task")
	r.wantError(got[2].Err, morningai.ErrStale, "another outcome of an ended task")
	r.wantError(got[3].Err, morningai.ErrStale, "another lease")
	r.noError(got[4].Err, "a good report after a bad one")
	r.noError(got[5].Err, "a repeat within the batch")
	r.wantError(got[6].Err, morningai.ErrStale, "another outcome within the batch")
	r.wantState(g[0].Task.ID, morningai.StateSucceeded)
	r.wantState(g[2].Task.ID, morningai.StateRunning)
	r.want(r.wantState(g[3].Task.ID, morningai.StateScheduled).Failures == 1, "a repeat counts twice")
	r.want(r.gone(unknown.Lease.ID), "an unknown task was made by a report")
}

func finishRefused(r *rig) {
	_, g := r.start(r.specs(1)[0])
	broken, large := report(g, morningai.OutcomeSucceeded), report(g, morningai.OutcomeSucceeded)
	broken.Result = json.RawMessage(`{"a":`)
	large.Result = json.RawMessage(`"` + strings.Repeat("x", morningai.MaxPayload) + `"`)
	got := r.tryFinish(report(g, morningai.OutcomeLost), report(g, ""), report(g, "bogus"), broken, large)
	for i, v := range got[:4] {
		r.wantError(v.Err, morningai.ErrInvalidInput, "bad report %d", i)
	}
	r.wantError(got[4].Err, morningai.ErrTooLarge, "a result over the limit")
	t := r.wantState(g.Task.ID, morningai.StateRunning)
	r.want(t.Version == g.Task.Version && t.Result == nil, "a refused report changed the task: %+v", t)
	r.finish(report(g, morningai.OutcomeSucceeded))
}

func finishHistory(r *rig) {
	r.enqueue(r.specs(1)...)
	worker, dead := r.join(), r.join()
	g := r.claim(worker, 1)[0]
	failed := retryNow(g)
	failed.Node, failed.Stack = "elsewhere", "stack"
	r.finish(failed)
	r.claim(dead, 1)
	r.reap(dead)
	g = r.claim(worker, 1)[0]
	r.finish(report(g, morningai.OutcomeFailed))
	r.command(morningai.CommandRetry, g.Task.ID)
	r.claim(worker, 1)
	a := r.history(g.Task.ID).Attempts
	want := []morningai.Outcome{morningai.OutcomeRetry, morningai.OutcomeLost, morningai.OutcomeFailed, ""}
	r.want(len(a) == len(want), "history has %d attempts, want %d: %+v", len(a), len(want), a)
	for i, o := range want {
		r.want(a[i].Number == i+1 && a[i].Outcome == o, "attempt %d is %+v, want outcome %q", i+1, a[i], o)
		r.want(a[i].FinishedAt.IsZero() == (o == ""), "attempt %d finished at %v", i+1, a[i].FinishedAt)
		life := int64(1)
		if i == 3 {
			life = 2
		}
		r.want(a[i].Life == life, "attempt %d belongs to life %d, want %d", i+1, a[i].Life, life)
	}
	r.want(a[0].Node == "elsewhere" && a[0].Stack == "stack" && a[0].Error != nil && a[0].Error.Code == "boom", "the failed attempt is %+v", a[0])
	r.want(a[1].Error == nil || a[1].Error.Code != "boom", "the lost attempt carries another's error")
}

func finishReopened(r *rig) {
	r.enqueue(r.specs(len(outcomes))...)
	g := r.claim(r.join(), len(outcomes))
	var done []morningai.Report
	for i, o := range outcomes {
		done = append(done, report(g[i], o))
	}
	r.finish(done...)
	before := r.getAll(grantIDs(g)...)
	r.reopen()
	for i, t := range r.getAll(grantIDs(g)...) {
		r.want(sameTask(t, before[i]), "after a reopen\n%+v\nwas\n%+v", t, before[i])
	}
	for i, v := range r.tryFinish(done...) {
		r.want(v.Err == nil && v.State == before[i].State, "after a reopen a repeat of %s is answered %+v", outcomes[i], v)
	}
	for i, o := range outcomes {
		other := report(g[i], outcomes[(i+1)%len(outcomes)])
		r.wantError(r.tryFinish(other)[0].Err, morningai.ErrStale, "after a reopen, another outcome than %s", o)
	}
}

package enginetest

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/RC918/morningai"
)

func fenceChecks() []check {
	return []check{
		{"an outcome after the session was reaped is stale", fenceReaped},
		{"an outcome of a superseded claim is stale, whatever came after", fenceSuperseded},
		{"the right claim with the wrong lease is stale", fenceWrongLease},
		{"a larger claim is accepted while the task has not ended", fenceLostMark},
		{"a larger claim that ends the attempt which is under way ends that one, and adds none", fenceSameAttempt},
		{"an ended task takes no larger claim", fenceEnded},
		{"an operator's retry does not open the old claim again", fenceRetried},
		{"a deleted task takes no outcome", fenceDeleted},
		{"claims only grow, over reopens too", fenceGrows},
		{"of many reports of one claim one outcome is accepted", fenceRace},
	}
}

func fenceReaped(r *rig) {
	session, g := r.start(r.specs(1)[0])
	r.reap(session)
	r.wantState(g.Task.ID, morningai.StateQueued)
	late := report(g, morningai.OutcomeSucceeded)
	r.wantError(r.tryFinish(late)[0].Err, morningai.ErrStale, "an outcome after the session was reaped")
	r.wantState(g.Task.ID, morningai.StateQueued)
	next := r.claim(r.join(), 1)[0]
	r.want(next.Lease.Claim > g.Lease.Claim, "claim %d after %d", next.Lease.Claim, g.Lease.Claim)
	r.wantError(r.tryFinish(late)[0].Err, morningai.ErrStale, "an outcome of a superseded claim")
	r.finish(report(next, morningai.OutcomeFailed))
	r.wantError(r.tryFinish(late)[0].Err, morningai.ErrStale, "an outcome of a superseded claim, the task has ended")
	r.wantState(g.Task.ID, morningai.StateFailed)
}

func fenceSuperseded(r *rig) {
	session, g := r.start(r.specs(1)[0])
	old := report(g, morningai.OutcomeSucceeded)
	for _, o := range []morningai.Outcome{morningai.OutcomeRetry, morningai.OutcomeReleased, morningai.OutcomeSnoozed} {
		rep := retryNow(g)
		rep.Outcome = o
		r.finish(rep)
		r.wantError(r.tryFinish(old)[0].Err, morningai.ErrStale, "another outcome after %s", o)
		g = r.claim(session, 1)[0]
		r.wantError(r.tryFinish(old)[0].Err, morningai.ErrStale, "an outcome of the claim before, after %s", o)
		r.wantError(r.tryFinish(rep)[0].Err, morningai.ErrStale, "the recorded outcome, once the task was claimed again after %s", o)
		r.want(r.wantState(g.Task.ID, morningai.StateRunning).Version == g.Task.Version, "a stale report changed the task")
		old = report(g, morningai.OutcomeSucceeded)
	}
	r.finish(old)
}

func fenceWrongLease(r *rig) {
	_, g := r.start(r.specs(1)[0])
	for _, change := range []func(*morningai.Lease){
		func(l *morningai.Lease) { l.Lease++ },
		func(l *morningai.Lease) { l.Claim-- },
		func(l *morningai.Lease) { l.Claim, l.Lease = 0, 0 },
	} {
		rep := report(g, morningai.OutcomeSucceeded)
		change(&rep.Lease)
		r.wantError(r.tryFinish(rep)[0].Err, morningai.ErrStale, "lease %+v for %+v", rep.Lease, g.Lease)
	}
	r.wantState(g.Task.ID, morningai.StateRunning)
}

func fenceLostMark(r *rig) {
	specs := r.specs(3)
	r.enqueue(specs...)
	session := r.join()
	g := r.claim(session, 1)[0]
	// What a worker reports whose hand-out the storage has lost.
	ahead := func(i int, o morningai.Outcome) morningai.Report {
		rep := retryNow(morningai.Grant{Task: g.Task, Lease: morningai.Lease{ID: specs[i].ID, Claim: 7, Lease: 77}})
		rep.Outcome, rep.Attempt = o, 3
		return rep
	}
	r.finish(ahead(0, morningai.OutcomeSucceeded), ahead(1, morningai.OutcomeSucceeded), ahead(2, morningai.OutcomeRetry))
	r.wantState(specs[0].ID, morningai.StateSucceeded)
	r.want(r.wantState(specs[1].ID, morningai.StateSucceeded).Attempt == 3, "the attempt that was reported is not counted")
	r.wantError(r.tryFinish(report(g, morningai.OutcomeFailed))[0].Err, morningai.ErrStale, "the smaller claim after the larger")
	for _, rep := range []morningai.Report{ahead(0, morningai.OutcomeSucceeded), ahead(2, morningai.OutcomeRetry)} {
		r.noError(r.tryFinish(rep)[0].Err, "a repeat of the larger claim")
	}
	r.want(r.queue(morningai.DefaultQueue).Counts[morningai.StateRunning] == 0, "a task that ended still counts as running")
	next := r.claim(session, 1)[0]
	r.want(next.Task.ID == specs[2].ID && next.Lease.Claim == 8 && next.Task.Attempt == 4, "the next claim is %+v, attempt %d; want claim 8, attempt 4", next.Lease, next.Task.Attempt)
	h := r.history(specs[1].ID)
	r.want(len(h.Attempts) == 1 && h.Attempts[0].Number == 3 && h.Attempts[0].Outcome == morningai.OutcomeSucceeded, "history has %+v", h.Attempts)
}

// The storage may know of an attempt under an older claim only.
func fenceSameAttempt(r *rig) {
	for _, o := range []morningai.Outcome{morningai.OutcomeSucceeded, morningai.OutcomeRetry, morningai.OutcomeReleased} {
		_, g := r.start(r.specs(1)[0])
		g.Lease.Claim, g.Lease.Lease = g.Lease.Claim+5, 77
		r.finish(report(g, o))
		h := r.history(g.Task.ID)
		r.want(len(h.Attempts) == 1 && h.Attempts[0].Number == g.Task.Attempt && h.Attempts[0].Outcome == o, "after %s history has %+v", o, h.Attempts)
		r.fresh()
	}
}

func fenceEnded(r *rig) {
	r.enqueue(r.specs(4)...)
	g := r.claim(r.join(), 3)
	r.finish(report(g[0], morningai.OutcomeSucceeded), report(g[1], morningai.OutcomeFailed), report(g[2], morningai.OutcomeCanceled))
	for _, one := range g {
		one.Lease.Claim, one.Lease.Lease = 9, 99
		for _, o := range outcomes {
			r.wantError(r.tryFinish(report(one, o))[0].Err, morningai.ErrStale, "a larger claim on an ended task")
		}
		errs, err := r.eng.Checkpoint(r.ctx, []morningai.Checkpoint{{Lease: one.Lease, Kind: morningai.CheckpointProgress, Data: json.RawMessage(`1`)}})
		r.noError(err, "checkpoint")
		r.wantError(errs[0], morningai.ErrStale, "a checkpoint of an ended task")
	}
}

func fenceRetried(r *rig) {
	_, g := r.start(r.specs(1)[0])
	r.finish(report(g, morningai.OutcomeFailed))
	r.command(morningai.CommandRetry, g.Task.ID)
	r.wantError(r.tryFinish(report(g, morningai.OutcomeSucceeded))[0].Err, morningai.ErrStale, "an outcome of the life before")
	r.want(r.wantState(g.Task.ID, morningai.StateQueued).Failures == 0, "the new life counts failures of the old")
	r.tryFinish(report(g, morningai.OutcomeFailed)) // whatever the answer, the new life goes on
	r.want(r.wantState(g.Task.ID, morningai.StateQueued).Failures == 0, "a repeat from the life before ended the new one")
	next := r.claim(r.join(), 1)[0]
	r.want(next.Lease.Claim > g.Lease.Claim && next.Task.Attempt == 2 && next.Task.Life == 2, "the new life's grant is %+v of %+v", next.Lease, next.Task)
}

func fenceDeleted(r *rig) {
	_, g := r.start(r.specs(1)[0])
	r.finish(report(g, morningai.OutcomeFailed))
	r.command(morningai.CommandDelete, g.Task.ID)
	g.Lease.Claim++
	r.wantError(r.tryFinish(report(g, morningai.OutcomeSucceeded))[0].Err, morningai.ErrStale, "an outcome of a deleted task")
	r.want(r.gone(g.Task.ID), "a report brought a deleted task back")
}

func fenceGrows(r *rig) {
	id := r.enqueue(r.specs(1)...)[0].ID
	last := int64(0)
	leases := map[int64]bool{}
	for i := range 6 {
		session := r.join()
		g := r.await(session, 1)[0]
		r.want(g.Task.ID == id && g.Lease.Claim > last && !leases[g.Lease.Lease], "grant %d is %+v after claim %d", i, g.Lease, last)
		last, leases[g.Lease.Lease] = g.Lease.Claim, true
		switch i % 3 {
		case 0:
			r.finish(retryNow(g))
		case 1:
			r.reap(session)
		case 2:
			r.finish(report(g, morningai.OutcomeReleased))
			r.reopen()
		}
	}
}

func fenceRace(r *rig) {
	const rounds, callers = 10, 6
	session := r.join()
	for range rounds {
		r.enqueue(r.specs(1)...)
		g := r.claim(session, 1)[0]
		var accepted sync.Map
		var n atomic.Int32
		r.together(callers, func(i int) error {
			o := outcomes[i%len(outcomes)]
			got, err := r.eng.Finish(r.ctx, []morningai.Report{report(g, o)})
			if err != nil {
				return err
			}
			if got[0].Err == nil {
				n.Add(1)
				accepted.Store(o, true)
			} else if morningai.CodeOf(got[0].Err) != morningai.CodeStale {
				return fmt.Errorf("finish: %w", got[0].Err)
			}
			return nil
		})
		r.want(n.Load() == 1, "%d different outcomes of one claim were accepted", n.Load())
		h := r.history(g.Task.ID)
		_, ok := accepted.Load(h.Attempts[0].Outcome)
		r.want(len(h.Attempts) == 1 && ok, "the outcome recorded is not the one accepted: %+v", h.Attempts)
		if !r.get(g.Task.ID).State.Terminal() {
			r.command(morningai.CommandCancel, g.Task.ID)
		}
	}
}

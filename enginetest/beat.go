package enginetest

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

func beatChecks() []check {
	return []check{
		{"a beat registers the session for all to see", beatRegisters},
		{"the counter grows with every beat", beatCounter},
		{"cancels are repeated until the task is finished", beatCancels},
		{"a lease that is superseded or unknown is reported lost", beatLost},
		{"grants of replies not yet seen are left alone", beatThrough},
		{"a leaving session gives back what it does not hold", beatLeaving},
		{"a beat repeated is a beat", beatRepeated},
		{"a session that beats after a reopen learns what became of its grants", beatReopened},
		{"a member is recorded as it stands, for all to see, until its next word", memberRecorded},
		{"a member that leaves with nothing undelivered is removed", memberLeaves},
		{"a member with a backlog, or whose session dies, stays on record", memberStays},
		{"a forgotten member is gone until it beats again", memberForgotten},
		{"members survive a reopen", memberReopened},
	}
}

func beatRegisters(r *rig) {
	session := newSession()
	want := morningai.BeatRequest{Session: session, Node: "n1", Types: []string{"a", "work"}, Queues: []string{"q"}, Concurrency: 4, LeaseTime: 7 * time.Second}
	reply := r.beat(want)
	r.enqueue(r.specs(2)...)
	r.claim(session, 2)
	other := r.join()
	for from, list := range map[string][]morningai.Session{"beat": r.beat(morningai.BeatRequest{Session: other}).Sessions, "stats": r.stats().Sessions} {
		r.want(len(list) == 2, "%s lists %d sessions, want 2", from, len(list))
		s := list[slices.IndexFunc(list, func(s morningai.Session) bool { return s.ID == session })]
		r.want(s.Node == "n1" && slices.Equal(s.Types, want.Types) && slices.Equal(s.Queues, want.Queues) && s.Concurrency == 4 &&
			s.LeaseTime == 7*time.Second && s.Counter == reply.Counter && s.Running == 2, "%s: the session is %+v", from, s)
	}
}

func beatCounter(r *rig) {
	session, last := newSession(), int64(0)
	for range 5 {
		reply := r.beat(morningai.BeatRequest{Session: session})
		r.want(reply.Counter > last, "counter %d after %d", reply.Counter, last)
		last = reply.Counter
	}
}

func beatCancels(r *rig) {
	r.enqueue(r.specs(2)...)
	session := r.join()
	g := r.claim(session, 2)
	holding := []morningai.Lease{g[0].Lease, g[1].Lease}
	r.want(len(r.beat(morningai.BeatRequest{Session: session, Holding: holding}).Cancels) == 0, "cancels that nobody asked for")
	r.command(morningai.CommandCancel, g[1].Task.ID)
	for range 3 {
		got := r.beat(morningai.BeatRequest{Session: session, Holding: holding}).Cancels
		r.want(slices.Equal(got, []morningai.ID{g[1].Task.ID}), "cancels are %v", got)
	}
	r.finish(report(g[1], morningai.OutcomeCanceled))
	got := r.beat(morningai.BeatRequest{Session: session, Holding: holding[:1]}).Cancels
	r.want(len(got) == 0, "after the end the cancel is repeated: %v", got)
}

func beatLost(r *rig) {
	r.enqueue(r.specs(2)...)
	session := r.join()
	g := r.claim(session, 2)
	unknown := morningai.Lease{ID: r.id(), Claim: 1, Lease: 5}
	r.reap(session)
	taken := r.claim(r.join(), 2)
	got := r.beat(morningai.BeatRequest{Session: session, Holding: []morningai.Lease{g[0].Lease, unknown, g[1].Lease}}).Lost
	for _, l := range []morningai.Lease{g[0].Lease, unknown, g[1].Lease} {
		r.want(slices.Contains(got, l), "lease %+v is not reported lost: %+v", l, got)
	}
	for _, one := range taken {
		r.wantState(one.Task.ID, morningai.StateRunning)
		r.finish(report(one, morningai.OutcomeSucceeded))
	}
}

func beatThrough(r *rig) {
	r.enqueue(r.specs(3)...)
	session := r.join()
	var replies []morningai.ClaimReply
	for range 3 {
		replies = append(replies, r.ask(session, 1))
	}
	states := func(want ...morningai.State) {
		r.Helper()
		for i, s := range want {
			r.wantState(replies[i].Grants[0].Task.ID, s)
		}
	}
	running, queued := morningai.StateRunning, morningai.StateQueued
	r.beat(morningai.BeatRequest{Session: session})
	states(running, running, running)
	r.beat(morningai.BeatRequest{Session: session, Through: replies[0].Seq, Holding: []morningai.Lease{replies[0].Grants[0].Lease}})
	states(running, running, running)
	r.beat(morningai.BeatRequest{Session: session, Through: replies[1].Seq, Holding: []morningai.Lease{replies[0].Grants[0].Lease}})
	states(running, queued, running)
	r.beat(morningai.BeatRequest{Session: session, Through: replies[2].Seq})
	states(queued, queued, queued)
	r.want(r.stats().States[queued] == 3, "counts: %v", r.stats().States)
	g := r.claim(r.join(), 3)
	r.want(slices.Equal(grantIDs(g), []morningai.ID{replies[0].Grants[0].Task.ID, replies[1].Grants[0].Task.ID, replies[2].Grants[0].Task.ID}), "disowned tasks lost their place")
}

func beatLeaving(r *rig) {
	r.enqueue(r.specs(3)...)
	session := r.join()
	g := r.claim(session, 3)
	r.finish(report(g[0], morningai.OutcomeReleased), report(g[1], morningai.OutcomeSucceeded))
	r.command(morningai.CommandCancel, g[2].Task.ID)
	reply := r.beat(morningai.BeatRequest{Session: session, Leaving: true})
	for from, list := range map[string][]morningai.Session{"reply": reply.Sessions, "stats": r.stats().Sessions} {
		r.want(len(list) == 0, "%s: a session that left is listed: %+v", from, list)
	}
	r.wantState(g[0].Task.ID, morningai.StateQueued)
	r.wantState(g[1].Task.ID, morningai.StateSucceeded)
	r.wantState(g[2].Task.ID, morningai.StateCanceled) // its cancel was acknowledged
	_, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
	r.wantError(err, morningai.ErrNotFound, "a claim of a session that left")
	r.claim(r.join(), 1)
}

func beatRepeated(r *rig) {
	r.enqueue(r.specs(2)...)
	session := r.join()
	seen := r.ask(session, 1)
	lost := r.ask(session, 1)
	req := morningai.BeatRequest{Session: session, Holding: []morningai.Lease{seen.Grants[0].Lease}, Through: lost.Seq}
	for range 3 {
		r.want(len(r.beat(req).Lost) == 0, "a held lease is reported lost")
	}
	r.wantState(seen.Grants[0].Task.ID, morningai.StateRunning)
	t := r.wantState(lost.Grants[0].Task.ID, morningai.StateQueued)
	again := r.ask(session, 1)
	r.want(len(again.Grants) == 1 && again.Grants[0].Task.ID == t.ID, "the disowned task is not handed out again")
	r.beat(req) // the same beat once more, sent before the new grant came
	r.wantState(t.ID, morningai.StateRunning)
}

func beatReopened(r *rig) {
	r.enqueue(r.specs(3)...)
	session := r.join()
	g := r.claim(session, 3)
	r.finish(report(g[2], morningai.OutcomeSucceeded))
	r.reopen()
	holding := []morningai.Lease{g[0].Lease, g[1].Lease}
	lost := r.beat(morningai.BeatRequest{Session: session, Holding: holding}).Lost
	for _, one := range g[:2] {
		v := r.tryFinish(report(one, morningai.OutcomeSucceeded))[0]
		if slices.Contains(lost, one.Lease) {
			r.wantError(v.Err, morningai.ErrStale, "a lease reported lost was finished")
			r.finish(report(r.await(session, 1)[0], morningai.OutcomeSucceeded))
		} else {
			r.noError(v.Err, "a lease that was not reported lost")
		}
	}
	r.want(r.stats().States[morningai.StateSucceeded] == 3, "counts: %v", r.stats().States)
}

func reapChecks() []check {
	return []check{
		{"tasks of a dead session go back, the attempt recorded as lost", reapRequeues},
		{"a session whose counter has moved is not reaped", reapMoved},
		{"unknown sessions are passed over, repeats change nothing", reapUnknown},
		{"a task whose cancel was requested ends with its session", reapCanceled},
		{"of many observers one reaps", reapRace},
		{"what ran when the engine was closed runs again", reapReopened},
	}
}

func reapRequeues(r *rig) {
	r.enqueue(r.specs(3)...)
	dead, alive := r.join(), r.join()
	g := r.claim(dead, 2)
	other := r.claim(alive, 1)[0]
	r.reap(dead)
	for _, one := range g {
		t := r.wantState(one.Task.ID, morningai.StateQueued)
		r.want(t.Failures == 0 && t.Attempt == 1 && t.Version > one.Task.Version, "after the loss: %+v", t)
		a := r.history(t.ID).Attempts
		r.want(len(a) == 1 && a[0].Outcome == morningai.OutcomeLost && !a[0].FinishedAt.IsZero(), "attempts are %+v", a)
	}
	r.wantState(other.Task.ID, morningai.StateRunning)
	r.want(len(r.stats().Sessions) == 1, "the dead session is still listed")
	again := r.claim(alive, 2)
	r.want(slices.Equal(grantIDs(again), grantIDs(g)) && again[0].Task.Attempt == 2, "the tasks come back as %+v", again)
}

func reapMoved(r *rig) {
	session, g := r.start(r.specs(1)[0])
	old := r.stats().Sessions[0].Counter
	r.beat(morningai.BeatRequest{Session: session, Holding: []morningai.Lease{g.Lease}})
	got, err := r.eng.Reap(r.ctx, []morningai.Observation{{Session: session, Counter: old}, {Session: session, Counter: old + 100}})
	r.noError(err, "reap")
	r.want(len(got) == 0, "a session whose counter moved was reaped")
	r.want(len(r.stats().Sessions) == 1, "the session is gone")
	r.finish(report(g, morningai.OutcomeSucceeded))
}

func reapUnknown(r *rig) {
	dead := r.join()
	seen := []morningai.Observation{{Session: newSession(), Counter: 1}, {Session: dead, Counter: r.stats().Sessions[0].Counter}}
	for want := 1; want >= 0; want-- {
		got, err := r.eng.Reap(r.ctx, seen)
		r.noError(err, "reap")
		r.want(len(got) == want, "reaped %v, want %d", got, want)
	}
}

func reapCanceled(r *rig) {
	session, g := r.start(r.specs(1)[0])
	r.command(morningai.CommandCancel, g.Task.ID)
	r.reap(session)
	t := r.wantState(g.Task.ID, morningai.StateCanceled)
	r.want(!t.FinishedAt.IsZero() && t.Error != nil && t.Error.Code == morningai.ErrorCodeCanceled, "the canceled task is %+v", t)
	r.want(len(r.ask(r.join(), 1).Grants) == 0, "a canceled task runs again")
}

func reapRace(r *rig) {
	for range 5 {
		session, g := r.start(r.specs(1)[0])
		counter := r.stats().Sessions[0].Counter
		won := make([]int, 8)
		r.together(len(won), func(i int) error {
			got, err := r.eng.Reap(r.ctx, []morningai.Observation{{Session: session, Counter: counter}})
			won[i] = len(got)
			return err
		})
		total := 0
		for _, n := range won {
			total += n
		}
		r.want(total == 1, "%d observers reaped one session", total)
		r.want(len(r.history(g.Task.ID).Attempts) == 1, "one loss is recorded several times")
		r.command(morningai.CommandDelete, g.Task.ID)
	}
}

func reapReopened(r *rig) {
	r.enqueue(r.specs(2)...)
	g := r.claim(r.join(), 2)
	r.finish(report(g[0], morningai.OutcomeSucceeded))
	r.reopen()
	r.noError(reapAll(r, "node"), "reap")
	session := newSession()
	r.beat(morningai.BeatRequest{Session: session, Node: "after"})
	again := r.await(session, 1)[0]
	r.want(again.Task.ID == g[1].Task.ID && again.Task.Attempt == 2 && again.Task.Failures == 0, "after a reopen came %+v", again.Task)
	a := r.history(again.Task.ID).Attempts
	r.want(len(a) == 2 && a[0].Outcome == morningai.OutcomeLost, "attempts are %+v", a)
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	_, err := r.eng.Reap(ctx, nil)
	r.wantError(err, context.Canceled, "reap with a cancelled context")
	r.wantState(g[0].Task.ID, morningai.StateSucceeded)
}

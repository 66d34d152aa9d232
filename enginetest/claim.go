package enginetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

func claimChecks() []check {
	return []check{
		{"a grant carries the running task and its lease", claimGrant},
		{"lowest priority number first, then order of acceptance", claimOrder},
		{"a retried, released or lost task keeps its place", claimPlace},
		{"only the types that the session can run", claimTypes},
		{"queues share a claim, then in their order", claimShares},
		{"no queues means all of them as one", claimAllQueues},
		{"the sequence grows with every reply", claimSeq},
		{"an unknown session is refused", claimUnknownSession},
		{"concurrent claimers get every task once", claimDisjoint},
		{"a cancelled claim loses nothing", claimCancelled},
		{"a grant whose reply was lost is recovered by the beat", claimLostReply},
		{"steps done come with the next grant", claimSteps},
		{"a backlog larger than any page is claimed whole and in order", claimBacklog},
	}
}

func claimGrant(r *rig) {
	s := r.specs(1)[0]
	r.enqueue(s)
	before := r.get(s.ID)
	session := r.join()
	g := r.claim(session, 1)[0]
	r.want(g.Lease.ID == s.ID && g.Lease.Claim == 1 && g.Lease.Lease != 0, "the lease is %+v", g.Lease)
	r.want(g.Steps == nil, "a first grant has steps %v", g.Steps)
	for from, t := range map[string]morningai.Task{"grant": g.Task, "get": r.get(s.ID)} {
		r.want(t.State == morningai.StateRunning && t.Attempt == 1 && t.Failures == 0 && !t.StartedAt.IsZero() && t.FinishedAt.IsZero(),
			"%s: %+v", from, t)
		r.want(t.Version > before.Version, "%s: the version stays %d", from, t.Version)
		r.want(string(t.Payload) == string(s.Payload), "%s: payload %s", from, t.Payload)
	}
	r.want(len(r.ask(session, 5).Grants) == 0, "the task is handed out twice")
	h := r.history(s.ID)
	r.want(len(h.Attempts) == 1, "history has %d attempts", len(h.Attempts))
	a := h.Attempts[0]
	r.want(a.Number == 1 && a.Life == 1 && a.Node == "node" && a.Outcome == "" && a.FinishedAt.IsZero() && !a.StartedAt.IsZero(), "the running attempt is %+v", a)
	r.finish(retryNow(g))
	again := r.claim(session, 1)[0]
	r.want(again.Lease.Claim == 2 && again.Lease.Lease != g.Lease.Lease && again.Task.Attempt == 2, "the second grant is %+v, attempt %d", again.Lease, again.Task.Attempt)
}

func claimOrder(r *rig) {
	specs := r.specs(60, func(i int, s *morningai.TaskSpec) { s.Priority = []int{5, 0, 9, 5, 3, 0}[i%6] })
	for part := range slices.Chunk(specs, 7) {
		r.enqueue(part...)
	}
	want := slices.Clone(specs)
	slices.SortStableFunc(want, func(a, b morningai.TaskSpec) int { return cmp.Compare(a.Priority, b.Priority) })
	session := r.join()
	var got []morningai.ID
	for _, n := range []int{1, 1, 10, 3, 45} {
		got = append(got, grantIDs(r.claim(session, n))...)
	}
	r.want(slices.Equal(got, specIDs(want)), "claimed in another order:\n%v\nwant\n%v", got, specIDs(want))
}

func claimPlace(r *rig) {
	specs := r.specs(6)
	r.enqueue(specs...)
	session, other := r.join(), r.join()
	lost := r.claim(other, 1)
	grants := r.claim(session, 3)
	snoozed := report(grants[2], morningai.OutcomeSnoozed)
	snoozed.RunAt = time.Time{}
	r.finish(retryNow(grants[0]), report(grants[1], morningai.OutcomeReleased), snoozed)
	r.reap(other)
	got := grantIDs(r.claim(session, 6))
	r.want(slices.Equal(got, specIDs(specs)), "after a loss (%v), a retry, a release and a snooze the order is\n%v\nwant\n%v", lost[0].Task.ID, got, specIDs(specs))
}

// reap declares a session dead as an observer would.
func (r *rig) reap(s morningai.SessionID) {
	r.Helper()
	sessions := r.stats().Sessions
	i := slices.IndexFunc(sessions, func(m morningai.Session) bool { return m.ID == s })
	r.want(i >= 0, "the session to reap is not listed")
	got, err := r.eng.Reap(r.ctx, []morningai.Observation{{Session: s, Counter: sessions[i].Counter}})
	r.noError(err, "reap")
	r.want(slices.Equal(got, []morningai.SessionID{s}), "reap returned %v, want the session observed", got)
}

func claimTypes(r *rig) {
	specs := r.specs(4, func(i int, s *morningai.TaskSpec) { s.Type = []string{"a", "b", "c", "a"}[i] })
	r.enqueue(specs...)
	session := r.join()
	claim := func(types ...string) []morningai.ID {
		reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: types, N: 10})
		r.noError(err, "claim")
		return grantIDs(reply.Grants)
	}
	r.want(len(claim()) == 0, "without types something is granted")
	r.want(len(claim("d")) == 0, "another type is granted")
	r.want(slices.Equal(claim("c", "b"), specIDs(specs)[1:3]), "types b and c: wrong grants")
	r.want(slices.Equal(claim("a"), []morningai.ID{specs[0].ID, specs[3].ID}), "type a: wrong grants")
}

func claimShares(r *rig) {
	queues := []string{"low", "high", "unserved"}
	specs := r.specs(30, func(i int, s *morningai.TaskSpec) { s.Queue = queues[i%3] })
	r.enqueue(specs...)
	session := r.join()
	high, low := morningai.QueueShare{Name: "high", Share: 4}, morningai.QueueShare{Name: "low", Share: 2}
	count := func(grants []morningai.Grant) (c [2]int) {
		for _, g := range grants {
			r.want(g.Task.Queue != "unserved", "a queue that was not asked for is served")
			if g.Task.Queue == "high" {
				c[0]++
			} else {
				c[1]++
			}
		}
		return c
	}
	r.want(count(r.ask(session, 6, high, low).Grants) == [2]int{4, 2}, "6 of shares 4 and 2 are split otherwise")
	r.want(count(r.ask(session, 5, high, low).Grants) == [2]int{4, 1}, "5 of shares 4 and 2 are split otherwise")
	// high has 2 left, low 7: what high cannot fill goes to low.
	r.want(count(r.ask(session, 6, high, low).Grants) == [2]int{2, 4}, "free places are not filled from the other queue")
	r.want(count(r.ask(session, 9, high, low).Grants) == [2]int{0, 3}, "the rest is not handed out")
	r.want(len(r.ask(session, 9, morningai.QueueShare{Name: "never used", Share: 1}).Grants) == 0, "an unknown queue has tasks")

	// Beyond the shares, queues are tried in the order of the request.
	r.enqueue(r.specs(12, func(i int, s *morningai.TaskSpec) { s.Queue = queues[i%2] })...)
	one := []morningai.QueueShare{{Name: "high", Share: 1}, {Name: "low", Share: 1}}
	r.want(count(r.ask(session, 6, one...).Grants) == [2]int{5, 1}, "places beyond the shares do not go to the first queue")
	r.want(count(r.ask(session, 6, one...).Grants) == [2]int{1, 5}, "places that the first queue cannot fill do not go to the second")
}

func claimAllQueues(r *rig) {
	specs := r.specs(9, func(i int, s *morningai.TaskSpec) {
		s.Queue, s.Priority = fmt.Sprint("q", i%3), []int{5, 1, 5, 1}[i%4]
	})
	r.enqueue(specs...)
	want := slices.Clone(specs)
	slices.SortStableFunc(want, func(a, b morningai.TaskSpec) int { return cmp.Compare(a.Priority, b.Priority) })
	got := grantIDs(r.claim(r.join(), 9))
	r.want(slices.Equal(got, specIDs(want)), "over all queues the order is\n%v\nwant\n%v", got, specIDs(want))
}

func claimSeq(r *rig) {
	r.enqueue(r.specs(4)...)
	session, last := r.join(), int64(0)
	for range 6 {
		reply := r.ask(session, 1)
		r.want(reply.Seq > last, "sequence %d after %d", reply.Seq, last)
		last = reply.Seq
	}
}

func claimUnknownSession(r *rig) {
	r.enqueue(spec(1))
	_, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: newSession(), Types: []string{"work"}, N: 1, Wait: time.Hour})
	r.wantError(err, morningai.ErrNotFound, "claim of a session that never beat")
	session := r.join()
	r.reap(session)
	_, err = r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
	r.wantError(err, morningai.ErrNotFound, "claim of a reaped session")
	r.claim(r.join(), 1)
}

func claimDisjoint(r *rig) {
	const tasks, claimers = 400, 8
	specs := r.specs(tasks)
	for part := range slices.Chunk(specs[:tasks/2], 50) {
		r.enqueue(part...)
	}
	sessions := make([]morningai.SessionID, claimers)
	for i := range sessions {
		sessions[i] = r.join()
	}
	var mu sync.Mutex
	seen := map[morningai.ID]int{}
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	r.together(claimers+1, func(i int) error {
		if i == claimers {
			for part := range slices.Chunk(specs[tasks/2:], 10) {
				if _, err := r.eng.Enqueue(r.ctx, part); err != nil {
					return err
				}
			}
			return nil
		}
		for {
			reply, err := r.eng.Claim(ctx, morningai.ClaimRequest{Session: sessions[i], Types: []string{"work"}, N: 1 + i, Wait: time.Hour})
			if ctx.Err() != nil && r.ctx.Err() == nil {
				return nil // all are claimed
			}
			if err != nil {
				return err
			}
			mu.Lock()
			for _, g := range reply.Grants {
				seen[g.Task.ID]++
			}
			if len(seen) == tasks {
				stop()
			}
			mu.Unlock()
		}
	})
	for id, n := range seen {
		r.want(n == 1, "task %s was handed out %d times", id, n)
	}
	r.want(len(seen) == tasks, "%d of %d tasks were handed out", len(seen), tasks)
}

func claimCancelled(r *rig) {
	const tasks = 40
	r.enqueue(r.specs(tasks)...)
	session := r.join()
	var held []morningai.Lease
	for range 30 {
		ctx, cancel := context.WithCancel(r.ctx)
		var once sync.WaitGroup
		once.Go(cancel)
		reply, err := r.eng.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
		once.Wait()
		if err != nil && !errors.Is(err, context.Canceled) {
			r.Fatalf("claim: %v", err)
		}
		if err == nil {
			for _, g := range reply.Grants {
				held = append(held, g.Lease)
			}
		}
	}
	// Every reply up to this one has been received or given up.
	through := r.ask(session, 0).Seq
	lost := r.beat(morningai.BeatRequest{Session: session, Holding: held, Through: through}).Lost
	r.want(len(lost) == 0, "grants that the session holds are reported lost: %v", lost)
	got := r.claim(session, tasks-len(held))
	r.want(len(r.ask(session, 1).Grants) == 0, "more tasks than were enqueued")
	for _, g := range got {
		r.want(!slices.ContainsFunc(held, func(l morningai.Lease) bool { return l.ID == g.Task.ID }), "a held task is handed out again")
	}
}

func claimLostReply(r *rig) {
	r.enqueue(r.specs(3)...)
	session := r.join()
	kept := r.claim(session, 1)[0]
	lost := r.ask(session, 1) // the session never sees this reply
	late := r.claim(session, 1)[0]
	holding := []morningai.Lease{kept.Lease}
	reply := r.beat(morningai.BeatRequest{Session: session, Holding: holding, Through: lost.Seq})
	r.want(len(reply.Lost) == 0, "the beat reports %v lost", reply.Lost)
	r.wantState(late.Task.ID, morningai.StateRunning) // its reply may still be on its way
	r.wantState(kept.Task.ID, morningai.StateRunning)
	task := r.wantState(lost.Grants[0].Task.ID, morningai.StateQueued)
	r.want(task.Failures == 0, "a grant lost on the way counts as a failure")
	r.wantError(r.tryFinish(report(lost.Grants[0], morningai.OutcomeSucceeded))[0].Err, morningai.ErrStale, "an outcome of a disowned grant")
	again := r.claim(session, 1)[0]
	r.want(again.Task.ID == lost.Grants[0].Task.ID && again.Lease.Claim > lost.Grants[0].Lease.Claim, "the disowned grant does not come back")
	r.finish(report(kept, morningai.OutcomeSucceeded), report(late, morningai.OutcomeSucceeded), report(again, morningai.OutcomeSucceeded))
}

func claimSteps(r *rig) {
	session, g := r.start(spec(1))
	errs, err := r.eng.Checkpoint(r.ctx, []morningai.Checkpoint{
		{Lease: g.Lease, Kind: morningai.CheckpointStep, Name: "one", Data: json.RawMessage(`{"v": 1.50}`)},
		{Lease: g.Lease, Kind: morningai.CheckpointStep, Name: "two", Data: json.RawMessage(`null`)},
	})
	r.noError(errors.Join(append(errs, err)...), "checkpoint")
	r.finish(retryNow(g))
	for _, after := range []string{"a retry", "a reopen"} {
		got := r.claim(session, 1)[0]
		r.want(len(got.Steps) == 2 && string(got.Steps["one"]) == `{"v": 1.50}` && string(got.Steps["two"]) == "null", "after %s the steps are %s", after, got.Steps)
		r.finish(retryNow(got))
		r.reopen()
		session = r.join()
	}
}

func claimBacklog(r *rig) {
	const tasks = 5000
	specs := r.specs(tasks, func(i int, s *morningai.TaskSpec) { s.Priority = i % 2 })
	for part := range slices.Chunk(specs, 1000) {
		r.enqueue(part...)
	}
	want := append(everyOther(specs, 0), everyOther(specs, 1)...)
	r.reopen()
	session := r.join()
	var got []morningai.ID
	for len(got) < tasks {
		grants := r.ask(session, 700).Grants
		r.want(len(grants) > 0, "nothing is ready after %d of %d", len(got), tasks)
		got = append(got, grantIDs(grants)...)
		var done []morningai.Report
		for _, g := range grants {
			done = append(done, report(g, morningai.OutcomeSucceeded))
		}
		r.finish(done...)
	}
	r.want(slices.Equal(got, want), "a large backlog is handed out in another order, or not whole")
	r.want(r.stats().States[morningai.StateSucceeded] == tasks, "counts: %v", r.stats().States)
}

func everyOther(specs []morningai.TaskSpec, from int) []morningai.ID {
	var out []morningai.ID
	for i := from; i < len(specs); i += 2 {
		out = append(out, specs[i].ID)
	}
	return out
}

package enginetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

func statsChecks() []check {
	return []check{
		{"an empty engine counts nothing, with an entry for every state", statsEmpty},
		{"queues are listed by name, once used or configured", statsQueues},
		{"the oldest queued task is told by its acceptance", statsOldest},
		{"throughput counts what became of attempts", statsThroughput},
		{"counts equal a scan through random operations", statsRandom},
		{"counts equal a scan after a reopen", statsReopened},
	}
}

// countsMatch compares what Stats counts with what List shows.
func (r *rig) countsMatch() {
	r.Helper()
	stats := r.stats()
	states, queues := noCounts(), map[string]map[morningai.State]int64{}
	oldest := map[string]time.Time{}
	for _, t := range r.listAll(morningai.Filter{Limit: 1000}) {
		if queues[t.Queue] == nil {
			queues[t.Queue] = noCounts()
			queues[t.Queue][morningai.StateRetrying] = 0
		}
		states[t.State]++
		queues[t.Queue][t.State]++
		if retrying(&t) {
			queues[t.Queue][morningai.StateRetrying]++
		}
		if had, ok := oldest[t.Queue]; t.State == morningai.StateQueued && (!ok || t.CreatedAt.Before(had)) {
			oldest[t.Queue] = t.CreatedAt
		}
	}
	r.want(fmt.Sprint(stats.States) == fmt.Sprint(states), "states are counted %v, a scan has %v", stats.States, states)
	for _, q := range stats.Queues {
		want := queues[q.Name]
		if want == nil {
			want = noCounts()
			want[morningai.StateRetrying] = 0
		}
		r.want(fmt.Sprint(q.Counts) == fmt.Sprint(want), "queue %s is counted %v, a scan has %v", q.Name, q.Counts, want)
		// Two that are accepted at once may have read the clock in the other order.
		later := q.OldestQueuedAt.Sub(oldest[q.Name])
		r.want(later >= 0 && later < time.Millisecond, "queue %s: the oldest queued is of %v, a scan has %v", q.Name, q.OldestQueuedAt, oldest[q.Name])
		delete(queues, q.Name)
	}
	r.want(len(queues) == 0, "queues that stats lack: %v", queues)
}

func statsEmpty(r *rig) {
	s := r.stats()
	r.want(len(s.Queues) == 0 && len(s.Sessions) == 0 && s.Fresh == morningai.FreshLive && !s.AsOf.IsZero(), "an empty engine says %+v", s)
	r.want(s.Throughput.Window == time.Minute && s.Throughput.Enqueued == 0, "throughput %+v", s.Throughput)
	r.want(len(s.States) == len(morningai.States()), "states %v", s.States)
	r.countsMatch()
}

func statsQueues(r *rig) {
	r.setQueue("configured", morningai.QueueChange{})
	r.enqueue(r.specs(2, inQueue("used"))...)
	r.enqueue(r.specs(1, inQueue("a.first"))...)
	r.setQueue("used", morningai.QueueChange{Concurrency: new(4)})
	for range 2 {
		var names []string
		for _, q := range r.stats().Queues {
			names = append(names, q.Name)
			r.want(len(q.Counts) == len(morningai.States())+1, "queue %s has counts %v", q.Name, q.Counts)
		}
		r.want(slices.Equal(names, []string{"a.first", "configured", "used"}), "queues are %v", names)
		r.want(r.queue("used").Concurrency == 4 && r.queue("used").Counts[morningai.StateQueued] == 2, "used: %+v", r.queue("used"))
		r.reopen()
	}
}

func statsOldest(r *rig) {
	tasks := r.enqueue(r.specs(1)...)
	tasks = append(tasks, r.enqueue(r.specs(1)...)...)
	session := r.join()
	oldest := func() time.Time { return r.queue(morningai.DefaultQueue).OldestQueuedAt }
	r.want(oldest().Equal(tasks[0].CreatedAt), "oldest %v, want %v", oldest(), tasks[0].CreatedAt)
	g := r.claim(session, 1)[0]
	r.want(oldest().Equal(tasks[1].CreatedAt), "oldest %v, want %v", oldest(), tasks[1].CreatedAt)
	r.finish(report(g, morningai.OutcomeReleased))
	r.want(oldest().Equal(tasks[0].CreatedAt), "after a release oldest is %v, want %v", oldest(), tasks[0].CreatedAt)
	r.claim(session, 2)
	r.want(oldest().IsZero(), "with nothing queued the oldest is of %v", oldest())
}

func statsThroughput(r *rig) {
	r.enqueue(r.specs(7)...)
	r.enqueue(keyed(1, "k"))
	r.enqueue(keyed(1, "k")) // a duplicate is not accepted work
	g := r.claim(r.join(), 7)
	r.finish(report(g[0], morningai.OutcomeSucceeded), report(g[1], morningai.OutcomeSucceeded), report(g[2], morningai.OutcomeSucceeded),
		report(g[3], morningai.OutcomeRetry), report(g[4], morningai.OutcomeFailed), report(g[5], morningai.OutcomeCanceled), report(g[6], morningai.OutcomeReleased))
	r.finish(report(g[0], morningai.OutcomeSucceeded)) // a repeat does not count
	got := r.stats().Throughput
	want := morningai.Throughput{Window: time.Minute, Enqueued: 8, Succeeded: 3, Retried: 1, Failed: 1, Canceled: 1}
	r.want(got == want, "throughput %+v, want %+v", got, want)
}

func statsReopened(r *rig) {
	r.scramble(rand.New(rand.NewPCG(3, 4)), 120)
	before := r.stats()
	r.reopen()
	r.noError(reapAll(r, "node"), "reap")
	after := r.stats()
	for _, s := range []morningai.State{morningai.StateSucceeded, morningai.StateFailed, morningai.StateScheduled} {
		r.want(after.States[s] == before.States[s], "%s: %d before a reopen, %d after", s, before.States[s], after.States[s])
	}
	r.countsMatch()
}

func statsRandom(r *rig) {
	for seed := range uint64(3) {
		r.scramble(rand.New(rand.NewPCG(seed, 1)), 150)
		r.countsMatch()
	}
}

// scramble does n random things of all kinds and returns the sessions in use.
func (r *rig) scramble(rnd *rand.Rand, n int) {
	r.Helper()
	session := r.join()
	var ids []morningai.ID
	var grants []morningai.Grant
	for i := range n {
		switch rnd.IntN(10) {
		case 0, 1, 2:
			specs := r.specs(1+rnd.IntN(3), func(_ int, s *morningai.TaskSpec) {
				s.Queue, s.Priority = fmt.Sprint("q", rnd.IntN(3)), rnd.IntN(10)
				if rnd.IntN(5) == 0 {
					later(0, s)
				}
				if rnd.IntN(6) == 0 {
					s.UniqueKey = fmt.Sprint("k", rnd.IntN(4))
				}
			})
			for _, t := range r.enqueue(specs...) {
				ids = append(ids, t.ID)
			}
		case 3, 4:
			grants = append(grants, r.ask(session, 1+rnd.IntN(4)).Grants...)
		case 5, 6:
			if len(grants) > 0 {
				j := rnd.IntN(len(grants))
				r.tryFinish(report(grants[j], outcomes[rnd.IntN(len(outcomes))])) // stale ones change nothing
				if rnd.IntN(2) == 0 {
					grants = slices.Delete(grants, j, j+1)
				}
			}
		case 7, 8:
			if len(ids) > 0 {
				kind := commandKinds[rnd.IntN(len(commandKinds))]
				r.tryCommand(morningai.Command{Kind: kind, ID: ids[rnd.IntN(len(ids))]})
			}
		case 9:
			if i%4 == 0 {
				r.reap(session)
				session = r.join()
			}
		}
	}
}

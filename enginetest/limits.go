package enginetest

import (
	"time"

	"github.com/RC918/morningai"
)

func limitChecks() []check {
	return []check{
		{"a paused queue is passed over, the others are not", limitPause},
		{"concurrency bounds what runs at once, over all sessions", limitConcurrency},
		{"every end gives the place back", limitPlaces},
		{"a lowered limit takes nothing away from what runs", limitLowered},
		{"a rate lets a burst of its count through, and no more", limitRate},
		{"a rate refills evenly", limitRefill},
		{"a limited queue does not hold up the others", limitBeside},
		{"limits hold after a reopen", limitReopened},
	}
}

func inQueue(name string) func(int, *morningai.TaskSpec) {
	return func(_ int, s *morningai.TaskSpec) { s.Queue = name }
}

func limitPause(r *rig) {
	r.setQueue("p", morningai.QueueChange{Paused: new(true)})
	r.enqueue(r.specs(2, inQueue("p"))...)
	r.enqueue(r.specs(2, inQueue("q"))...)
	session := r.join()
	for _, g := range r.claim(session, 2) {
		r.want(g.Task.Queue == "q", "a task of a paused queue is handed out")
	}
	r.want(len(r.ask(session, 5).Grants) == 0, "a task of a paused queue is handed out")
	r.want(len(r.ask(session, 5, morningai.QueueShare{Name: "p", Share: 5}).Grants) == 0, "naming the queue goes around the pause")
	r.setQueue("p", morningai.QueueChange{Paused: new(false)})
	g := r.claim(session, 2)
	r.setQueue("p", morningai.QueueChange{Paused: new(true)})
	r.finish(report(g[0], morningai.OutcomeSucceeded), retryNow(g[1])) // a pause does not touch what runs
	r.want(len(r.ask(session, 5).Grants) == 0, "a retried task of a paused queue is handed out")
}

func limitConcurrency(r *rig) {
	r.setQueue("c", morningai.QueueChange{Concurrency: new(3)})
	r.enqueue(r.specs(10, inQueue("c"))...)
	one, two := r.join(), r.join()
	r.want(len(r.ask(one, 2).Grants) == 2, "places within the limit are refused")
	r.want(len(r.ask(two, 10).Grants) == 1, "the limit does not count over sessions")
	r.want(len(r.ask(one, 10).Grants) == 0, "the limit is passed")
	r.want(r.queue("c").Counts[morningai.StateRunning] == 3, "%d run", r.queue("c").Counts[morningai.StateRunning])
	r.setQueue("c", morningai.QueueChange{Concurrency: new(5)})
	r.want(len(r.ask(one, 10).Grants) == 2, "a raised limit does not hold at once")
	r.setQueue("c", morningai.QueueChange{Concurrency: new(0)})
	r.want(len(r.ask(one, 10).Grants) == 5, "a cleared limit still holds")
}

func limitPlaces(r *rig) {
	r.setQueue("c", morningai.QueueChange{Concurrency: new(1)})
	session := r.join()
	for _, o := range outcomes {
		r.enqueue(r.specs(1, inQueue("c"))...)
		g := r.claim(session, 1)[0]
		r.want(len(r.ask(session, 1).Grants) == 0, "the limit is passed")
		r.finish(report(g, o))
		if task := r.get(g.Task.ID); !task.State.Terminal() {
			r.command(morningai.CommandCancel, g.Task.ID)
		}
	}
	r.enqueue(r.specs(2, inQueue("c"))...)
	dead := r.join()
	r.claim(dead, 1)
	r.reap(dead)
	lost := r.ask(session, 1)
	r.want(len(lost.Grants) == 1, "a dead session keeps its place")
	r.beat(morningai.BeatRequest{Session: session, Through: lost.Seq})
	r.want(len(r.ask(session, 5).Grants) == 1, "a disowned grant keeps its place, or frees two")
}

func limitLowered(r *rig) {
	r.enqueue(r.specs(6, inQueue("c"))...)
	session := r.join()
	grants := r.claim(session, 4)
	r.setQueue("c", morningai.QueueChange{Concurrency: new(2)})
	for i, g := range grants {
		r.want(len(r.ask(session, 1).Grants) == 0, "with %d running and a limit of 2 another starts", 4-i)
		r.finish(report(g, morningai.OutcomeSucceeded))
		if i == 2 {
			break
		}
	}
	r.want(len(r.ask(session, 5).Grants) == 1, "the place that the lowered limit leaves is not given")
}

func limitRate(r *rig) {
	rate := morningai.Rate{Count: 3, Per: time.Hour}
	r.setQueue("r", morningai.QueueChange{Rate: &rate})
	r.enqueue(r.specs(8, inQueue("r"))...)
	session := r.join()
	r.want(len(r.ask(session, 2).Grants) == 2, "starts within the rate are refused")
	grants := r.ask(session, 8).Grants
	r.want(len(grants) == 1, "3 starts an hour let %d through at once", 2+len(grants))
	r.finish(report(grants[0], morningai.OutcomeSucceeded))
	r.want(len(r.ask(session, 8).Grants) == 0, "an end gives a start back")
	r.setQueue("r", morningai.QueueChange{Paused: new(false)})
	r.want(len(r.ask(session, 8).Grants) == 0, "a change of something else fills the bucket")
	r.setQueue("r", morningai.QueueChange{Rate: &morningai.Rate{}})
	r.want(len(r.ask(session, 8).Grants) == 5, "a cleared rate still holds")
}

func limitRefill(r *rig) {
	const tasks, count = 45, 30
	rate := morningai.Rate{Count: count, Per: time.Second}
	before := time.Now()
	r.setQueue("r", morningai.QueueChange{Rate: &rate})
	r.enqueue(r.specs(tasks, inQueue("r"))...)
	session := r.join()
	for got := 0; got < tasks; {
		reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: tasks, Wait: time.Hour})
		r.noError(err, "wait for the rate, %d started", got)
		got += len(reply.Grants)
		most := count + count*time.Since(before).Seconds()
		r.want(float64(got) <= most, "%d starts after %v, the rate allows %.1f", got, time.Since(before), most)
	}
}

func limitBeside(r *rig) {
	hour := morningai.Rate{Count: 1, Per: time.Hour}
	r.setQueue("paused", morningai.QueueChange{Paused: new(true)})
	r.setQueue("narrow", morningai.QueueChange{Concurrency: new(1)})
	r.setQueue("slow", morningai.QueueChange{Rate: &hour})
	names := []string{"paused", "narrow", "slow", "free"}
	r.enqueue(r.specs(40, func(i int, s *morningai.TaskSpec) { s.Queue, s.Priority = names[i/10], i/10 })...)
	count := map[string]int{}
	session := r.join()
	for range 12 {
		for _, g := range r.ask(session, 1).Grants {
			count[g.Task.Queue]++
		}
	}
	r.want(count["free"] == 10 && count["narrow"] == 1 && count["slow"] == 1, "started %v", count)
}

func limitReopened(r *rig) {
	r.setQueue("c", morningai.QueueChange{Concurrency: new(2)})
	r.setQueue("p", morningai.QueueChange{Paused: new(true)})
	r.enqueue(r.specs(5, inQueue("c"))...)
	r.enqueue(r.specs(5, inQueue("p"))...)
	r.reopen()
	r.want(len(r.ask(r.join(), 10).Grants) == 2, "after a reopen limits are forgotten")
	p := r.queue("p")
	r.want(p.Paused && p.Counts[morningai.StateQueued] == 5, "after a reopen the paused queue is %+v", p)
}

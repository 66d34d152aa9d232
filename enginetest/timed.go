package enginetest

import (
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// What takes minutes or hours is checked on engines that let the suite set
// their wall clock.
func timeChecks() []check {
	return []check{
		{"an ended task is gone when its retention is over, its id stays taken for an hour", timed(timeRetention)},
		{"a task with retention 0 lingers for a minute", timed(timeLingering)},
		{"a deleted id stays taken for an hour", timed(timeDeleted)},
		{"throughput forgets after a minute", timed(timeThroughput)},
		{"a scheduled task is due by the wall clock", timed(timeDue)},
		{"an imported running task goes back if its session does not come", timed(timeOrphan)},
	}
}

// clock is a wall clock that only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func timed(run func(r *rig, c *clock)) func(r *rig) {
	return func(r *rig) {
		if r.harness.NewWithClock == nil {
			return // the harness says that there is nothing to check
		}
		r.noError(r.eng.Close(), "close")
		c := &clock{now: time.Now().UTC().Truncate(time.Millisecond)}
		r.storage = r.harness.NewWithClock(r.TB, c.Now)
		r.open()
		run(r, c)
	}
}

// until waits for something that the engine does by itself.
func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-r.ctx.Done():
			r.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

func (r *rig) lingering(id morningai.ID) bool {
	r.Helper()
	got, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: []morningai.ID{id}, Lingering: true})
	r.noError(err, "get")
	return !got[0].ID.IsZero()
}

// endedTask is a task that has succeeded, kept for d.
func (r *rig) endedTask(d time.Duration) morningai.TaskSpec {
	r.Helper()
	s := r.specs(1)[0]
	s.Retention = &d
	_, g := r.start(s)
	r.finish(report(g, morningai.OutcomeSucceeded))
	return s
}

func timeRetention(r *rig, c *clock) {
	s := r.endedTask(10 * time.Minute)
	c.advance(9 * time.Minute)
	r.wantState(s.ID, morningai.StateSucceeded)
	c.advance(2 * time.Minute)
	r.until("the task is gone", func() bool { return r.gone(s.ID) && len(r.listAll(morningai.Filter{})) == 0 })
	r.until("it is counted no more", func() bool { return r.stats().States[morningai.StateSucceeded] == 0 })
	again := r.tryEnqueue(s)[0]
	r.want(again.Err == nil && again.Existing, "within the hour a repeat is %+v", again)
	r.want(len(r.ask(r.join(), 1).Grants) == 0, "a repeat within the hour runs")
	c.advance(time.Hour)
	r.until("the id is free", func() bool {
		got := r.tryEnqueue(s)[0]
		return got.Err == nil && !got.Existing
	})
	r.claim(r.join(), 1)
	r.countsMatch()
}

func timeLingering(r *rig, c *clock) {
	s := r.endedTask(0)
	c.advance(50 * time.Second)
	r.want(r.gone(s.ID) && r.lingering(s.ID), "within the minute: gone %v, lingering %v", r.gone(s.ID), r.lingering(s.ID))
	c.advance(time.Hour)
	r.until("it lingers no more", func() bool { return !r.lingering(s.ID) })
}

func timeDeleted(r *rig, c *clock) {
	s := r.specs(1)[0]
	r.enqueue(s)
	r.command(morningai.CommandDelete, s.ID)
	c.advance(50 * time.Minute)
	r.reopen()
	r.wantError(r.tryEnqueue(s)[0].Err, morningai.ErrConflict, "within the hour, the id of a deleted task")
}

func timeThroughput(r *rig, c *clock) {
	r.endedTask(time.Hour)
	before := r.stats().Throughput
	r.want(before.Enqueued == 1 && before.Succeeded == 1, "throughput %+v", before)
	c.advance(2 * time.Minute)
	r.until("throughput is nothing", func() bool {
		got := r.stats().Throughput
		return got.Enqueued == 0 && got.Succeeded == 0
	})
}

func timeDue(r *rig, c *clock) {
	s := r.specs(1)[0]
	s.RunAt = c.Now().Add(time.Hour)
	r.enqueue(s)
	session := r.join()
	c.advance(59 * time.Minute)
	r.want(len(r.ask(session, 1).Grants) == 0, "it ran before it was due")
	wait := r.waitClaim(r.ctx, session, 1)
	c.advance(2 * time.Minute)
	reply, err := wait()
	r.noError(err, "claim")
	r.want(len(reply.Grants) == 1 && reply.Grants[0].Task.ID == s.ID, "the claim brought %v", grantIDs(reply.Grants))
}

func timeOrphan(r *rig, c *clock) {
	rec := queuedRecord(r.id())
	rec.Task.State, rec.Task.Attempt, rec.Task.StartedAt, rec.Claim, rec.Lease = morningai.StateRunning, 1, c.Now(), 1, 5
	rec.Attempts = []morningai.Attempt{{Number: 1, Life: 1, Node: "gone", StartedAt: c.Now()}}
	r.noError(r.importAll(rec)[0].Err, "import")
	session := r.join()
	r.want(len(r.ask(session, 1).Grants) == 0, "an imported running task is handed out at once")
	c.advance(time.Hour)
	g := r.await(session, 1)[0]
	r.want(g.Task.ID == rec.Task.ID && g.Lease.Claim == 2 && g.Task.Attempt == 2 && g.Task.Failures == 0, "it comes back as %+v, lease %+v", g.Task, g.Lease)
	a := r.history(rec.Task.ID).Attempts
	r.want(len(a) == 2 && a[0].Outcome == morningai.OutcomeLost, "attempts are %+v", a)
	r.countsMatch()
}

package outagetest

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// lossy is a way in which Redis loses what it had acknowledged, and goes on.
type lossy struct {
	name string
	lose func(f *fleet)
}

var (
	flushed = lossy{"flushed while in use", func(f *fleet) { f.redis.Do("FLUSHALL") }}
	// The server keeps nothing on disk: see withoutDisk.
	emptied = lossy{"killed and started without its data", func(f *fleet) {
		f.history.Add(drill.Op{Kind: drill.RedisDown})
		f.redis.Kill()
		rest(time.Second)
		f.redis.Restart()
		f.history.Add(drill.Op{Kind: drill.RedisUp})
	}}
)

var withoutDisk = []string{"--appendonly", "no", "--save", ""}

// loses inflicts a loss. It is on record from before it happens.
func (f *fleet) loses(l lossy) {
	lost := f.history.Begin(drill.Op{Kind: drill.RedisLost})
	l.lose(f)
	lost.Return(nil)
}

// furniture is what a loss must not take: settings, a key, and tasks in every state
// that they can stay in.
type furniture struct {
	waiting, canceled, deleted, failed, keyed, due receipt
}

func (f *fleet) furnish(a, b *node) *furniture {
	f.t.Helper()
	for queue, settings := range map[string]map[string]any{"held": {"paused": true}, "narrow": {"concurrency": 2, "rate": "50/s"}} {
		if r := a.call("PATCH", "/v1/queues/"+queue, settings); r.status != 200 {
			f.t.Fatalf("settings of a queue are answered with %s", r)
		}
	}
	held := f.counted(f.callee.atOnce()).with("queue", "held")
	u := &furniture{waiting: f.must(b, held), canceled: f.must(a, held), deleted: f.must(a, held), keyed: f.must(b, held.with("unique_key", "one"))}
	u.due = f.must(a, f.counted(f.callee.atOnce()).with("delay", "24h"))
	u.failed = f.must(b, spec{"type": "flaky", "payload": map[string]any{"fail_times": 5}, "max_attempts": 1})
	f.waitFor(a, u.failed.id, morningai.StateFailed)
	if r, _ := f.command(b, drill.Cancel, u.canceled.id); r.status != 200 {
		f.t.Fatalf("a cancel is answered with %s", r)
	}
	if r, _ := f.command(b, drill.Delete, u.deleted.id); r.status != 200 {
		f.t.Fatalf("a delete is answered with %s", r)
	}
	return u
}

// standing are tasks that do not end before somebody does something.
func (u *furniture) standing() []morningai.ID {
	return []morningai.ID{u.waiting.id, u.keyed.id, u.due.id}
}

// endsWhole ends the traffic and what waits at a gate, and checks after it that every
// accepted task is there, and what was furnished too.
func (f *fleet) endsWhole(tr *traffic, long []receipt, there *furniture) {
	f.t.Helper()
	made := tr.stop()
	f.callee.open("long")
	f.settle(there.standing()...)
	at := f.everyStatusAgrees()
	f.succeededOnce(at, append(made, long...))
	f.allAccepted(made)
	f.stillThere(there)
}

// endsOnce is endsWhole where nothing was lost or may have run twice, by the incidents too.
func (f *fleet) endsOnce(tr *traffic, long []receipt, there *furniture) {
	f.t.Helper()
	f.endsWhole(tr, long, there)
	if s := f.sums(); s.Lost+s.Repeated+s.MaybeRepeated+s.SetAside != 0 {
		f.t.Errorf("every task ran once, and the incidents say %+v", s)
	}
}

// stillThere checks that nothing of it is gone, on every server.
func (f *fleet) stillThere(u *furniture) {
	f.t.Helper()
	for _, n := range f.nodes {
		for want, r := range map[morningai.State]receipt{morningai.StateQueued: u.waiting, morningai.StateCanceled: u.canceled, morningai.StateFailed: u.failed, morningai.StateScheduled: u.due} {
			if got, v := f.look(n, r.id); v.State != want {
				f.t.Errorf("a task that was %s before the loss is on %s: %s", want, n.name, got)
			}
		}
		var got reply // unknown at first, or as it was last seen: another server may have it
		known := func() bool {
			var v view
			got, v = f.look(n, u.deleted.id)
			return got.status == 404 || got.status == 200 && v.Fresh != morningai.FreshStale
		}
		if !within(patience, known) || got.status != 404 {
			f.t.Errorf("a task that was deleted before the loss is on %s: %s", n.name, got)
		}
		queues := f.queues(n)
		if q := queues["held"]; !q.Paused {
			f.t.Errorf("a queue that was paused before the loss is not, on %s", n.name)
		}
		if q := queues["narrow"]; q.Settings["concurrency"] != "2" || q.Settings["rate"] != "50/s" {
			f.t.Errorf("limits from before the loss are %v on %s", q.Settings, n.name)
		}
		again := n.call("POST", "/v1/tasks", u.keyed.spec.with("id", mustID(f.t)))
		var holder view
		again.into(f.t, &holder)
		if !holder.Duplicate || holder.ID != u.keyed.id {
			f.t.Errorf("a unique key that was held before the loss is free on %s: %s", n.name, again)
		}
	}
}

// sums adds up what the incidents of all servers say.
func (f *fleet) sums() (out incident) {
	f.t.Helper()
	for _, n := range f.nodes {
		for _, i := range f.incidents(n) {
			out.Replayed, out.Repeated, out.MaybeRepeated = out.Replayed+i.Replayed, out.Repeated+i.Repeated, out.MaybeRepeated+i.MaybeRepeated
			out.Lost, out.SetAside = out.Lost+i.Lost, out.SetAside+i.SetAside
		}
	}
	return out
}

// A Redis that loses everything under a fleet at work: nothing acknowledged is
// lost, what has ended stays ended, and nothing runs twice.
func TestRedisLosesEverythingInUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how  lossy
		args []string
	}{{flushed, nil}, {emptied, withoutDisk}} {
		t.Run(c.how.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, c.args...)
			f.history.Setup.Starts = true
			a, b := f.startNode("a"), f.startNode("b")
			f.startNode("c")
			there := f.furnish(a, b)
			tr := f.traffic(60, f.allCounted, f.nodes...)
			long := f.running(b, 5, "long")
			rest(2 * time.Second)
			f.loses(c.how)
			rest(3 * time.Second)
			f.endsOnce(tr, long, there)
		})
	}
}

// The numbers of the incident are those of the loss.
func TestNumbersOfALoss(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.history.Setup.Starts = true
	a, b := f.startNode("a"), f.startNode("b")
	there := f.furnish(a, b)
	var made []receipt
	for i := range 60 {
		made = append(made, f.must(f.nodes[i%2], f.counted(f.callee.atOnce())))
	}
	long := f.running(b, 4, "long")
	f.settle(append(there.standing(), idsOf(long)...)...)
	stored := int64(len(made) + len(long) + 6) // and the furniture
	f.loses(flushed)
	until(t, patience, "both to notice", func() bool { return len(f.incidents(a)) > 0 && len(f.incidents(b)) > 0 })
	f.settle(append(there.standing(), idsOf(long)...)...)
	if s := f.sums(); s.Replayed != stored || s.Lost+s.Repeated+s.MaybeRepeated+s.SetAside != 0 {
		t.Errorf("Redis has lost %d tasks, and the incidents say %+v", stored, s)
	}
	f.stillThere(there)
	f.callee.open("long")
	f.settle(there.standing()...)
	f.succeededOnce(f.everyStatusAgrees(), append(made, long...))
}

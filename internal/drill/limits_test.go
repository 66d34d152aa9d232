package drill

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// checkTimes is check for CheckTimes.
func checkTimes(t *testing.T, limits Limits, tales []tale) {
	t.Helper()
	for _, tale := range tales {
		t.Run(tale.name, func(t *testing.T) {
			s := newStory(Setup{Starts: true}, "a", "b")
			tale.tell(s)
			s.final.At = max(s.final.At, s.now)
			found := CheckTimes(s.h, s.final, limits)
			want := 0
			if len(tale.want) > 0 {
				want = tale.want[0]
			}
			if len(found) > 1 || (len(found) == 1) != (want != 0) || len(found) == 1 && found[0].Invariant != want {
				t.Errorf("breaks %v, want invariant %d", found, want)
			}
		})
	}
}

// slow records an enqueue that takes so long.
func (s *story) slow(node string, took time.Duration) {
	s.call(enqueue(node, 1), func() { s.wait(took - ms) })
}

func TestEnqueueTimes(t *testing.T) {
	limits := Limits{EnqueueP99: 100 * ms, OpenWithin: sec}
	many := func(n, slow int) func(*story) {
		return func(s *story) {
			for i := range n {
				took := 10 * ms
				if i < slow {
					took = 200 * ms
				}
				s.slow("a", took)
			}
		}
	}
	open := fault(Opened, "a")
	checkTimes(t, limits, []tale{
		{"fast", nil, func(s *story) { s.do(open); many(100, 0)(s) }},
		{"one of a hundred is slow", nil, func(s *story) { s.do(open); many(100, 1)(s) }},
		{"two of a hundred are slow", []int{19}, func(s *story) { s.do(open); many(100, 2)(s) }},
		{"before the circuit opened", nil, func(s *story) { many(100, 9)(s); s.do(open); many(9, 0)(s) }},
		{"after the circuit closed", nil, func(s *story) { s.do(open, fault(Closed, "a")); many(100, 9)(s) }},
		{"the circuit of another node", nil, func(s *story) { s.do(fault(Opened, "b")); many(100, 9)(s) }},
		{"circuits are not on record, and Redis has just gone", nil, func(s *story) { s.do(fault(RedisDown, "")); many(4, 4)(s) }},
		{"circuits are not on record, and Redis is away", []int{19}, func(s *story) { s.do(fault(RedisDown, "")); s.wait(sec); many(4, 4)(s) }},
		{"circuits are not on record, and Redis was away", nil, func(s *story) {
			s.do(fault(RedisDown, ""))
			s.wait(sec)
			s.do(fault(RedisUp, ""))
			many(4, 4)(s)
		}},
		{"circuits are not on record, and the node is cut off", []int{19}, func(s *story) { s.do(fault(Cut, "a")); s.wait(sec); many(4, 4)(s) }},
		{"one never returned", []int{19}, func(s *story) { s.do(open); s.h.Begin(enqueue("a", 1)); s.wait(sec) }},
		{"one never returned because its node crashed", nil, func(s *story) {
			s.do(open)
			s.h.Begin(enqueue("a", 1))
			s.wait(sec)
			s.do(fault(Crash, "a"))
		}},
	})
	checkTimes(t, Limits{EnqueueMax: sec}, []tale{
		{"a second", nil, func(s *story) { s.do(fault(RedisDown, "")); s.slow("a", sec) }},
		{"more than a second", []int{19}, func(s *story) { s.do(fault(RedisDown, "")); s.slow("a", 2*sec) }},
		{"more than a second when Redis goes", []int{19}, func(s *story) {
			s.call(enqueue("a", 1), func() { s.wait(2 * sec); s.do(fault(RedisDown, "")) })
		}},
		{"more than a second long after", nil, func(s *story) {
			s.do(fault(RedisDown, ""), fault(RedisUp, ""))
			s.wait(time.Minute)
			s.slow("a", 2*sec)
		}},
	})
	s := newStory(Setup{})
	s.do(open)
	s.slow("a", 30*ms)
	s.slow("a", 10*ms)
	if got := EnqueueTimes(s.h, limits); len(got) != 2 || got[0] != 10*ms || got[1] != 30*ms {
		t.Errorf("took %v", got)
	}
}

func TestRecoveryTimes(t *testing.T) {
	at := func(d time.Duration, ops ...Op) func(*story) { // d after the operation before
		return func(s *story) { s.wait(d - ms); s.do(ops...) }
	}
	all := func(parts ...func(*story)) func(*story) {
		return func(s *story) {
			for _, p := range parts {
				p(s)
			}
		}
	}
	down, up := at(ms, fault(RedisDown, "")), at(sec, fault(RedisUp, ""))
	open := at(ms, fault(Opened, "a"))
	closed := func(d time.Duration) func(*story) { return at(d, fault(Closed, "a")) }
	checkTimes(t, Limits{CloseWithin: 5 * sec}, []tale{
		{"closed in time", nil, all(down, open, up, closed(4*sec))},
		{"closed late", []int{18}, all(down, open, up, closed(6*sec))},
		{"never closed", []int{18}, all(down, open, up, func(s *story) { s.wait(time.Minute) })},
		{"never closed because its node crashed", nil, all(down, open, up, at(ms, fault(Crash, "a")), func(s *story) { s.wait(time.Minute) })},
		{"open while Redis is away", nil, all(down, open, func(s *story) { s.wait(time.Minute) })},
		{"another fault in between", nil, all(down, open, up, at(4*sec, fault(Cut, "a")), at(time.Minute, fault(Mended, "a")), closed(4*sec))},
		{"the fault of another node in between", []int{18}, all(down, open, up, at(4*sec, fault(Cut, "b")), closed(4*sec))},
		{"open without a fault", []int{18}, all(open, closed(6*sec))},
	})
	drained := func(n int64, after time.Duration) func(*story) {
		return all(open, closed(sec), at(after, Op{Node: "a", Kind: Drained, Count: n}))
	}
	checkTimes(t, Limits{DrainWithin: 5 * sec, DrainRate: 100}, []tale{
		{"drained in time", nil, drained(100, 6*sec)},
		{"drained late", []int{18}, drained(100, 7*sec)},
		{"much drained in time", nil, drained(1000, 15*sec)},
	})
	begun := func(after time.Duration, more ...func(*Op)) func(*story) {
		return all(at(ms, enqueue("a", 1, more...)), down, up, at(after, by("a", Start, 1)))
	}
	end := func(f TaskFinal) func(*story) { return func(s *story) { s.end(1, f); s.wait(time.Minute) } }
	checkTimes(t, Limits{StartWithin: 30 * sec}, []tale{
		{"started in time", nil, begun(30 * sec)},
		{"started late", []int{18}, begun(31 * sec)},
		{"started late because it is due late", nil, begun(31*sec, shows(scheduled, 1))},
		{"never started", []int{18}, all(at(ms, enqueue("a", 1)), down, up, end(TaskFinal{State: queued}))},
		{"never started for a reason", nil, all(at(ms, enqueue("a", 1)), down, up, end(TaskFinal{State: queued, Waits: "paused"}))},
		{"never started because it was canceled", nil, all(at(ms, enqueue("a", 1)), down, up, at(ms, by("a", Cancel, 1)), end(TaskFinal{State: canceled}))},
		{"never started, and its queue is paused", nil, all(at(ms, enqueue("a", 1)), func(s *story) {
			s.final.Nodes[0].Queues["q"] = QueueFinal{Paused: true}
		}, end(TaskFinal{State: queued}))},
		{"never started because it gave way", nil, all(at(ms, enqueue("a", 1)), end(TaskFinal{State: canceled, Code: morningai.ErrorCodeSuperseded}))},
		{"never accepted", nil, all(at(ms, enqueue("a", 1, unknown)), end(TaskFinal{}))},
	})
	if l := DefaultLimits(20*sec, 10); l.StartWithin != 40*sec || l.DrainRate != 10 || DefaultLimits(sec, 1).StartWithin != 30*sec {
		t.Errorf("limits %+v", l)
	}
}

package drill

import (
	"testing"

	"github.com/RC918/morningai"
)

func TestCancelsHold(t *testing.T) {
	pending := func(op *Op) { op.Pending = true }
	cancelAt := func(state morningai.State, more ...func(*Op)) Op {
		return by("a", Cancel, 1, append([]func(*Op){shows(state, 2)}, more...)...)
	}
	ends := func(state morningai.State, ops ...Op) func(*story) {
		return func(s *story) {
			s.do(enqueue("a", 1))
			s.do(ops...)
			s.end(1, TaskFinal{State: state, Life: 1, Version: 5, Payload: 101, Waits: "it is a test"})
		}
	}
	start := by("b", Start, 1)
	check(t, Setup{Starts: true}, []tale{
		{"canceled at once", nil, ends(canceled, cancelAt(canceled))},
		{"canceled when the handler returned", nil, ends(canceled, start, cancelAt(running))},
		{"it succeeded all the same", []int{16}, ends(done, start, cancelAt(running))},
		{"it waits all the same", []int{16}, ends(scheduled, start, cancelAt(running))},
		{"the answer says that it had ended", nil, ends(failed, start, cancelAt(failed))},
		{"nobody knows whether it was canceled", nil, ends(done, start, by("a", Cancel, 1, unknown))},
		{"refused", nil, ends(done, start, by("a", Cancel, 1, fails(morningai.CodeWrongState)))},
		{"on its way, and the outcome came first", nil, ends(done, start, cancelAt(running, pending))},
		{"on its way, and it waits", []int{16}, ends(scheduled, start, cancelAt(queued, pending))},
		{"on its way, and it never ran", []int{16}, ends(done, cancelAt(queued, pending))},
		{"the cancel was lost with Redis's data, and the outcome came first", nil, ends(done, start, cancelAt(running), fault(RedisLost, ""))},
		{"the cancel was lost with Redis's data for ever", []int{16}, ends(scheduled, start, cancelAt(running), fault(RedisLost, ""))},
		{"in another life", nil, func(s *story) {
			ends(done, start, cancelAt(canceled), by("a", Retry, 1, life(2), shows(queued, 3)))(s)
			s.end(1, TaskFinal{State: done, Life: 2, Version: 7, Payload: 101})
		}},
	})
}

func TestOtherCommandsHold(t *testing.T) {
	check(t, Setup{}, []tale{
		{"a removal", nil, func(s *story) { s.do(enqueue("a", 1), by("a", Delete, 1)) }},
		{"a removal that was undone", []int{16}, func(s *story) { s.plain(1); s.do(by("a", Delete, 1)) }},
		{"a removal of which nothing is known", nil, func(s *story) { s.plain(1); s.do(by("a", Delete, 1, unknown)) }},
		{"a removal on its way", nil, func(s *story) { s.plain(1); s.do(by("a", Delete, 1, func(op *Op) { op.Pending = true })) }},
		{"accepted again after its removal", nil, func(s *story) {
			s.do(enqueue("a", 1), by("a", Delete, 1), enqueue("a", 1))
			s.end(1, succeeded(1))
		}},
		{"a retry", nil, func(s *story) {
			s.do(enqueue("a", 1), by("a", Retry, 1, life(2)))
			s.end(1, TaskFinal{State: done, Life: 2, Payload: 101})
		}},
		{"a retry that was undone", []int{16}, func(s *story) {
			s.do(enqueue("a", 1), by("a", Retry, 1, life(2)))
			s.end(1, TaskFinal{State: failed, Life: 1, Payload: 101})
		}},
	})
}

func TestSettingsHold(t *testing.T) {
	pause, resume := Op{Node: "a", Kind: Pause, Queue: "q"}, Op{Node: "a", Kind: Resume, Queue: "q"}
	rate := func(v string) Op { return Op{Node: "a", Kind: Set, Queue: "q", Key: "rate", Value: v} }
	ends := func(q QueueFinal, ops ...Op) func(*story) {
		return func(s *story) {
			s.do(ops...)
			for i := range s.final.Nodes {
				s.final.Nodes[i].Queues["q"] = q
			}
		}
	}
	isPaused, at10 := QueueFinal{Paused: true}, QueueFinal{Settings: map[string]string{"rate": "10/s"}}
	doubt := func(op Op) Op { op.Outcome = Unknown; return op }
	refused := func(op Op) Op { op.Outcome = Fail; return op }
	pending := func(op Op) Op { op.Pending = true; return op }
	elsewhere := func(op Op) Op { op.Node = "b"; return op }
	check(t, Setup{}, []tale{
		{"paused", nil, ends(isPaused, pause)},
		{"not paused at the end", []int{16}, ends(QueueFinal{}, pause)},
		{"resumed", nil, ends(QueueFinal{}, pause, resume)},
		{"paused although resumed", []int{16}, ends(isPaused, pause, resume)},
		{"resumed and paused", []int{16}, ends(QueueFinal{}, resume, pause)},
		{"perhaps resumed", nil, ends(QueueFinal{}, pause, doubt(resume))},
		{"perhaps resumed, but not", nil, ends(isPaused, pause, doubt(resume))},
		{"perhaps paused", nil, ends(isPaused, doubt(pause))},
		{"a refused resumption", []int{16}, ends(QueueFinal{}, pause, refused(resume))},
		{"resumed before", []int{16}, ends(QueueFinal{}, resume, pause)},
		{"resumed before on this node when it was cut off", []int{16}, ends(QueueFinal{}, pending(resume), pause)},
		{"resumed at the same time on a node that was cut off", nil, ends(QueueFinal{}, elsewhere(pending(resume)), pause)},
		{"resumed long before on a node that was cut off", []int{16}, func(s *story) {
			s.do(elsewhere(pending(resume)))
			s.wait(2 * clockSkew)
			ends(QueueFinal{}, pause)(s)
		}},
		{"paused by a node that was cut off long before others resumed", []int{16}, func(s *story) {
			s.do(elsewhere(pending(pause)))
			s.wait(2 * clockSkew)
			ends(isPaused, resume)(s)
		}},
		{"paused before on a node that was cut off", []int{16}, ends(QueueFinal{}, pending(pause))},
		{"perhaps resumed before, which may take effect later", nil, ends(QueueFinal{}, doubt(resume), pause)},
		{"resumed at the same time", nil, func(s *story) { s.call(resume, func() { ends(isPaused, pause)(s) }) }},
		{"paused twice", nil, ends(isPaused, pause, pause)},
		{"a limit", nil, ends(at10, rate("10/s"))},
		{"a limit that is gone", []int{16}, ends(QueueFinal{}, rate("10/s"))},
		{"a limit that was changed", nil, ends(at10, rate("5/s"), rate("10/s"))},
		{"a limit that was not changed", []int{16}, ends(at10, rate("10/s"), rate("5/s"))},
		{"a limit that was taken away", []int{16}, ends(at10, rate("10/s"), rate(""))},
		{"the limit of another queue", nil, ends(at10, rate("10/s"), Op{Node: "a", Kind: Set, Queue: "p", Key: "rate"})},
	})
	given := func(node string, before ...Op) func(*story) {
		return func(s *story) {
			s.do(enqueue("a", 1))
			s.do(before...)
			s.do(run(node, 1, 1, outcomeOK)...)
			s.end(1, succeeded(1))
			if before[len(before)-1].Kind != Resume {
				for i := range s.final.Nodes {
					s.final.Nodes[i].Queues["q"] = isPaused
				}
			}
		}
	}
	onItsWay := pause
	onItsWay.Pending = true
	check(t, Setup{}, []tale{
		{"handed out from a paused queue", []int{16}, given("a", pause)},
		{"handed out to another node from a paused queue", []int{16}, given("b", pause)},
		{"handed out after it was resumed", nil, given("a", pause, resume)},
		{"handed out to a node that cannot know", nil, given("b", fault(Cut, "b"), pause)},
		{"handed out after a resumption that was in doubt before", nil, func(s *story) {
			s.do(enqueue("a", 1), doubt(resume), pause)
			s.do(run("a", 1, 1, outcomeOK)...)
			s.end(1, succeeded(1))
		}},
		{"handed out on the node that paused, which is cut off", []int{16}, given("a", fault(Cut, "a"), onItsWay)},
		{"handed out elsewhere while the pause is on its way", nil, given("b", fault(Cut, "a"), onItsWay)},
		{"handed out to another node after Redis lost the pause", nil, given("b", pause, fault(RedisLost, ""))},
		{"handed out before", nil, func(s *story) { s.plain(1); ends(isPaused, pause)(s) }},
	})
}

func TestLanesHaveNoGaps(t *testing.T) {
	lane := func(key string, n int64) Op { return Op{Kind: Lane, Key: key, Count: n} }
	tell := func(ops ...Op) func(*story) { return func(s *story) { s.do(ops...) } }
	aside := func(at int, reported bool) func(*story) {
		return func(s *story) {
			s.plain(1)
			s.plain(2)
			s.do(by("a", SetAside, 1))
			for i := range 2 {
				delete(s.final.Nodes[i].Tasks, tid(1))
			}
			if reported {
				s.final.Nodes[at].SetAside = []morningai.ID{tid(1)}
			}
		}
	}
	check(t, Setup{}, []tale{
		{"one after another", nil, tell(lane("x", 1), lane("y", 1), lane("x", 2), lane("y", 2), lane("x", 3))},
		{"one applied again", nil, tell(lane("x", 1), lane("x", 1), lane("x", 2))},
		{"a gap", []int{11}, tell(lane("x", 1), lane("x", 3))},
		{"a gap at the beginning", []int{11}, tell(lane("x", 2))},
		{"an old one again", []int{11}, tell(lane("x", 1), lane("x", 2), lane("x", 1))},
		{"an old one again after a loss", nil, tell(lane("x", 1), lane("x", 2), fault(RedisLost, ""), lane("x", 1), lane("x", 2))},
		{"a gap after a loss", []int{11}, tell(lane("x", 1), fault(RedisLost, ""), lane("x", 3))},
		{"one that was refused", nil, tell(lane("x", 1), Op{Kind: Lane, Key: "x", Count: 7, Outcome: Fail}, lane("x", 2))},
		{"set aside and reported", nil, aside(0, true)},
		{"set aside in silence", []int{2, 11}, aside(0, false)},
		{"set aside and reported by another", []int{11}, aside(1, true)},
		{"set aside, and it came through", nil, func(s *story) { s.plain(1); s.do(by("a", SetAside, 1)) }},
	})
}

func TestTheEnd(t *testing.T) {
	change := func(f func(*TaskFinal)) func(*story) {
		return func(s *story) { s.plain(1); s.alter(1, 1, f) }
	}
	both := func(f TaskFinal) func(*story) {
		return func(s *story) { s.do(enqueue("a", 1)); f.Life = 1; s.end(1, f) }
	}
	check(t, Setup{}, []tale{
		{"all say the same", nil, func(s *story) { s.plain(1) }},
		{"one has another result", []int{13}, change(func(f *TaskFinal) { f.Result = 2 })},
		{"one has another error", []int{13}, change(func(f *TaskFinal) { f.Code = "timeout" })},
		{"one has a mark", []int{13}, change(func(f *TaskFinal) { f.MaybeRepeated = true })},
		{"one has another life", []int{13}, change(func(f *TaskFinal) { f.Life = 2 })},
		{"one has another state", []int{1, 13}, change(func(f *TaskFinal) { f.State = failed })},
		{"one does not know it", []int{13}, func(s *story) { s.plain(1); delete(s.final.Nodes[1].Tasks, tid(1)) }},
		{"the first does not know it", []int{13}, func(s *story) { s.plain(1); delete(s.final.Nodes[0].Tasks, tid(1)) }},
		{"one does not know it, which was set aside", nil, func(s *story) {
			s.plain(1)
			delete(s.final.Nodes[1].Tasks, tid(1))
			s.final.Nodes[0].SetAside = []morningai.ID{tid(1)}
		}},
		{"a queue is paused for one", []int{13}, func(s *story) { s.final.Nodes[1].Queues["q"] = QueueFinal{Paused: true} }},
		{"a limit is there for one", []int{13}, func(s *story) {
			s.final.Nodes[0].Queues["q"] = QueueFinal{Settings: map[string]string{"rate": "1/s"}}
		}},
		{"running for ever", []int{18}, both(TaskFinal{State: running})},
		{"forgotten in the queue", []int{18}, both(TaskFinal{State: queued})},
		{"in a paused queue", nil, func(s *story) {
			both(TaskFinal{State: queued})(s)
			for i := range 2 {
				s.final.Nodes[i].Queues["q"] = QueueFinal{Paused: true}
			}
		}},
		{"in the queue for a reason", nil, both(TaskFinal{State: queued, Waits: "nobody handles its type"})},
		{"due later", nil, both(TaskFinal{State: scheduled})},
		{"a command on its way for ever", []int{18}, both(TaskFinal{State: done, Pending: true})},
		{"no state", []int{18}, both(TaskFinal{})},
	})
}

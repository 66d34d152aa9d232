package drill

import (
	"testing"

	"github.com/RC918/morningai"
)

func TestIdentity(t *testing.T) {
	check(t, Setup{}, []tale{
		{"removed, and accepted with another payload by a node that is cut off", nil, func(s *story) {
			s.do(enqueue("a", 1), by("a", Delete, 1), fault(Cut, "a"), enqueue("a", 1, payload(7), func(op *Op) { op.Durable = "journal" }))
		}},
		{"removed, and accepted with another payload", []int{5}, func(s *story) {
			s.do(enqueue("a", 1), by("a", Delete, 1), enqueue("a", 1, payload(7)))
		}},
		{"ended, and accepted with another payload by a node on its own that was started anew", nil, func(s *story) {
			s.plain(1)
			s.do(fault(Crash, "a"), fault(Cut, "a"), enqueue("a", 1, payload(7), client("d"), durable("journal")))
		}},
		{"ended, and accepted with another payload by a node on its own that had not been away", []int{5}, func(s *story) {
			s.plain(1)
			s.do(fault(Cut, "a"), enqueue("a", 1, payload(7), client("d"), durable("journal")))
		}},
		{"waiting, and accepted with another payload by a node on its own whose journal had it", []int{5}, func(s *story) {
			s.do(enqueue("a", 1), fault(Crash, "a"), fault(Cut, "a"), enqueue("a", 1, payload(7), client("d"), durable("journal")))
			s.end(1, succeeded(1))
		}},
		{"a ghost is shown", []int{4}, func(s *story) { s.do(read("a", 1, morningai.StateQueued, 1)) }},
		{"a ghost runs", []int{4}, func(s *story) { s.do(by("a", Start, 1)) }},
		{"a ghost is there at the end", []int{4}, func(s *story) { s.end(1, succeeded(1)) }},
		{"a ghost holds a key", []int{4}, func(s *story) {
			s.do(enqueue("a", 2, key("k"), func(op *Op) { op.Holder = tid(1) }))
			s.end(1, succeeded(1))
		}},
		{"a ghost whose enqueue never returned", nil, func(s *story) {
			s.h.Begin(enqueue("a", 1))
			s.do(read("a", 1, morningai.StateQueued, 1))
		}},
		{"its enqueue had no id, and no answer", nil, func(s *story) {
			s.do(enqueue("a", 0, payload(101), unknown), read("a", 1, morningai.StateQueued, 1))
		}},
		{"such an enqueue had another payload", []int{4}, func(s *story) {
			s.do(enqueue("a", 0, payload(7), unknown), read("a", 1, morningai.StateQueued, 1))
		}},
		{"such an enqueue may be the task that runs", nil, func(s *story) { s.do(enqueue("a", 0, payload(7), unknown), by("a", Start, 1)) }},
		{"it is shown before anybody asked", []int{4}, func(s *story) { s.do(read("a", 1, morningai.StateQueued, 1)); s.plain(1) }},
		{"it is shown while somebody asks", nil, func(s *story) {
			s.call(enqueue("a", 1), func() { s.do(read("b", 1, morningai.StateQueued, 1)) })
			s.end(1, succeeded(1))
		}},
		{"another payload is shown", []int{4}, func(s *story) { s.plain(1); s.do(read("b", 1, morningai.StateSucceeded, 3, payload(7))) }},
		{"another payload runs", []int{4}, func(s *story) { s.do(enqueue("a", 1), by("a", Start, 1, payload(7))); s.end(1, succeeded(1)) }},
		{"another payload is there at the end", []int{4}, func(s *story) {
			s.do(enqueue("a", 1))
			f := succeeded(1)
			f.Payload = 7
			s.end(1, f)
		}},
	})
	twice := func(node string, d Digest, f func(*Op)) func(*story) {
		return func(s *story) { s.plain(1); s.do(enqueue(node, 1, payload(d), shows(morningai.StateSucceeded, 3), f)) }
	}
	same := func(*Op) {}
	check(t, Setup{}, []tale{
		{"the same request again", nil, twice("a", 101, same)},
		{"another request is a conflict", nil, twice("a", 7, fails(morningai.CodeConflict))},
		{"another request is accepted", []int{5}, twice("a", 7, same)},
		{"the same request is a conflict", []int{5}, twice("b", 101, fails(morningai.CodeConflict))},
		{"a conflict with nothing", []int{5}, func(s *story) { s.do(enqueue("a", 1, fails(morningai.CodeIdempotencyConflict))) }},
		{"a conflict after a removal", nil, func(s *story) {
			s.do(enqueue("a", 1), by("a", Delete, 1), enqueue("a", 1, fails(morningai.CodeConflict)))
		}},
		{"another request is accepted on two nodes that cannot know", nil, func(s *story) {
			s.do(enqueue("a", 1), fault(Cut, "b"), enqueue("b", 1, payload(7)))
			s.end(1, succeeded(1))
		}},
		{"another payload is accepted than the one that is shown", []int{5}, func(s *story) {
			s.do(enqueue("a", 1, unknown), enqueue("a", 1, payload(7)), read("a", 1, morningai.StateQueued, 1))
			s.end(1, TaskFinal{State: done, Life: 1, Version: 3})
		}},
		{"another payload is accepted than the one at the end", []int{5}, func(s *story) {
			s.do(enqueue("a", 1, unknown), enqueue("a", 1, payload(7)))
			s.end(1, succeeded(1))
		}},
		{"two payloads are shown", []int{5}, func(s *story) {
			s.do(enqueue("a", 1, unknown), enqueue("a", 1, payload(7), unknown))
			s.do(read("a", 1, morningai.StateQueued, 1), read("b", 1, morningai.StateQueued, 1, payload(7)))
		}},
	})
}

func TestUniqueKeys(t *testing.T) {
	waiting := TaskFinal{State: morningai.StateScheduled, Life: 1, Version: 1}
	superseded := TaskFinal{State: morningai.StateCanceled, Life: 1, Version: 2, Code: morningai.ErrorCodeSuperseded}
	local := func(op *Op) { op.Fresh = morningai.FreshLocal }
	two := func(before ...Op) func(*story) { // both accepted, the first still there afterwards
		return func(s *story) {
			s.do(before...)
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k")), read("a", 1, morningai.StateQueued, 1))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}
	}
	check(t, Setup{}, []tale{
		{"two holders", []int{14}, two()},
		{"two holders in an outage, and none gives way", []int{14}, two(fault(Cut, "b"))},
		{"two holders in an outage, and one gives way", nil, func(s *story) { two(fault(Cut, "b"))(s); s.end(2, superseded) }},
		{"one that a journal alone had accepted has ended before the outage has", nil, func(s *story) {
			s.do(fault(Cut, "b"), enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), func(op *Op) { op.Durable = "journal" }), by("b", Grant, 2, claim(1)), fault(Mended, "b"))
			s.wait(6 * sec)
			s.do(read("a", 1, morningai.StateQueued, 1))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"one that a journal alone had accepted has begun to run in the outage", nil, func(s *story) {
			s.do(fault(Cut, "b"), enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), func(op *Op) { op.Durable = "journal" }), by("b", Grant, 2, claim(1)), fault(Mended, "b"))
			s.wait(sec)
			s.do(by("b", Grant, 2, claim(2)), read("a", 1, morningai.StateQueued, 1))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"one that a journal alone had accepted gives way, and nothing was seen to be wrong", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), func(op *Op) { op.Durable = "journal" }), read("a", 1, morningai.StateQueued, 1))
			s.end(1, succeeded(1))
			s.end(2, superseded)
		}},
		{"both are there after the outage", []int{14}, func(s *story) {
			s.do(fault(Cut, "b"), enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), func(op *Op) { op.Durable = "journal" }), fault(Mended, "b"))
			s.wait(sec)
			s.do(by("b", Grant, 2, claim(1)), read("a", 1, morningai.StateQueued, 1))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"one gives way by its mark", nil, func(s *story) {
			two(fault(Cut, "b"))(s)
			for i := range 2 {
				s.alter(i, 2, func(f *TaskFinal) { f.Superseded = true })
			}
		}},
		{"one gives way without an outage", []int{14}, func(s *story) { two()(s); s.end(2, superseded) }},
		{"the second was told of the first", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), func(op *Op) { op.Holder = tid(1) }), read("a", 1, morningai.StateQueued, 1))
			s.end(1, succeeded(1))
		}},
		{"the first had ended", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), read("a", 1, morningai.StateCanceled, 2), enqueue("b", 2, key("k")))
			s.end(1, TaskFinal{State: morningai.StateCanceled, Life: 1, Version: 2})
			s.end(2, succeeded(2))
		}},
		{"nobody saw the first after the second", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k")))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"the first was removed, and is removed again, which shows it as it was", nil, func(s *story) {
			gone := by("a", Delete, 1, shows(queued, 2))
			s.do(enqueue("a", 1, key("k")), gone, enqueue("b", 2, key("k")), gone)
			s.end(2, succeeded(2))
		}},
		{"an old picture of the first", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k")), read("c", 1, morningai.StateQueued, 1, func(op *Op) { op.Fresh = morningai.FreshStale }))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"what a journal still has of the first, of which Redis knew more", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), by("a", Applied, 1), enqueue("b", 2, key("k")), read("a", 1, queued, 1, local))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"what a journal alone has of the first", []int{14}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k")), read("a", 1, queued, 1, local))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"the second reaches Redis when the first is gone", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), durable("journal")), read("a", 1, queued, 1), by("b", Applied, 2))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"the second reaches Redis while the first is there", []int{14}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), durable("journal")), by("b", Applied, 2), read("a", 1, queued, 1))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"the first holds it in its second life", []int{14}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), by("a", Cancel, 1, shows(canceled, 2)), by("a", Retry, 1, life(2), shows(queued, 3)))
			s.do(enqueue("b", 2, key("k")), read("a", 1, queued, 3, life(2)))
			s.end(1, TaskFinal{State: done, Life: 2, Version: 5})
			s.end(2, succeeded(2))
		}},
		{"the first was handed out afterwards", []int{14}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k")), by("a", Grant, 1, claim(1)))
			s.end(1, succeeded(1))
			s.end(2, succeeded(2))
		}},
		{"two holders after a loss, and one gives way", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), fault(RedisLost, ""), enqueue("b", 2, key("k")), read("a", 1, queued, 1))
			s.end(1, succeeded(1))
			s.end(2, superseded)
		}},
		{"other keys", nil, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("l")), read("a", 1, morningai.StateQueued, 1))
			s.end(1, waiting)
			s.end(2, waiting)
		}},
		{"two that live at the end", []int{14}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k")))
			s.end(1, waiting)
			s.end(2, waiting)
		}},
		{"a long one and short ones", []int{14}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("a", 2, key("k"), func(op *Op) { op.Holder = tid(1) }))
			s.do(enqueue("b", 3, key("k")), read("b", 3, morningai.StateQueued, 1), enqueue("b", 4, key("k"), func(op *Op) { op.Holder = tid(3) }))
			s.do(read("a", 1, morningai.StateRunning, 2))
			for _, n := range []int{1, 3} {
				s.end(n, succeeded(n))
			}
		}},
	})
}

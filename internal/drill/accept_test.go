package drill

import (
	"testing"

	"github.com/RC918/morningai"
)

func TestAcceptance(t *testing.T) {
	gone := func(more ...func(*Op)) func(*story) {
		return func(s *story) { s.do(enqueue("a", 1, more...)) }
	}
	check(t, Setup{}, []tale{
		{"what was acknowledged is there", nil, func(s *story) { s.plain(1) }},
		{"it is on no node", []int{2}, gone()},
		{"it was deleted", nil, func(s *story) { gone()(s); s.do(by("b", Delete, 1)) }},
		{"its removal was refused", []int{2}, func(s *story) { gone()(s); s.do(by("b", Delete, 1, fails(morningai.CodeWrongState))) }},
		{"it was not to be kept", nil, gone(func(op *Op) { op.Span = -1 })},
		{"its time is over", nil, func(s *story) { gone(func(op *Op) { op.Span = sec })(s); s.wait(sec) }},
		{"its time is not over", []int{2}, func(s *story) { gone(func(op *Op) { op.Span = sec })(s); s.wait(sec / 2) }},
		{"nobody knows whether it was accepted", nil, gone(unknown)},
		{"it was refused", nil, gone(fails(morningai.CodeInvalidInput))},
		{"it was only in Redis, which has lost it", nil, func(s *story) { gone(durable("redis"))(s); s.do(fault(RedisLost, "")) }},
		{"Redis had lost data before", []int{2}, func(s *story) { s.do(fault(RedisLost, "")); gone(durable("redis"))(s) }},
		{"the journal had it too", []int{2}, func(s *story) { gone()(s); s.do(fault(RedisLost, "")) }},
		{"it was only in a journal that is gone", nil, func(s *story) { gone(durable("journal"))(s); s.do(fault(DiskLost, "a")) }},
		{"another journal is gone", []int{2}, func(s *story) { gone(durable("journal"))(s); s.do(fault(DiskLost, "b")) }},
		{"a journal is lost, Redis is not", []int{2}, func(s *story) { gone()(s); s.do(fault(DiskLost, "a")) }},
		{"journal and Redis are lost", nil, func(s *story) { gone()(s); s.do(fault(DiskLost, "a"), fault(RedisLost, "")) }},
		{"its node was given up", nil, func(s *story) {
			gone(durable("journal"))(s)
			s.do(Op{Node: "b", Kind: Forget, Value: "a"})
		}},
		{"another node was given up", []int{2}, func(s *story) {
			gone(durable("journal"))(s)
			s.do(Op{Node: "a", Kind: Forget, Value: "b"})
		}},
		{"a crash is no excuse", []int{2}, func(s *story) { gone(durable("journal"))(s); s.do(fault(Crash, "a"), fault(Restart, "a")) }},
		{"it was set aside", nil, func(s *story) { gone()(s); s.final.Nodes[0].SetAside = []morningai.ID{tid(1)} }},
		{"a node says that something is lost", []int{2}, func(s *story) { s.plain(1); s.final.Nodes[1].Lost = 1 }},
		{"a node says so after its disk was lost", nil, func(s *story) { s.plain(1); s.do(fault(DiskLost, "a")); s.final.Nodes[1].Lost = 1 }},
		{"the holder of a key is lost", []int{2}, func(s *story) {
			s.do(enqueue("a", 1, key("k")), enqueue("b", 2, key("k"), func(op *Op) { op.Holder = tid(1) }))
		}},
	})
	check(t, Setup{Starts: true}, []tale{
		{"it cannot have ended, so it is kept", []int{2}, gone(func(op *Op) { op.Span = -1 })},
		{"it ran and was not to be kept", nil, func(s *story) {
			gone(func(op *Op) { op.Span = -1 })(s)
			s.do(run("a", 1, 1, morningai.OutcomeSucceeded)...)
		}},
	})
}

func TestReceiptsNameWhatHolds(t *testing.T) {
	in := func(kinds ...Op) func(*story) {
		return func(s *story) {
			s.do(kinds...)
			s.end(1, succeeded(1))
		}
	}
	synced, applied := by("a", Synced, 1), by("", Applied, 1)
	check(t, Setup{Durable: true}, []tale{
		{"both before the receipt", nil, in(synced, applied, enqueue("a", 1))},
		{"within the call", nil, func(s *story) {
			s.call(enqueue("a", 1), func() { s.do(applied, synced) })
			s.end(1, succeeded(1))
		}},
		{"the receipt came before the disk", []int{3}, in(applied, enqueue("a", 1), synced)},
		{"the receipt came before Redis", []int{3}, in(synced, enqueue("a", 1), applied)},
		{"the journal of another node", []int{3}, in(by("b", Synced, 1), applied, enqueue("a", 1))},
		{"the journal alone is named", nil, in(synced, enqueue("a", 1, durable("journal")))},
		{"Redis alone is named", nil, in(applied, enqueue("a", 1, durable("redis")))},
		{"a disk that was lost meanwhile", []int{3}, in(synced, fault(DiskLost, "a"), enqueue("a", 1, durable("journal")))},
		{"a Redis that has lost it meanwhile", []int{3}, in(applied, fault(RedisLost, ""), enqueue("a", 1, durable("redis")))},
		{"a write of which nothing is known", []int{3}, in(by("a", Synced, 1, unknown), enqueue("a", 1, durable("journal")))},
		{"nothing is named", []int{3}, in(synced, applied, enqueue("a", 1, durable("")))},
		{"a place that is none", []int{3}, in(synced, applied, enqueue("a", 1, durable("memory")))},
	})
	check(t, Setup{}, []tale{
		{"without witnesses nothing is concluded", nil, in(enqueue("a", 1, durable("")))},
		{"a place that is none", []int{3}, in(enqueue("a", 1, durable("journal+memory")))},
	})
}

func TestRefusals(t *testing.T) {
	no := func(code morningai.Code) Op { return enqueue("a", 1, fails(code)) }
	check(t, Setup{NoJournal: []string{"b"}}, []tale{
		{"a wrong request", nil, func(s *story) { s.do(no(morningai.CodeInvalidInput)) }},
		{"full without a reason", []int{19}, func(s *story) { s.do(no(morningai.CodeStorageFull)) }},
		{"full because Redis is away", []int{19}, func(s *story) { s.do(fault(RedisDown, ""), no(morningai.CodeStorageFull)) }},
		{"full", nil, func(s *story) { s.do(fault(DiskFull, "a"), no(morningai.CodeStorageFull)) }},
		{"another disk is full", []int{19}, func(s *story) { s.do(fault(DiskFull, "b"), no(morningai.CodeStorageFull)) }},
		{"full a second ago", nil, func(s *story) {
			s.do(fault(DiskFull, "a"), fault(DiskSpace, "a"))
			s.wait(sec)
			s.do(no(morningai.CodeStorageFull))
		}},
		{"full a minute ago", []int{19}, func(s *story) {
			s.do(fault(DiskFull, "a"), fault(DiskSpace, "a"))
			s.wait(60 * sec)
			s.do(no(morningai.CodeStorageFull))
		}},
		{"full now, during the call", nil, func(s *story) { s.call(no(morningai.CodeStorageFull), func() { s.do(fault(DiskFull, "a")) }) }},
		{"a disk that fails", nil, func(s *story) { s.do(fault(DiskFailed, "a"), no(morningai.CodeStorageFailed)) }},
		{"a disk that does not fail", []int{19}, func(s *story) { s.do(fault(DiskFull, "a"), no(morningai.CodeStorageFailed)) }},
		{"Redis is away and there is a journal", []int{19}, func(s *story) { s.do(fault(RedisDown, ""), enqueue("a", 1, unknownCode(morningai.CodeUnavailable))) }},
		{"Redis is away and there is no journal", nil, func(s *story) { s.do(fault(RedisDown, ""), enqueue("b", 1, unknownCode(morningai.CodeUnavailable))) }},
		{"Redis is there and there is no journal", []int{19}, func(s *story) { s.do(enqueue("b", 1, unknownCode(morningai.CodeUnavailable))) }},
		{"both in doubt", nil, func(s *story) {
			s.do(fault(DiskFailed, "a"), fault(Cut, "a"), enqueue("a", 1, unknownCode(morningai.CodeAcceptUnknown)))
		}},
		{"only Redis in doubt", []int{19}, func(s *story) { s.do(fault(Cut, "a"), enqueue("a", 1, unknownCode(morningai.CodeAcceptUnknown))) }},
		{"a status that nobody asked for", []int{19}, func(s *story) { s.do(fault(Cut, "a"), enqueue("a", 1, unknownCode(morningai.CodeStatusUnknown))) }},
		{"a refused task is shown", []int{17}, func(s *story) { s.do(no(morningai.CodeInvalidInput), read("a", 1, morningai.StateQueued, 1)) }},
		{"a refused task runs", []int{17}, func(s *story) { s.do(no(morningai.CodeInvalidInput), by("b", Start, 1)) }},
		{"a refused task is there at the end", []int{17}, func(s *story) { s.do(no(morningai.CodeInvalidInput)); s.end(1, succeeded(1)) }},
		{"a refused task without an id runs", []int{17}, func(s *story) {
			s.do(enqueue("a", 0, payload(9), fails(morningai.CodeInvalidInput)), by("b", Start, 1, payload(9)))
		}},
		{"a refused task is shown, then accepted", []int{17}, func(s *story) {
			s.do(no(morningai.CodeInvalidInput), read("a", 1, morningai.StateQueued, 1))
			s.plain(1)
		}},
		{"refused, then accepted", nil, func(s *story) { s.do(no(morningai.CodeInvalidInput)); s.plain(1) }},
		{"in doubt, and it runs", nil, func(s *story) { s.do(enqueue("a", 1, unknown), by("b", Start, 1)) }},
	})
}

// unknownCode is a refusal that may have had an effect.
func unknownCode(code morningai.Code) func(*Op) {
	return func(op *Op) { unknown(op); op.Code = code }
}

func TestNotFound(t *testing.T) {
	missing := func(node string) Op { return by(node, Read, 1, fails(morningai.CodeNotFound)) }
	check(t, Setup{}, []tale{
		{"on the node that accepted it", []int{10}, func(s *story) { s.plain(1); s.do(missing("a")) }},
		{"on another node", []int{10}, func(s *story) { s.plain(1); s.do(missing("b")) }},
		{"by a command", []int{10}, func(s *story) { s.plain(1); s.do(by("b", Cancel, 1, fails(morningai.CodeNotFound))) }},
		{"it cannot be known", nil, func(s *story) { s.plain(1); s.do(by("b", Read, 1, unknownCode(morningai.CodeStatusUnknown))) }},
		{"before it was accepted", nil, func(s *story) { s.do(missing("a")); s.plain(1) }},
		{"while it was being accepted", nil, func(s *story) {
			s.call(enqueue("a", 1), func() { s.do(missing("a")) })
			s.end(1, succeeded(1))
		}},
		{"it may not have been accepted", nil, func(s *story) { s.do(enqueue("a", 1, unknown), missing("a")) }},
		{"after a removal", nil, func(s *story) { s.do(enqueue("a", 1), by("a", Delete, 1), missing("a")) }},
		{"before a removal", []int{10}, func(s *story) { s.do(enqueue("a", 1), missing("a"), by("a", Delete, 1)) }},
		{"after its time", nil, func(s *story) {
			s.do(enqueue("a", 1, func(op *Op) { op.Span = sec }))
			s.wait(2 * sec)
			s.do(missing("a"))
		}},
		{"before its time", []int{10}, func(s *story) {
			s.do(enqueue("a", 1, func(op *Op) { op.Span = sec }), missing("a"))
			s.wait(2 * sec)
		}},
		{"an empty list", []int{10}, func(s *story) { s.plain(1); s.do(Op{Node: "b", Kind: List}) }},
		{"an empty list of its queue", []int{10}, func(s *story) { s.plain(1); s.do(Op{Node: "b", Kind: List, Queue: "q", Fresh: morningai.FreshLive}) }},
		{"an empty list of another queue", nil, func(s *story) { s.plain(1); s.do(Op{Node: "b", Kind: List, Queue: "other"}) }},
		{"an empty list that calls itself stale", nil, func(s *story) { s.plain(1); s.do(Op{Node: "b", Kind: List, Fresh: morningai.FreshStale}) }},
		{"an empty list before", nil, func(s *story) { s.do(Op{Node: "b", Kind: List}); s.plain(1) }},
		{"a list with something in it", nil, func(s *story) { s.plain(1); s.do(Op{Node: "b", Kind: List, Count: 1}) }},
	})
}

package drill

import (
	"testing"

	"github.com/RC918/morningai"
)

const (
	blocked   = morningai.StateBlocked
	scheduled = morningai.StateScheduled
	queued    = morningai.StateQueued
	running   = morningai.StateRunning
	done      = morningai.StateSucceeded
	failed    = morningai.StateFailed
	canceled  = morningai.StateCanceled
)

// seen is a task of which these states were seen, by one reader on a unless
// they say otherwise; the last is its final one.
func seen(list ...Op) func(*story) {
	return func(s *story) {
		s.do(enqueue("a", 1, client("producer"), shows("", 0)))
		s.do(list...)
		last := list[len(list)-1]
		s.end(1, TaskFinal{State: last.State, Life: last.Life, Version: last.Version, Payload: 101, Waits: "it is a test"})
	}
}

func r(state morningai.State, version int64, more ...func(*Op)) Op {
	return read("a", 1, state, version, more...)
}

func TestStatesFollowTheGraph(t *testing.T) {
	other := client("d")
	retry := by("a", Retry, 1, life(2), shows(queued, 6))
	check(t, Setup{}, []tale{
		{"the whole way", nil, seen(r(blocked, 1), r(queued, 2), r(running, 3), r(scheduled, 4), r(queued, 5), r(running, 6), r(done, 7))},
		{"a failure and another life", nil, seen(r(running, 4), r(failed, 5), retry, r(running, 7, life(2)), r(done, 8, life(2)))},
		{"due and claimed at once", nil, seen(r(scheduled, 1), r(running, 2), r(canceled, 3))},
		{"back in the queue", nil, seen(r(running, 2), r(queued, 3), r(running, 4), r(done, 5))},
		{"succeeded without running", []int{1}, seen(r(queued, 1), r(done, 2))},
		{"queued and then scheduled", []int{1}, seen(r(queued, 1), r(scheduled, 2))},
		{"much happened in between", nil, seen(r(queued, 1), r(scheduled, 3))},
		{"queued and then blocked", []int{1}, seen(r(queued, 1), r(blocked, 4))},
		{"two ends for two readers", []int{1}, seen(r(done, 3), r(failed, 3, other))},
		{"two ends on two nodes", []int{1}, seen(r(done, 3), read("b", 1, canceled, 4))},
		{"two ends in two lives", nil, seen(r(failed, 5), retry, r(done, 8, life(2)))},
		{"two ends in lives that are not known", nil, seen(r(failed, 5, life(0)), retry, r(done, 8, life(0)))},
		{"without a retry there is one life", []int{1}, seen(r(failed, 5, life(0)), read("b", 1, done, 8, life(0)))},
		{"another end at the end", []int{1}, func(s *story) {
			s.plain(1)
			for i := range 2 {
				s.alter(i, 1, func(f *TaskFinal) { f.State = failed })
			}
		}},
		{"no end at the end", []int{1}, func(s *story) {
			s.plain(1)
			for i := range 2 {
				s.alter(i, 1, func(f *TaskFinal) { f.State, f.Version = scheduled, 5 })
			}
		}},
		{"a run after the end", []int{1}, func(s *story) {
			s.do(enqueue("a", 1), by("a", Cancel, 1, shows(canceled, 2)), by("b", Start, 1, life(0)))
			s.end(1, TaskFinal{State: canceled, Life: 1, Version: 2})
		}},
		{"a run in the next life", nil, func(s *story) {
			s.do(enqueue("a", 1), by("a", Cancel, 1, shows(canceled, 2)), by("b", Retry, 1, life(2), shows(queued, 3)), by("b", Start, 1, life(2)))
			s.end(1, TaskFinal{State: done, Life: 2, Version: 5})
		}},
		{"a run that may be of the next life", nil, func(s *story) {
			s.do(enqueue("a", 1), by("a", Cancel, 1, shows(canceled, 2)), by("b", Retry, 1, unknown), by("b", Start, 1, life(0)))
			s.end(1, TaskFinal{State: done, Life: 2, Version: 5})
		}},
		{"a repeated end after a loss, with its mark", nil, func(s *story) {
			s.do(enqueue("a", 1), r(done, 3), fault(RedisLost, ""), read("b", 1, failed, 5))
			s.end(1, TaskFinal{State: failed, Life: 1, Version: 5, MaybeRepeated: true})
		}},
		{"a repeated end after a loss, without its mark", []int{1}, func(s *story) {
			s.do(enqueue("a", 1), r(done, 3), fault(RedisLost, ""), read("b", 1, failed, 5))
			s.end(1, TaskFinal{State: failed, Life: 1, Version: 5})
		}},
		{"a repeated end with its mark, without a loss", []int{1}, func(s *story) {
			s.do(enqueue("a", 1), r(done, 3), read("b", 1, failed, 5))
			s.end(1, TaskFinal{State: failed, Life: 1, Version: 5, MaybeRepeated: true})
		}},
	})
}

func TestReadersNeverSeeTasksGoBackwards(t *testing.T) {
	check(t, Setup{}, []tale{
		{"versions that grow", nil, seen(r(queued, 1), r(queued, 1), r(running, 2), r(done, 3))},
		{"a version that falls", []int{9}, seen(r(queued, 5), r(queued, 4), r(queued, 6))},
		{"a version that falls on another node", nil, seen(r(queued, 5), read("b", 1, queued, 4), r(queued, 6))},
		{"a version that falls for another reader", nil, seen(r(queued, 5), r(queued, 4, client("d")), r(queued, 6))},
		{"a version that falls in the answer to a command", []int{9}, seen(r(queued, 5), by("a", Run, 1, shows(queued, 4)), r(queued, 6))},
		{"a version that falls within one call's time", nil, func(s *story) {
			s.do(enqueue("a", 1, client("producer")))
			s.call(r(queued, 4), func() { s.do(r(queued, 5)) })
			s.do(r(queued, 5))
			s.end(1, TaskFinal{State: done, Life: 1, Version: 7, Payload: 101})
		}},
		{"a version that falls after calls that overlapped", []int{9}, func(s *story) {
			s.do(enqueue("a", 1, client("producer")))
			s.call(r(queued, 4), func() { s.do(r(queued, 5)) })
			s.do(r(queued, 4))
			s.end(1, TaskFinal{State: done, Life: 1, Version: 7, Payload: 101})
		}},
		{"a life that falls", []int{9}, seen(r(failed, 3), by("b", Retry, 1, unknown), r(queued, 4, life(2)), r(failed, 5), r(done, 6, life(2)))},
		{"something after the end", []int{9}, seen(r(done, 3), r(running, 4), r(done, 5))},
		{"something after the end, of the same version", []int{9}, seen(r(done, 3), r(running, 3), r(done, 3))},
		{"two primaries", nil, func(s *story) {
			s.do(enqueue("a", 1, client("producer")), r(queued, 5))
			s.call(fault(Split, ""), func() { s.do(r(queued, 4)) })
			s.do(r(queued, 4))
			s.end(1, TaskFinal{State: done, Life: 1, Version: 4, Payload: 101})
		}},
		{"two primaries some time ago", []int{9}, func(s *story) {
			s.do(enqueue("a", 1, client("producer")))
			s.call(fault(Split, ""), func() {})
			s.do(r(queued, 5), r(queued, 4))
			s.end(1, TaskFinal{State: done, Life: 1, Version: 6, Payload: 101})
		}},
		{"a version that falls at the end", []int{9}, func(s *story) {
			s.plain(1)
			s.alter(0, 1, func(f *TaskFinal) { f.Version = 2 })
		}},
		{"a life that falls at the end", []int{9, 13}, func(s *story) {
			seen(r(failed, 3), by("b", Retry, 1, unknown), r(done, 4, life(2)))(s)
			s.alter(0, 1, func(f *TaskFinal) { f.Life, f.State, f.Version = 1, failed, 4 })
			s.alter(1, 1, func(f *TaskFinal) { f.State = failed; f.Life = 1; f.Version = 3; f.Result = 2 })
		}},
	})
}

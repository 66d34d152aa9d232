package drill

import (
	"testing"

	"github.com/RC918/morningai"
)

const (
	outcomeOK       = morningai.OutcomeSucceeded
	outcomeRetry    = morningai.OutcomeRetry
	outcomeReleased = morningai.OutcomeReleased
	outcomeSnoozed  = morningai.OutcomeSnoozed
	outcomeFailed   = morningai.OutcomeFailed
	outcomeLost     = morningai.OutcomeLost
)

// works is a task of which this happened; it ended well.
func works(list ...[]Op) func(*story) {
	return func(s *story) {
		s.do(enqueue("a", 1))
		for _, ops := range list {
			s.do(ops...)
		}
		s.end(1, TaskFinal{State: done, Life: 1, Version: 9, Payload: 101})
	}
}

func marked(tell func(*story)) func(*story) {
	return func(s *story) {
		tell(s)
		for i := range 2 {
			s.alter(i, 1, func(f *TaskFinal) { f.MaybeRepeated = true })
		}
	}
}

func TestClaimsFence(t *testing.T) {
	one := func(op Op) []Op { return []Op{op} }
	grant := func(node string, n int64, more ...func(*Op)) []Op {
		return one(by(node, Grant, 1, append([]func(*Op){claim(n)}, more...)...))
	}
	start := func(node string, n int64) []Op { return one(by(node, Start, 1, claim(n))) }
	finish := func(node string, n int64, o morningai.Outcome, more ...func(*Op)) []Op {
		return one(by(node, Finish, 1, append([]func(*Op){claim(n), ended(o)}, more...)...))
	}
	stale := func(op *Op) { op.Outcome, op.Code = Fail, morningai.CodeStale }
	lease := func(n int64) func(*Op) { return func(op *Op) { op.Lease = n } }
	lost := one(by("a", Reap, 0))
	loss := one(fault(RedisLost, ""))
	check(t, Setup{Grants: true, Starts: true}, []tale{
		{"a retry", nil, works(run("a", 1, 1, outcomeRetry), run("b", 1, 2, outcomeOK))},
		{"a lost session whose outcome is refused", nil, works(grant("a", 1), start("a", 1), lost, grant("b", 2), start("b", 2), finish("a", 1, outcomeOK, stale), finish("b", 2, outcomeOK))},
		{"a lost session whose outcome is taken", []int{6}, works(grant("a", 1), start("a", 1), lost, grant("b", 2), start("b", 2), finish("a", 1, outcomeOK))},
		{"an outcome taken before the next hand-out", nil, works(grant("a", 1), start("a", 1), finish("a", 1, outcomeReleased), grant("b", 2), start("b", 2), finish("b", 2, outcomeOK))},
		{"a hand-out whose answer was lost", nil, works(grant("a", 1), run("a", 1, 1, outcomeOK))},
		{"the same number for another node", []int{6}, works(grant("a", 1), lost, grant("b", 1), start("b", 1), finish("b", 1, outcomeOK))},
		{"the same number with another lease", []int{6}, works(grant("a", 1, lease(5)), run("a", 1, 1, outcomeOK))},
		{"a number that falls", []int{6}, works(grant("a", 2), lost, grant("b", 1), start("b", 1), finish("b", 1, outcomeOK))},
		{"a number that falls after a loss, and nothing came of the larger one", nil, works(grant("a", 2), loss, grant("b", 1), run("b", 1, 3, outcomeOK))},
		{"a number that falls after a loss, and the larger one has begun to run", []int{6}, works(grant("a", 2), start("a", 2), loss, grant("b", 1), one(by("a", Reap, 0)), run("b", 1, 3, outcomeOK))},
		{"a number that falls after a loss, with the mark", nil, marked(works(grant("a", 2), loss, grant("b", 1), start("b", 1), finish("b", 1, outcomeOK)))},
		{"a number that falls after a loss, without the mark", nil, works(grant("a", 2), loss, grant("b", 1), start("b", 1), finish("b", 1, outcomeOK))},
		{"a number that falls after a loss, without the mark, and the larger one has run", []int{6, 7}, works(grant("a", 2), start("a", 2), loss, grant("b", 1), start("b", 1), finish("b", 1, outcomeOK))},
		{"a number that falls after a loss, and the larger one is to begin again", nil, works(grant("a", 2), start("a", 2), finish("a", 2, outcomeReleased), loss, grant("b", 1), start("b", 1), finish("b", 1, outcomeOK))},
		{"two starts of one claim", []int{6, 7}, works(grant("a", 1), start("a", 1), start("a", 1), finish("a", 1, outcomeOK))},
		{"two starts of one claim around a crash", []int{6}, works(grant("a", 1), start("a", 1), one(fault(Crash, "a")), start("a", 1), finish("a", 1, outcomeOK))},
		{"a start that was not handed out", []int{6}, works(start("a", 1), finish("a", 1, outcomeOK))},
		{"a start that was handed to another node", []int{6}, works(grant("b", 1), start("a", 1), finish("a", 1, outcomeOK))},
		{"an outcome told twice", nil, works(grant("a", 1), start("a", 1), finish("a", 1, outcomeOK), finish("a", 1, outcomeOK))},
		{"two outcomes of one claim", []int{6}, works(grant("a", 1), start("a", 1), finish("a", 1, outcomeOK), finish("a", 1, outcomeFailed))},
		{"the second outcome is refused", nil, works(grant("a", 1), start("a", 1), finish("a", 1, outcomeOK), finish("a", 1, outcomeFailed, stale))},
		{"outcomes with two leases", []int{6}, works(grant("a", 1), start("a", 1), finish("a", 1, outcomeOK), finish("b", 1, outcomeOK, lease(5)))},
		{"a hand-out that the outcome did not know", nil, func(s *story) {
			works(grant("a", 1), start("a", 1), lost)(s)
			s.call(finish("a", 1, outcomeReleased)[0], func() { s.do(grant("b", 2)[0]) })
			s.do(start("b", 2)[0], finish("b", 2, outcomeOK)[0])
		}},
	})
	check(t, Setup{}, []tale{
		{"two claims end one life", []int{6}, works(finish("b", 2, outcomeFailed), finish("a", 3, outcomeOK))},
		{"two claims end two lives", nil, func(s *story) {
			works(finish("b", 2, outcomeFailed), one(by("a", Retry, 1, life(2))), finish("a", 3, outcomeOK, life(2)))(s)
			for i := range 2 {
				s.alter(i, 1, func(f *TaskFinal) { f.Life = 2 })
			}
		}},
	})
}

func TestRecordsOfAttempts(t *testing.T) {
	record := func(list ...AttemptFinal) func(*story) {
		return func(s *story) {
			s.plain(1)
			for i := range 2 {
				s.alter(i, 1, func(f *TaskFinal) { f.Attempts = list })
			}
		}
	}
	check(t, everything, []tale{
		{"a retry and a success", nil, record(AttemptFinal{1, 1, "a", outcomeRetry}, AttemptFinal{2, 1, "b", outcomeOK})},
		{"a number twice", []int{6}, record(AttemptFinal{1, 1, "a", outcomeRetry}, AttemptFinal{1, 1, "b", outcomeOK})},
		{"an attempt after the end", []int{6}, record(AttemptFinal{1, 1, "a", outcomeFailed}, AttemptFinal{2, 1, "b", outcomeOK})},
		{"an attempt in the next life", nil, record(AttemptFinal{1, 1, "a", outcomeFailed}, AttemptFinal{2, 2, "b", outcomeOK})},
		{"a disk was lost", nil, func(s *story) {
			record(AttemptFinal{1, 1, "a", outcomeLost}, AttemptFinal{1, 1, "b", outcomeOK})(s)
			s.do(fault(DiskLost, "a"))
		}},
	})
}

func TestRunsHaveCauses(t *testing.T) {
	start := func(node string, n int64, more ...func(*Op)) []Op {
		return []Op{by(node, Start, 1, append([]func(*Op){func(op *Op) { op.Attempt = n }}, more...)...)}
	}
	one := func(op Op) []Op { return []Op{op} }
	attempts := func(tell func(*story), list ...AttemptFinal) func(*story) {
		return func(s *story) {
			tell(s)
			for i := range 2 {
				s.alter(i, 1, func(f *TaskFinal) { f.Attempts = list })
			}
		}
	}
	end := func(node string, o morningai.Outcome) []Op { return one(by(node, End, 1, ended(o))) }
	numbered := func(node string, kind Kind, n int64, o morningai.Outcome) []Op {
		return one(by(node, kind, 1, claim(n), ended(o)))
	}
	// Two nodes that are cut off from each other accept one id, and both run it.
	apart := func(reported string, cut ...Op) func(*story) {
		return func(s *story) {
			s.do(cut...)
			s.do(enqueue("a", 1), enqueue("b", 1))
			for _, node := range []string{"a", "b"} {
				s.do(by(node, Start, 1, claim(1), func(op *Op) { op.Attempt = 1 }), by(node, End, 1, claim(1), ended(outcomeOK)), by(node, Finish, 1, claim(1), ended(outcomeOK)))
			}
			s.end(1, succeeded(1))
			switch reported {
			case "repeated":
				s.final.Nodes[0].Repeated = []morningai.ID{tid(1)}
			case "set aside":
				s.final.Nodes[0].SetAside = []morningai.ID{tid(1)}
			}
		}
	}
	check(t, Setup{Starts: true}, []tale{
		{"accepted twice while cut off, and reported", nil, apart("repeated", fault(Cut, "b"))},
		{"accepted twice while cut off, and not reported", []int{6, 7}, apart("", fault(Cut, "b"))},
		{"accepted twice while cut off, and set aside", nil, apart("set aside", fault(Cut, "b"))},
		{"run twice without an outage, and set aside", []int{6, 7}, apart("set aside")},
		{"run twice without an outage, and reported", []int{6}, apart("repeated")},
		{"one run", nil, works(start("a", 1))},
		{"two runs", []int{7}, works(start("a", 1), start("b", 2))},
		{"a failure in between", nil, works(start("a", 1), end("a", outcomeRetry), start("b", 2))},
		{"a failure afterwards", []int{7}, works(start("a", 1), start("b", 2), end("a", outcomeRetry))},
		{"a snooze and a hand-back", nil, works(start("a", 1), end("a", outcomeSnoozed), start("a", 2), end("a", outcomeReleased), start("b", 3))},
		{"a success in between", []int{7}, works(start("a", 1), end("a", outcomeOK), start("b", 2))},
		{"the record says that it failed", nil, attempts(works(start("a", 1), start("b", 2)), AttemptFinal{1, 1, "a", outcomeRetry}, AttemptFinal{2, 1, "b", outcomeOK})},
		{"the record says that it was lost", nil, attempts(works(start("a", 1), start("b", 2)), AttemptFinal{1, 1, "a", outcomeLost}, AttemptFinal{2, 1, "b", outcomeOK})},
		{"the record says that it succeeded", []int{7}, attempts(works(start("a", 1), start("b", 2)), AttemptFinal{1, 1, "a", outcomeOK})},
		{"the record speaks of another attempt", []int{7}, attempts(works(start("a", 1), start("b", 2)), AttemptFinal{2, 1, "b", outcomeLost})},
		{"a crash in between", nil, works(start("a", 1), one(fault(Crash, "a")), start("b", 2))},
		{"a crash before", []int{7}, works(one(fault(Crash, "a")), start("a", 1), start("b", 2))},
		{"a crash of another node", []int{7}, works(start("a", 1), one(fault(Crash, "b")), start("b", 2))},
		{"a crash after the outcome was recorded", []int{6, 7}, works(start("a", 1, claim(1)), numbered("a", Finish, 1, outcomeOK), one(fault(Crash, "a")), start("b", 2, claim(2)), numbered("b", Finish, 2, outcomeOK))},
		{"a crash after the end was seen", []int{1, 7}, works(start("a", 1), one(r(done, 3)), one(fault(Crash, "a")), start("b", 2))},
		{"a lost session", nil, works(start("a", 1), one(by("a", Reap, 0)), start("b", 2))},
		{"a lost session, and again", nil, works(start("a", 1), one(by("a", Reap, 0)), start("b", 2), one(by("b", Reap, 0)), start("a", 3))},
		{"a lost session, and a third run", []int{7}, works(start("a", 1), one(by("a", Reap, 0)), start("b", 2), start("a", 3))},
		{"a lost session of another node", []int{7}, works(start("a", 1), one(by("b", Reap, 0)), start("b", 2))},
		{"the mark without a loss", nil, marked(works(start("a", 1), start("b", 2)))},
		{"the mark, and a third run", []int{7}, marked(works(start("a", 1), start("b", 2), start("a", 3)))},
		{"the mark and two losses", nil, marked(works(start("a", 1), one(fault(RedisLost, "")), start("b", 2), one(fault(RedisLost, "")), start("a", 3)))},
		{"a loss without the mark", []int{7}, works(start("a", 1), one(fault(RedisLost, "")), start("b", 2))},
		{"an operator's retry", nil, func(s *story) {
			works(start("a", 1), end("a", outcomeFailed), one(by("a", Retry, 1, life(2))), start("b", 2, life(2)))(s)
			s.end(1, TaskFinal{State: done, Life: 2, Version: 9, Payload: 101})
		}},
		{"an operator's retry, and a second run in the old life", []int{7}, func(s *story) {
			works(start("a", 1), one(by("a", Retry, 1, life(2))), start("b", 2, life(1)))(s)
			s.end(1, TaskFinal{State: done, Life: 2, Version: 9, Payload: 101})
		}},
		{"a retry that was refused", []int{7}, works(start("a", 1), one(by("a", Retry, 1, fails(morningai.CodeWrongState))), start("b", 2))},
		{"a failure of this claim", nil, works(start("a", 1, claim(1)), numbered("a", Finish, 1, outcomeRetry), start("b", 2, claim(2)))},
		{"a failure of another claim", []int{7}, works(start("a", 1, claim(1)), numbered("a", End, 3, outcomeRetry), start("b", 2, claim(2)))},
		{"a run that begins after the next, whose session was lost before", nil, works(one(by("a", Grant, 1, claim(1))), one(by("a", Reap, 0)), one(by("b", Grant, 1, claim(2))), start("b", 2, claim(2)), start("a", 1, claim(1)))},
		{"a run that begins after the next, without a cause", []int{7}, works(one(by("a", Grant, 1, claim(1))), one(by("b", Grant, 1, claim(2))), start("b", 2, claim(2)), start("a", 1, claim(1)))},
		{"a lost disk", nil, works(start("a", 1), one(fault(DiskLost, "a")), start("a", 2))},
	})
}

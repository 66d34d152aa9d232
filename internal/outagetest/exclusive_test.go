package outagetest

import (
	"testing"

	"github.com/RC918/morningai"
)

// An outage that outlives the lease stops the handler of an exclusive task, since
// another server may be given the task, and no other handler. What was accepted in
// the outage is this server's alone, exclusive or not, and goes on.
func TestExclusiveTasksInAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	n := f.startNode("a", "--lease", "2s")
	exclusive := f.must(n, f.counted(f.callee.gated("gate")).with("exclusive", true))
	plain := f.must(n, f.counted(f.callee.gated("gate")))
	until(t, patience, "both tasks to run", func() bool { return f.callee.waiting("gate") == 2 })
	f.away(frozen)
	f.degraded(n)
	local := f.must(n, f.counted(f.callee.gated("other")).with("exclusive", true))
	until(t, patience, "the exclusive handler to be stopped", func() bool { return f.callee.waiting("gate") == 1 })
	if runs := f.callee.of(exclusive.id); len(runs) != 1 || !runs[0].ended.IsZero() {
		t.Errorf("the exclusive task has run %d times, one to its end: %v", len(runs), !runs[0].ended.IsZero())
	}
	if f.callee.waiting("other") != 1 {
		t.Error("the exclusive task of the outage does not go on")
	}
	f.back(frozen)
	f.callee.open("gate")
	f.callee.open("other")
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), []receipt{plain, local})
	v := f.waitFor(n, exclusive.id, morningai.StateSucceeded)
	if v.Attempt != 2 || v.Failures != 0 || len(f.callee.of(exclusive.id)) != 2 {
		t.Errorf("the exclusive task has ended at attempt %d with %d failures, after %d runs", v.Attempt, v.Failures, len(f.callee.of(exclusive.id)))
	}
	if all := f.attempts(n, exclusive.id); len(all) != 2 || all[0].Outcome != morningai.OutcomeReleased {
		t.Errorf("its attempts are %+v", all)
	}
}

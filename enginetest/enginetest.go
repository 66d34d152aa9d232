// Package enginetest is the contract of [morningai.Engine] as a test suite.
// Every engine passes it unchanged; what it checks is the precise form of what
// the interface's comments promise.
//
// An engine's own test needs one call:
//
//	func TestContract(t *testing.T) {
//		enginetest.Run(t, enginetest.Harness{New: func(tb testing.TB) enginetest.Storage { … }})
//	}
package enginetest

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// Storage opens an engine over one place where tasks are kept. Called again
// after the engine before was closed, it opens the same place again, and
// what was there still is. It fails the test if it cannot.
type Storage func(tb testing.TB) morningai.Engine

// Harness is what the suite has to know of an engine. Only New is required.
type Harness struct {
	// New makes a storage that is fresh and empty and shares nothing with
	// others: checks run in parallel. What it needs is released by tb.Cleanup.
	New func(tb testing.TB) Storage
	// NewWithClock is New for an engine that takes its wall clock from the
	// suite; it may look at it as rarely as every few milliseconds. nil: the
	// engine has no such seam, and what takes an hour is not checked on it.
	NewWithClock func(tb testing.TB, now func() time.Time) Storage
	// EventsKept is a number of events after which the oldest are no longer
	// kept at the latest. 0: the engine has no such number, and the check that
	// a cursor expires is not part of its contract.
	EventsKept int

	// Self returns the journal of an engine that puts its own node on record as
	// a member; the checks of members leave it out. nil: the engine does not.
	Self func(morningai.Engine) morningai.ID

	patience time.Duration // 0: the constant of that name
}

// check is one promise: a name that says it, and a test that tells whether it
// holds. It takes a testing.TB so that the suite's own tests can watch it fail.
type check struct {
	name string
	run  func(r *rig)
}

// group holds the checks of one method, or of what concerns all of them.
type group struct {
	name   string
	checks []check
}

func groups() []group {
	return []group{
		{"Enqueue", enqueueChecks()},
		{"UniqueKey", uniqueChecks()},
		{"Claim", claimChecks()},
		{"Limits", limitChecks()},
		{"Wait", waitChecks()},
		{"Finish", finishChecks()},
		{"Fence", fenceChecks()},
		{"Checkpoint", checkpointChecks()},
		{"Beat", beatChecks()},
		{"Reap", reapChecks()},
		{"Command", commandChecks()},
		{"Read", readChecks()},
		{"List", listChecks()},
		{"Stats", statsChecks()},
		{"Events", eventChecks()},
		{"SetQueue", queueChecks()},
		{"Transfer", transferChecks()},
		{"Merge", mergeChecks()},
		{"Lifecycle", lifecycleChecks()},
		{"Time", timeChecks()},
		{"Model", modelChecks()},
		{"Stress", stressChecks()},
	}
}

// Run checks that the engine which the harness opens keeps the contract.
func Run(t *testing.T, h Harness) {
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) { c.run(newRig(t, h)) })
			}
		})
	}
}

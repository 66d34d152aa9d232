package sim

import "testing"

// Guards removed from the engine and from the worker's rules: the simulation of
// plain nodes must notice each.
func TestMutantsOfThePlainFleet(t *testing.T) {
	const work, observer = "../../enginetest/reference_work.go", "../../observer.go"
	for _, m := range []Mutant{
		{Name: "outcomes of superseded claims are taken", File: work,
			Old: "	case morningai.FenceStale:\n		return \"\", morningai.ErrStale\n	case morningai.FenceRepeat",
			New: "	case morningai.FenceRepeat", Test: "TestPlainFleet/outages_and_crashes"},
		{Name: "a session is called dead after half its lease time", File: observer,
			Old: "was.still >= s.LeaseTime", New: "was.still >= s.LeaseTime/2", Test: "TestPlainFleet/crashes"},
		{Name: "what was running when a session died stays so", File: work,
			Old: "		if t.Task.State == morningai.StateRunning && t.Session == id {\n", New: "		if t.Task.State == morningai.StateQueued && t.Session == id {\n", Test: "TestPlainFleet/crashes"},
		{Name: "a cancel of a running task is forgotten", File: work,
			Old: "				t.Task.CancelRequested = true\n", New: "", Test: "TestPlainFleet/no_faults"},
	} {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			m.Check(t)
		})
	}
}

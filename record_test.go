package morningai

import (
	"testing"

	"pgregory.net/rapid"
)

// drawRecord makes any record of one task, the unlikely ones included.
func drawRecord(t *rapid.T, name string) *Record {
	return &Record{
		Task: Task{
			State:   rapid.SampledFrom(States()).Draw(t, name+" state"),
			Life:    rapid.Int64Range(1, 2).Draw(t, name+" life"),
			Version: rapid.Int64Range(1, 4).Draw(t, name+" version"),
		},
		Claim:   rapid.Int64Range(0, 3).Draw(t, name+" claim"),
		Settled: rapid.SampledFrom([]Outcome{"", OutcomeRetry, OutcomeReleased}).Draw(t, name+" settled"),
		Deleted: rapid.Bool().Draw(t, name+" deleted"),
	}
}

func TestCompareIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawRecord(t, "a"), drawRecord(t, "b"), drawRecord(t, "c")
		if a.Compare(a) != 0 {
			t.Fatalf("%+v differs from itself", a)
		}
		if a.Compare(b) != -b.Compare(a) {
			t.Fatalf("a to b %d, b to a %d", a.Compare(b), b.Compare(a))
		}
		if a.Compare(b) >= 0 && b.Compare(c) >= 0 && a.Compare(c) < 0 {
			t.Fatal("a ≥ b ≥ c, but a < c")
		}
		if a.Newer(b) && b.Newer(a) {
			t.Fatal("each replaces the other")
		}
	})
}

// Importing records in any order leads to one that nothing is further than.
func TestMergeDoesNotDependOnOrder(t *testing.T) {
	merge := func(records []*Record) *Record {
		stored := records[0]
		for _, r := range records[1:] {
			if r.Newer(stored) {
				stored = r
			}
		}
		return stored
	}
	rapid.Check(t, func(t *rapid.T) {
		records := make([]*Record, rapid.IntRange(2, 6).Draw(t, "n"))
		for i := range records {
			records[i] = drawRecord(t, "record")
		}
		first := merge(records)
		second := merge(rapid.Permutation(records).Draw(t, "other order"))
		if first.Compare(second) != 0 {
			t.Fatalf("merged to %+v and %+v", first, second)
		}
		for _, r := range records {
			if r.Newer(first) {
				t.Fatalf("%+v is further than what was merged, %+v", r, first)
			}
		}
	})
}

func TestCompareRules(t *testing.T) {
	running := Record{Task: Task{State: StateRunning, Life: 1, Version: 9}, Claim: 7}
	ended := Record{Task: Task{State: StateSucceeded, Life: 1, Version: 2}, Claim: 1}
	failed := Record{Task: Task{State: StateFailed, Life: 1, Version: 5}, Claim: 3}
	next := Record{Task: Task{State: StateBlocked, Life: 2, Version: 1}}
	deleted := Record{Task: Task{State: StateSucceeded, Life: 1}, Deleted: true}
	released := Record{Task: Task{State: StateQueued, Life: 1, Version: 3}, Claim: 7, Settled: OutcomeReleased}
	for _, c := range []struct {
		name string
		a, b Record
		want int
	}{
		{"an end goes over a later claim", ended, running, 1},
		{"of two ends the stored one stays", failed, ended, 0},
		{"a later life goes over an end", next, ended, 1},
		{"a delete goes over an end", deleted, failed, 1},
		{"and not over a later life", deleted, next, -1},
		{"a recorded outcome goes over its running claim", released, running, 1},
	} {
		if got := c.a.Compare(&c.b); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestFence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t, "record")
		r.Lease = rapid.Int64Range(1, 2).Draw(t, "stored lease")
		r.Settled = rapid.SampledFrom([]Outcome{"", OutcomeSucceeded, OutcomeRetry}).Draw(t, "settled")
		l := Lease{Claim: rapid.Int64Range(0, 4).Draw(t, "claim"), Lease: rapid.Int64Range(1, 2).Draw(t, "lease")}
		outcome := rapid.SampledFrom([]Outcome{"", OutcomeSucceeded, OutcomeRetry}).Draw(t, "outcome")
		got := r.Fence(l, outcome)
		mine := r.Claim == l.Claim && r.Lease == l.Lease
		switch {
		case got == FenceAccept && (r.Deleted || r.Task.State.Terminal()):
			t.Fatal("accepted after the end")
		case got == FenceAccept && r.Claim > l.Claim:
			t.Fatal("a superseded claim was accepted")
		case got == FenceAccept && r.Claim == l.Claim && r.Lease != l.Lease:
			t.Fatal("another lease of the same number was accepted")
		case got == FenceAccept && mine && r.Settled != "":
			t.Fatal("a second outcome of one claim was accepted")
		case got == FenceRepeat && (!mine || outcome == "" || outcome != r.Settled):
			t.Fatal("called a repeat, but is not the recorded outcome")
		case got == FenceStale && mine && r.Settled == "" && !r.Deleted && !r.Task.State.Terminal():
			t.Fatal("the current claim was refused")
		}
	})
}

package sqlite

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// A claim that outlasts a moment is written down by a commit of its own, long
// before it gets a row in leases, and without anybody waiting for a commit.
func TestYoungClaimIsListed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	clock := &wheel{at: time.Now()}
	f := newFixture(t, path, WithClock(clock.now))
	f.enqueue(4, nil)
	grants := f.claim(3)
	clock.turn(2 * listAfter)
	f.awaitListed()
	held := f.claim(1)[0] // by nothing that a commit has seen
	if got := f.leases(); got != 0 {
		t.Errorf("%d claims are in leases", got)
	}
	crashed := snapshot(t, path)
	shut(t, f.e)

	f = newFixture(t, crashed, WithClock(clock.now))
	defer func() { shut(t, f.e) }()
	for i, g := range grants {
		h, err := f.e.History(t.Context(), g.Task.ID)
		if err != nil || len(h.Attempts) != 1 {
			t.Fatalf("task %d: history %+v, %v", i, h, err)
		}
		a := h.Attempts[0]
		if a.Outcome != morningai.OutcomeLost || a.Number != 1 || a.Node != "node" || !a.StartedAt.Equal(g.Task.StartedAt) {
			t.Errorf("task %d: the attempt is on record as %+v, started %s", i, a, g.Task.StartedAt)
		}
		if task := f.get(g.Task.ID, false); task.State != morningai.StateQueued || task.Attempt != 1 || task.Version <= g.Task.Version {
			t.Errorf("task %d is %+v", i, task)
		}
	}
	if h, err := f.e.History(t.Context(), held.Task.ID); err != nil || len(h.Attempts) != 0 {
		t.Errorf("a claim that no commit has seen: %+v, %v", h, err)
	}
	if n := f.lists(); n != 0 {
		t.Errorf("%d lists are left after the recovery", n)
	}
	checkCounts(t, f.e, "after a crash")
}

// Lists go when what they list has ended, or has moved to leases, and one that
// stays in part is not believed where its tasks have gone on.
func TestListsAreShortLived(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	clock := &wheel{at: time.Now()}
	f := newFixture(t, path, WithClock(clock.now))
	f.enqueue(4, nil)
	grants := f.claim(4)
	clock.turn(2 * listAfter)
	f.awaitListed()
	for _, g := range grants[:2] {
		if err := f.finish(g, morningai.OutcomeSucceeded); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.finish(grants[2], morningai.OutcomeReleased); err != nil {
		t.Fatal(err)
	}
	if n := f.lists(); n != 1 {
		t.Fatalf("%d lists while one of its tasks runs", n)
	}
	crashed := snapshot(t, path)
	clock.turn(2 * markAfter)
	if err := f.e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lists, leases := f.lists(), f.leases(); lists != 0 || leases != 1 {
		t.Errorf("%d lists and %d leases once the task runs for long", lists, leases)
	}
	if err := f.finish(grants[3], morningai.OutcomeSucceeded); err != nil {
		t.Fatal(err)
	}
	if lists, leases := f.lists(), f.leases(); lists != 0 || leases != 0 {
		t.Errorf("%d lists and %d leases when all have ended", lists, leases)
	}
	shut(t, f.e)

	f = newFixture(t, crashed, WithClock(clock.now))
	defer func() { shut(t, f.e) }()
	var states []morningai.State
	var attempts []int
	for _, g := range grants {
		h, err := f.e.History(t.Context(), g.Task.ID)
		if err != nil {
			t.Fatal(err)
		}
		states, attempts = append(states, f.get(g.Task.ID, false).State), append(attempts, len(h.Attempts))
	}
	want := []morningai.State{morningai.StateSucceeded, morningai.StateSucceeded, morningai.StateQueued, morningai.StateQueued}
	if !slices.Equal(states, want) || !slices.Equal(attempts, []int{1, 1, 1, 1}) {
		t.Errorf("after the crash: %v with %v attempts", states, attempts)
	}
	checkCounts(t, f.e, "after a crash")
}

// awaitListed waits until no running task is without a trace in the file.
func (f *fixture) awaitListed() {
	f.t.Helper()
	tick, late := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for {
		f.e.mu.Lock()
		n := len(f.e.unlisted)
		f.e.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			f.t.Fatalf("%d claims are not written down", n)
		}
	}
}

func (f *fixture) rows(table string) int64 {
	f.t.Helper()
	r := <-f.e.readers
	defer func() { f.e.readers <- r }()
	n, err := r.c.number("SELECT count(*) FROM " + table)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) lists() int64  { return f.rows("claims") }
func (f *fixture) leases() int64 { return f.rows("leases") }

// What is written of claims is what is read again, whatever the numbers are,
// and damage is noticed.
func TestClaimsAreReadAsWritten(t *testing.T) {
	want := []leaseRow{
		{9, runState{claim: 1, lease: -5, attempt: 1, version: 2, started: 1_700_000_000_000_000, node: "a"}},
		{12, runState{claim: 1 << 40, lease: 7, attempt: 3, version: 1 << 50, started: 1_600_000_000_000_000, node: "a"}},
		{10, runState{claim: 2, lease: 1, attempt: 1, version: 9, started: 5, node: ""}},
		{11, runState{claim: 2, lease: 1, attempt: 1, version: 9, started: 5, node: "b"}},
	}
	raw := []byte{blobFormat}
	var last leaseRow
	for _, l := range want {
		raw = appendClaim(raw, l.seq-last.seq, &l.run, &last.run)
		last = l
	}
	got, err := readClaims(raw)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for n := range raw {
		if got, err := readClaims(raw[:n]); err == nil && len(got) == len(want) {
			t.Errorf("a row cut to %d of %d bytes reads as whole", n, len(raw))
		}
	}
}

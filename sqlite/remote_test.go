package sqlite

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

const remoteLease = 10 * time.Second

// far beats for a worker in another process.
func (f *fixture) far(holding ...morningai.Lease) morningai.BeatReply {
	f.t.Helper()
	reply, err := f.e.Beat(f.t.Context(), morningai.BeatRequest{Session: morningai.SessionID{9}, Node: "far", Types: []string{"work"},
		LeaseTime: remoteLease, Remote: true, Holding: holding, Through: 1 << 40})
	if err != nil {
		f.t.Fatal(err)
	}
	return reply
}

func (f *fixture) claimFar(n int) []morningai.Grant {
	f.t.Helper()
	reply, err := f.e.Claim(f.t.Context(), morningai.ClaimRequest{Session: morningai.SessionID{9}, Types: []string{"work"}, N: n, Wait: time.Minute})
	if err != nil {
		f.t.Fatal(err)
	}
	return reply.Grants
}

// What a worker in another process runs goes on over two crashes: it is not handed
// out again while the worker may come back, and its outcome counts. What nobody
// comes back for is handed out after the lease, with the cause on record.
func TestRemoteClaimsOutliveACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	clock := &wheel{at: time.Now()}
	f := newFixture(t, path, WithClock(clock.now))
	f.far()
	f.enqueue(4, nil)
	grants := f.claimFar(3)
	local := f.claim(1)[0]
	crashed := snapshot(t, path) // the answer is the last that was written
	shut(t, f.e)

	f = newFixture(t, crashed, WithClock(clock.now))
	running := f.get(grants[0].Task.ID, false)
	if running.State != morningai.StateRunning || running.Attempt != 1 || running.Version <= grants[0].Task.Version {
		t.Errorf("after the crash it is %+v", running)
	}
	if got := f.claim(4); len(got) != 1 || got[0].Task.ID != local.Task.ID {
		t.Errorf("after the crash %d tasks are handed out", len(got))
	}
	checkCounts(t, f.e, "after a crash")
	if reply := f.far(grants[0].Lease, grants[1].Lease, morningai.Lease{ID: grants[2].Task.ID, Claim: grants[2].Lease.Claim, Lease: 1}); len(reply.Lost) != 1 {
		t.Errorf("the worker that has come back is told %+v", reply)
	}
	again := snapshot(t, crashed)
	shut(t, f.e)

	f = newFixture(t, snapshot(t, again), WithClock(clock.now), WithoutRemoteWorkers())
	if now := f.get(grants[0].Task.ID, false); now.State != morningai.StateQueued {
		t.Errorf("for a process that no worker can report to it is %+v", now)
	}
	shut(t, f.e)

	f = newFixture(t, again, WithClock(clock.now))
	defer func() { shut(t, f.e) }()
	if now := f.get(grants[0].Task.ID, false); now.State != morningai.StateRunning || now.Version <= running.Version {
		t.Errorf("after the second crash it is %+v", now)
	}
	if err := f.finish(grants[0], morningai.OutcomeSucceeded); err != nil {
		t.Errorf("an outcome from before the crashes: %v", err)
	}
	f.far(grants[1].Lease)
	clock.turn(remoteLease - time.Second)
	f.claim(1) // the local one once more
	if reply, err := f.e.Claim(t.Context(), morningai.ClaimRequest{Session: f.session, Types: []string{"work"}, N: 4}); err != nil || len(reply.Grants) != 0 {
		t.Errorf("before the lease is over %+v is handed out (%v)", reply.Grants, err)
	}
	clock.turn(2 * time.Second)
	got := f.claim(4)
	if len(got) != 1 || got[0].Task.ID != grants[2].Task.ID || got[0].Lease.Claim <= grants[2].Lease.Claim {
		t.Fatalf("after the lease %+v is handed out", got)
	}
	if err := f.finish(grants[2], morningai.OutcomeSucceeded); !errors.Is(err, morningai.ErrStale) {
		t.Errorf("an outcome of a claim that was given up: %v", err)
	}
	h, err := f.e.History(t.Context(), grants[2].Task.ID)
	if err != nil || !slices.ContainsFunc(h.Attempts, func(a morningai.Attempt) bool { return a.Outcome == morningai.OutcomeLost && a.Node == "far" }) {
		t.Errorf("its history is %+v, %v", h, err)
	}
	if err := f.finish(grants[1], morningai.OutcomeSucceeded); err != nil {
		t.Errorf("an outcome of a claim that is held: %v", err)
	}
	checkCounts(t, f.e, "after two crashes")
}

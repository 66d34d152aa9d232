package redis_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// TestFirstStartsHaveNoRecord: tasks under way for the first time are known by their
// blocks alone, long ones among short ones come in order, and whatever happens to
// one of them next leaves the others as they are and nothing behind.
func TestFirstStartsHaveNoRecord(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	one, two := join(t, e, 1), join(t, e, 2)
	list := specs(100)
	for i := range list {
		if i%7 == 3 {
			list[i].Payload = json.RawMessage(`"` + strings.Repeat("long", 2000) + `"`)
		}
	}
	enqueue(t, e, list)
	records := func() int {
		n, err := strconv.Atoi(server.Do("HLEN", "mai:{0}:tasks"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	mine, theirs := claim(t, e, one, 40, 0), claim(t, e, two, 60, 0)
	for i, g := range slices.Concat(mine, theirs) {
		if g.Task.ID != list[i].ID || string(g.Task.Payload) != string(list[i].Payload) || g.Task.State != morningai.StateRunning || g.Task.Attempt != 1 {
			t.Fatalf("grant %d: %+v", i, g.Task)
		}
	}
	if n := records(); n != 1+4 {
		t.Fatalf("%d fields for 100 tasks in 4 blocks", n)
	}
	state := func(g morningai.Grant) morningai.Task {
		t.Helper()
		got, err := e.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{g.Task.ID}})
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	if r := state(theirs[0]); r.State != morningai.StateRunning || r.Attempt != 1 || !r.StartedAt.Equal(theirs[0].Task.StartedAt) {
		t.Fatalf("a task under way reads as %+v", r)
	}

	// One is canceled while it runs, one tells its progress, one fails, one is released,
	// and one report comes of a claim that was not made.
	if _, err := e.Command(t.Context(), []morningai.Command{{ID: mine[0].Task.ID, Kind: morningai.CommandCancel}}); err != nil {
		t.Fatal(err)
	}
	points, err := e.Checkpoint(t.Context(), []morningai.Checkpoint{{Lease: mine[1].Lease, Kind: morningai.CheckpointProgress, Data: json.RawMessage(`7`)}})
	if err != nil || points[0] != nil {
		t.Fatal(err, points)
	}
	report := func(g morningai.Grant, o morningai.Outcome) morningai.Report {
		return morningai.Report{Lease: g.Lease, Outcome: o, Attempt: 1, StartedAt: g.Task.StartedAt, FinishedAt: time.Now(), RunAt: time.Now().Add(time.Hour)}
	}
	forged := report(mine[4], morningai.OutcomeSucceeded)
	forged.Lease.Lease++
	reports := []morningai.Report{
		report(mine[0], morningai.OutcomeSucceeded), report(mine[1], morningai.OutcomeSucceeded),
		report(mine[2], morningai.OutcomeRetry), report(mine[3], morningai.OutcomeReleased), forged,
	}
	verdicts, err := e.Finish(t.Context(), reports)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []morningai.State{morningai.StateCanceled, morningai.StateSucceeded, morningai.StateScheduled, morningai.StateQueued} {
		if verdicts[i].Err != nil || verdicts[i].State != want || state(mine[i]).State != want {
			t.Errorf("report %d: %+v, read as %s, not %s", i, verdicts[i], state(mine[i]).State, want)
		}
	}
	if morningai.CodeOf(verdicts[4].Err) != morningai.CodeStale {
		t.Errorf("a forged lease: %+v", verdicts[4])
	}
	// The other node dies: all that it ran goes back, and only that.
	if _, err := e.Beat(t.Context(), morningai.BeatRequest{Session: two, Types: []string{"work"}, LeaseTime: time.Minute, Leaving: true, Through: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if r := state(theirs[0]); r.State != morningai.StateQueued {
		t.Errorf("a task of a node that left is %s", r.State)
	}
	if r := state(mine[4]); r.State != morningai.StateRunning {
		t.Errorf("a task of the node that stays is %s", r.State)
	}
	verdicts = finish(t, e, mine[4:]...)
	again := finish(t, e, mine[4:]...) // the answer was lost
	for i := range verdicts {
		if verdicts[i].Err != nil || again[i].Err != nil || again[i].State != morningai.StateSucceeded {
			t.Fatalf("report %d: %+v, again %+v", i, verdicts[i], again[i])
		}
	}
	if n := records(); n != 1+100 {
		t.Errorf("%d fields for 100 tasks that all have a record", n)
	}
}

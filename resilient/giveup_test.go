package resilient

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/fault"
)

// A claim that is given up takes back what its own answer may have brought, and not
// what another claim of the same session has: that is still on its way to the worker,
// which would run it beside whoever is given it next.
func TestAClaimGivenUpLeavesTheOthersAlone(t *testing.T) {
	w := openWatched(t, asItIs)
	for _, m := range []fault.Method{"Enqueue", "Probe", "Claim", "Beat"} {
		w.shared.Script.Add(m, fault.Fault{Times: -1, Err: &morningai.Error{Code: morningai.CodeUnavailable, Op: "call"}})
	}
	session := morningai.SessionID{1}
	beat := func(through int64) {
		t.Helper()
		if _, err := w.Beat(t.Context(), morningai.BeatRequest{Session: session, Node: "n", Types: []string{"work"}, LeaseTime: time.Minute, Through: through}); err != nil {
			t.Fatal(err)
		}
	}
	beat(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s, err := w.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.Contact == morningai.ContactDown {
			break
		}
		_ = w.Probe(ctx) // what it says is what the circuit learns of
	}
	receipts, err := w.Enqueue(ctx, []morningai.TaskSpec{morningai.NewTaskSpec("work", []byte("1"))})
	if err != nil || receipts[0].Err != nil {
		t.Fatal(err, receipts)
	}
	claim := func(ctx context.Context, wait time.Duration) (morningai.ClaimReply, error) {
		return w.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1, Wait: wait})
	}
	got, err := claim(ctx, 0)
	if err != nil || len(got.Grants) != 1 {
		t.Fatal(err, got)
	}
	gone, give := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { // ends with the claim
		_, err := claim(gone, time.Hour)
		ended <- err
	}()
	returns := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.core.sessions[session].returns
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waits := 0; waits == 0; <-tick.C {
		w.mu.Lock()
		waits = len(w.core.claims)
		w.mu.Unlock()
	}
	give()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for !returns() {
		<-tick.C
	}
	beat(0) // the worker has not taken it over yet
	state := func() (morningai.State, int) {
		t.Helper()
		tasks, err := w.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{got.Grants[0].Task.ID}})
		if err != nil || len(tasks) != 1 {
			t.Fatal(err, tasks)
		}
		return tasks[0].State, tasks[0].Attempt
	}
	if s, n := state(); s != morningai.StateRunning || n != 1 {
		t.Errorf("what another claim has brought is %s, attempt %d", s, n)
	}
	beat(got.Seq) // it has seen the answer, and does not have the task: that was lost on the way
	if s, _ := state(); s != morningai.StateQueued {
		t.Errorf("what was lost on the way is %s", s)
	}
}

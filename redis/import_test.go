package redis_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// imported is a record that another engine made, of a task this one never saw.
func imported(state morningai.State) morningai.Record {
	id := specs(1)[0].ID
	at := time.Now().UTC().Truncate(time.Millisecond)
	return morningai.Record{Task: morningai.Task{ID: id, TraceID: id, Type: "work", Queue: "default", Priority: 5, State: state, MaxAttempts: 25,
		Timeout: time.Minute, Payload: json.RawMessage(`{"n":1}`), CreatedAt: at, Life: 1, Version: 1}}
}

// TestImportBesideTheHolder: a live task whose key another live task holds is
// taken over all the same; the holder keeps the key, and both run.
func TestImportBesideTheHolder(t *testing.T) {
	t.Parallel()
	e := open(t, redistest.Start(t).URL())
	session := join(t, e, 1)
	holder := specs(1)
	holder[0].UniqueKey = "k"
	enqueue(t, e, holder)
	late := imported(morningai.StateQueued)
	late.UniqueKey = "k"
	for _, want := range []morningai.ImportStatus{morningai.ImportAdded, morningai.ImportKept} {
		got, err := e.Import(t.Context(), []morningai.Record{late})
		if err != nil || got[0].Err != nil || got[0].Status != want || got[0].Task.State != morningai.StateQueued {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	held := func(by morningai.ID) {
		t.Helper()
		spec := specs(1)
		spec[0].UniqueKey = "k"
		got, err := e.Enqueue(t.Context(), spec)
		if err != nil || !got[0].Task.Duplicate || got[0].Task.ID != by {
			t.Fatalf("the key is held by %+v, %v", got[0].Task, err)
		}
	}
	held(holder[0].ID)
	grants := claim(t, e, session, 5, 0)
	if len(grants) != 2 {
		t.Fatalf("%d grants of two live tasks", len(grants))
	}
	// The end of the one without the key does not free it.
	for _, g := range grants {
		if g.Task.ID == late.Task.ID {
			finish(t, e, g)
		}
	}
	held(holder[0].ID)
	for _, g := range grants {
		if g.Task.ID != late.Task.ID {
			finish(t, e, g)
		}
	}
	next := specs(1)
	next[0].UniqueKey = "k"
	enqueue(t, e, next)
}

// TestImportOfAnEndedStranger: a task that ran elsewhere from start to end comes
// with all that is known of it, and is counted once.
func TestImportOfAnEndedStranger(t *testing.T) {
	t.Parallel()
	e := open(t, redistest.Start(t).URL())
	r := imported(morningai.StateSucceeded)
	at := r.Task.CreatedAt
	r.Task.Attempt, r.Task.Failures, r.Task.Version, r.Task.Result = 2, 1, 7, json.RawMessage(`{"ok":true}`)
	r.Task.Progress, r.Task.StartedAt, r.Task.FinishedAt = json.RawMessage(`0.5`), at.Add(2*time.Second), at.Add(3*time.Second)
	r.Claim, r.Lease, r.Node, r.Settled, r.UniqueKey = 2, 42, "away", morningai.OutcomeSucceeded, "k"
	r.Attempts = []morningai.Attempt{
		{Number: 1, Life: 1, Node: "away", StartedAt: at, FinishedAt: at.Add(time.Second), Outcome: morningai.OutcomeRetry, Error: &morningai.TaskError{Code: "boom", Message: "m"}, Stack: "s"},
		{Number: 2, Life: 1, Node: "away", StartedAt: at.Add(2 * time.Second), FinishedAt: at.Add(3 * time.Second), Outcome: morningai.OutcomeSucceeded},
	}
	r.Steps = map[string]json.RawMessage{"a": json.RawMessage(`1`), "b": json.RawMessage(`"two"`)}
	for i := range 120 {
		r.Logs = append(r.Logs, morningai.LogLine{Attempt: 1, At: at, Level: "info", Message: "line", Attrs: json.RawMessage(`{"i":` + string(rune('0'+i%10)) + `}`)})
	}
	for _, want := range []morningai.ImportStatus{morningai.ImportAdded, morningai.ImportKept} {
		got, err := e.Import(t.Context(), []morningai.Record{r})
		if err != nil || got[0].Err != nil || got[0].Status != want {
			t.Fatalf("%+v, %v", got, err)
		}
		stats, err := e.Stats(t.Context())
		if err != nil || stats.States[morningai.StateSucceeded] != 1 || stats.States[morningai.StateQueued]+stats.States[morningai.StateRunning] != 0 {
			t.Fatalf("counts %+v, %v", stats.States, err)
		}
	}
	page, err := e.Export(t.Context(), "", 10)
	if err != nil || len(page.Records) != 1 {
		t.Fatalf("%d records, %v", len(page.Records), err)
	}
	back := page.Records[0]
	back.Task.Fresh, back.Task.AsOf = "", time.Time{}
	if !reflect.DeepEqual(back, r) {
		t.Errorf("it comes back as\n%+v, not\n%+v", back, r)
	}
	h, err := e.History(t.Context(), r.Task.ID)
	if err != nil || !reflect.DeepEqual(h.Attempts, r.Attempts) || !reflect.DeepEqual(h.Logs, r.Logs) {
		t.Errorf("history %+v, %v", h, err)
	}
	// An ended task holds no key, and what its node reports late is a repeat.
	spec := specs(1)
	spec[0].UniqueKey = "k"
	enqueue(t, e, spec)
	report := morningai.Report{Lease: morningai.Lease{ID: r.Task.ID, Claim: 2, Lease: 42}, Outcome: morningai.OutcomeSucceeded, Result: r.Task.Result, Attempt: 2}
	if got, err := e.Finish(t.Context(), []morningai.Report{report}); err != nil || got[0].Err != nil || got[0].State != morningai.StateSucceeded {
		t.Errorf("a repeat of the imported outcome says %+v, %v", got, err)
	}
}

// TestFinishAfterReap: a claim that was taken back is settled as lost, so that
// its outcome is stale, whether or not the task was handed out again.
func TestFinishAfterReap(t *testing.T) {
	t.Parallel()
	e := open(t, redistest.Start(t).URL())
	session := join(t, e, 1)
	enqueue(t, e, specs(1))
	g := claim(t, e, session, 1, 0)[0]
	counter := beat(t, e, morningai.BeatRequest{Session: session, Holding: []morningai.Lease{g.Lease}}).Counter
	if got, err := e.Reap(t.Context(), []morningai.Observation{{Session: session, Counter: counter}}); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	page, err := e.Export(t.Context(), "", 1)
	if err != nil || page.Records[0].Settled != morningai.OutcomeLost || page.Records[0].Fence(g.Lease, morningai.OutcomeSucceeded) != morningai.FenceStale {
		t.Fatalf("%+v, %v", page.Records, err)
	}
	report := morningai.Report{Lease: g.Lease, Outcome: morningai.OutcomeSucceeded, Result: []byte(`1`), Attempt: 1}
	if got, err := e.Finish(t.Context(), []morningai.Report{report}); err != nil || !errors.Is(got[0].Err, morningai.ErrStale) {
		t.Fatalf("%+v, %v", got, err)
	}
	// As a whole record, its outcome still counts: an end goes over what has not
	// ended.
	r := page.Records[0]
	r.Task.State, r.Task.Result, r.Task.FinishedAt, r.Settled = morningai.StateSucceeded, json.RawMessage(`1`), time.Now().UTC().Truncate(time.Millisecond), morningai.OutcomeSucceeded
	got, err := e.Import(t.Context(), []morningai.Record{r})
	if err != nil || got[0].Err != nil || got[0].Status != morningai.ImportUpdated || got[0].Task.State != morningai.StateSucceeded {
		t.Fatalf("%+v, %v", got, err)
	}
	if left := claim(t, e, join(t, e, 2), 1, 0); len(left) != 0 {
		t.Fatalf("it is handed out after its end: %+v", left)
	}
}

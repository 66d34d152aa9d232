package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// An outcome of a task that Redis has lost is one of an unknown task, whatever the
// engine remembers of where it was: nothing is written of it.
func TestAnOutcomeAfterALoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	enqueue(t, e, specs(4))
	grants := claim(t, e, session, 4, 0)
	if len(grants) != 4 {
		t.Fatalf("%d grants", len(grants))
	}
	var reports []morningai.Report
	for i, g := range grants {
		r := morningai.Report{Lease: g.Lease, Node: "n", Attempt: g.Task.Attempt, StartedAt: g.Task.StartedAt, FinishedAt: time.Now(), Outcome: morningai.OutcomeSucceeded, Result: []byte("1")}
		if i%2 == 1 {
			r.Outcome, r.Result, r.Error, r.RunAt = morningai.OutcomeRetry, nil, &morningai.TaskError{Code: "x", Message: "y"}, time.Now().Add(time.Hour)
		}
		reports = append(reports, r)
	}
	server.Do("FLUSHALL")
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	verdicts, err := e.Finish(t.Context(), reports)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		if !errors.Is(v.Err, morningai.ErrNotFound) {
			t.Errorf("outcome %d of a lost task: %+v", i, v)
		}
	}
	stats, err := e.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for state, n := range stats.States {
		if n != 0 {
			t.Errorf("%d tasks are %s", n, state)
		}
	}
	if page, err := e.List(t.Context(), morningai.Filter{Limit: 10}); err != nil || len(page.Tasks) != 0 {
		t.Errorf("a list has %d tasks, %v", len(page.Tasks), err)
	}
}

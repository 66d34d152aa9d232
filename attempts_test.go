package morningai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/sqlite"
)

// How long an attempt waited is known from its task, or not at all.
func TestWaited(t *testing.T) {
	created := time.Now()
	for name, c := range map[string]struct {
		task    morningai.Task
		started time.Time
		want    time.Duration
		known   bool
	}{
		"at once":            {morningai.Task{CreatedAt: created, Attempt: 1, Version: 2}, created.Add(time.Second), time.Second, true},
		"due later":          {morningai.Task{CreatedAt: created, Attempt: 1, Version: 3}, created.Add(time.Second), 0, false},
		"a retry":            {morningai.Task{CreatedAt: created, Attempt: 2, Version: 5}, created.Add(time.Second), 0, false},
		"clocks that differ": {morningai.Task{CreatedAt: created, Attempt: 1, Version: 2}, created.Add(-time.Second), 0, true},
		"never started":      {morningai.Task{CreatedAt: created, Attempt: 1, Version: 2}, time.Time{}, 0, false},
	} {
		a := morningai.Attempted{Task: &c.task, Report: &morningai.Report{StartedAt: c.started}}
		if got, known := a.Waited(); got != c.want || known != c.known {
			t.Errorf("%s: %v, %v", name, got, known)
		}
	}
}

// Every attempt is told once it is on record, with how long it waited if that is
// known, whatever the engine.
func TestOnAttempt(t *testing.T) {
	embedded, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := redis.Open(t.Context(), redistest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	for name, engine := range map[string]morningai.Engine{"sqlite": embedded, "redis": shared} {
		t.Run(name, func(t *testing.T) {
			defer engine.Close()
			app := morningai.New(engine, morningai.WithLogger(slog.New(slog.DiscardHandler)))
			app.HandleFunc("flaky", func(_ context.Context, task *morningai.Task) (json.RawMessage, error) {
				if task.Attempt == 1 && name == "sqlite" {
					return nil, morningai.RetryAfter(time.Millisecond, errors.New("not yet"))
				}
				return json.RawMessage(`1`), nil
			})
			told := make(chan string, 4)
			app.OnAttempt(func(a morningai.Attempted) {
				_, known := a.Waited()
				told <- fmt.Sprintf("%d %s %s %v", a.Task.Attempt, a.Report.Outcome, a.State, known)
			})
			if err := app.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer app.Stop(t.Context())
			for _, delay := range []time.Duration{0, 100 * time.Millisecond} {
				spec := morningai.NewTaskSpec("flaky", []byte("1"))
				morningai.Delay(delay)(&spec)
				if _, err := app.Enqueue(t.Context(), spec); err != nil {
					t.Fatal(err)
				}
				wants := []string{fmt.Sprintf("1 succeeded succeeded %v", delay == 0)}
				if name == "sqlite" {
					wants = []string{fmt.Sprintf("1 retry scheduled %v", delay == 0), "2 succeeded succeeded false"}
				}
				for _, want := range wants {
					if got := <-told; got != want {
						t.Errorf("after %v: got %s, want %s", delay, got, want)
					}
				}
			}
		})
	}
}

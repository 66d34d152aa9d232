//go:build unix

package redis_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

const shortLease = time.Second

// held is a task type whose handler waits until it is let go.
type held struct {
	starts atomic.Int64
	free   chan struct{}
}

// node runs workers over an engine of its own, as a process would.
func node(t *testing.T, url, name string, h *held) *morningai.App {
	t.Helper()
	e := open(t, url, redis.WithTimeout(shortLease), redis.WithBlock(500*time.Millisecond))
	app := morningai.New(e, morningai.WithNode(name), morningai.WithLease(shortLease), morningai.WithConcurrency(4))
	app.HandleFunc("hold", func(ctx context.Context, _ *morningai.Task) (json.RawMessage, error) {
		h.starts.Add(1)
		select {
		case <-h.free:
			return json.RawMessage(`"` + name + `"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	app.HandleFunc("quick", func(context.Context, *morningai.Task) (json.RawMessage, error) { return json.RawMessage(`1`), nil })
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := app.Stop(ctx); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
	})
	return app
}

// pass lets time pass: how long things last is what these tests are about.
func pass(d time.Duration) { <-time.After(d) }

func submit(t *testing.T, app *morningai.App, taskType string) *morningai.Task {
	t.Helper()
	task, err := app.Enqueue(t.Context(), morningai.NewTaskSpec(taskType, nil))
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// wantOnce checks that a held task was started once and ends after it is let
// go, its only attempt the first.
func wantOnce(t *testing.T, app *morningai.App, h *held, id morningai.ID) {
	t.Helper()
	if n := h.starts.Load(); n != 1 {
		t.Fatalf("the task was started %d times", n)
	}
	close(h.free)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	task, err := app.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if task.State != morningai.StateSucceeded || task.Attempt != 1 || task.Failures != 0 {
		t.Fatalf("the task ended as %s after attempt %d with %d failures", task.State, task.Attempt, task.Failures)
	}
}

// TestServerFrozen stops the server for three lease times: leases freeze with
// it, and nothing is started again.
func TestServerFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h := &held{free: make(chan struct{})}
	one := node(t, server.URL(), "one", h)
	two := node(t, server.URL(), "two", h)
	task := submit(t, one, "hold")
	redistest.Until(t, "the task to start", func() bool { return h.starts.Load() == 1 })
	server.Freeze()
	pass(3 * shortLease)
	server.Thaw()
	pass(3 * shortLease) // time enough for a wrong decision
	wantOnce(t, two, h, task.ID)
}

// TestServerClockJumps moves the server's clock by an hour forwards, then back
// to an hour behind: nothing happens.
func TestServerClockJumps(t *testing.T) {
	t.Parallel()
	server, clock := redistest.StartWithClock(t)
	h := &held{free: make(chan struct{})}
	one := node(t, server.URL(), "one", h)
	two := node(t, server.URL(), "two", h)
	task := submit(t, one, "hold")
	redistest.Until(t, "the task to start", func() bool { return h.starts.Load() == 1 })
	for _, offset := range []time.Duration{time.Hour, -time.Hour} {
		clock.Set(offset)
		seconds := server.Do("TIME")
		if got := time.Until(parseTime(t, seconds)); got-offset > time.Minute || offset-got > time.Minute {
			t.Fatalf("the server's clock is off by %v, want %v", got, offset)
		}
		pass(2 * shortLease)
		quick := submit(t, two, "quick")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		done, err := one.Wait(ctx, quick.ID)
		cancel()
		if err != nil || done.State != morningai.StateSucceeded {
			t.Fatalf("with the clock at %v a new task is %v, %v", offset, done, err)
		}
	}
	wantOnce(t, two, h, task.ID)
}

func parseTime(t *testing.T, reply string) time.Time {
	t.Helper()
	var seconds int64
	for _, c := range reply {
		if c < '0' || c > '9' {
			break
		}
		seconds = seconds*10 + int64(c-'0')
	}
	return time.Unix(seconds, 0)
}

// TestRateWithJumpingClock: a rate limit goes on at its pace when the server's
// clock is set back, or forwards, by an hour.
func TestRateWithJumpingClock(t *testing.T) {
	t.Parallel()
	server, clock := redistest.StartWithClock(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	if _, err := e.SetQueue(t.Context(), "default", morningai.QueueChange{Rate: &morningai.Rate{Count: 1, Per: time.Second}}); err != nil {
		t.Fatal(err)
	}
	enqueue(t, e, specs(20))
	for _, offset := range []time.Duration{0, -time.Hour, time.Hour, 0} {
		clock.Set(offset)
		if got := claim(t, e, session, 5, 20*time.Second); len(got) != 1 {
			t.Fatalf("with the clock at %v %d tasks start at once", offset, len(got))
		}
		if got := claim(t, e, session, 5, 0); len(got) != 0 {
			t.Fatalf("with the clock at %v %d more start within the second", offset, len(got))
		}
	}
}

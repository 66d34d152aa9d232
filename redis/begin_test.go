//go:build unix

package redis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// everyMethod calls all methods that need Redis, at once, and returns what each
// says and how long the slowest took.
func everyMethod(ctx context.Context, e *redis.Engine) (map[string]error, time.Duration) {
	id := specs(1)[0].ID
	session := morningai.SessionID{9, 9}
	calls := map[string]func() error{
		"enqueue": func() error { _, err := e.Enqueue(ctx, specs(2)); return err },
		"claim": func() error {
			_, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
			return err
		},
		"finish": func() error {
			_, err := e.Finish(ctx, []morningai.Report{{Lease: morningai.Lease{ID: id, Claim: 1, Lease: 1}, Outcome: morningai.OutcomeSucceeded}})
			return err
		},
		"checkpoint": func() error {
			_, err := e.Checkpoint(ctx, []morningai.Checkpoint{{Lease: morningai.Lease{ID: id}, Kind: morningai.CheckpointProgress, Data: []byte(`1`)}})
			return err
		},
		"beat": func() error { _, err := e.Beat(ctx, morningai.BeatRequest{Session: session}); return err },
		"reap": func() error { _, err := e.Reap(ctx, []morningai.Observation{{Session: session}}); return err },
		"command": func() error {
			_, err := e.Command(ctx, []morningai.Command{{Kind: morningai.CommandRun, ID: id}})
			return err
		},
		"get":     func() error { _, err := e.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{id}}); return err },
		"history": func() error { _, err := e.History(ctx, id); return err },
		"list":    func() error { _, err := e.List(ctx, morningai.Filter{}); return err },
		"stats":   func() error { _, err := e.Stats(ctx); return err },
		"events":  func() error { _, err := e.Events(ctx, morningai.EventsRequest{}); return err },
		"queue":   func() error { _, err := e.SetQueue(ctx, "q", morningai.QueueChange{Paused: new(false)}); return err },
		"export":  func() error { _, err := e.Export(ctx, "", 10); return err },
		"import": func() error {
			_, err := e.Import(ctx, []morningai.Record{{Task: morningai.Task{ID: id, TraceID: id, Type: "work", Queue: "q", MaxAttempts: 1,
				Timeout: time.Second, State: morningai.StateQueued, Life: 1, CreatedAt: time.Now()}}})
			return err
		},
		"probe": func() error { return e.Probe(ctx) },
	}
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		slowest time.Duration
	)
	out := map[string]error{}
	for name, call := range calls {
		all.Go(func() {
			began := time.Now()
			err := call()
			mu.Lock()
			defer mu.Unlock()
			out[name], slowest = err, max(slowest, time.Since(began))
		})
	}
	all.Wait()
	return out, slowest
}

// wantAll checks that every method answered with the same kind of error.
func wantAll(t *testing.T, got map[string]error, want error) {
	t.Helper()
	for name, err := range got {
		if !errors.Is(err, want) {
			t.Errorf("%s says %v, want %v", name, err, want)
		}
	}
}

// TestDeferredStart opens an engine while there is no Redis: everything says so
// until it comes, and works from then on.
func TestDeferredStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	e := open(t, server.URL(), redis.WithDeferredStart(), redis.WithTimeout(time.Second))
	got, _ := everyMethod(t.Context(), e)
	wantAll(t, got, redis.ErrUnavailable)
	if text := got["probe"].Error(); !strings.Contains(text, "nothing accepts connections") {
		t.Fatalf("the cause is missing in %q", text)
	}
	server.Restart()
	redistest.Until(t, "the engine to begin", func() bool { return e.Probe(t.Context()) == nil })
	session := join(t, e, 1)
	enqueue(t, e, specs(5))
	finish(t, e, claim(t, e, session, 5, 0)...)
	if n := e.Losses(); n != 0 {
		t.Fatalf("%d losses", n)
	}
	// What a node remembers of the data is not what it has seen.
	data := e.Capabilities().Data
	server.Freeze()
	next := open(t, server.URL(), redis.WithDeferredStart(), redis.WithTimeout(time.Second), redis.WithDataSet(data))
	if err := next.Probe(t.Context()); !errors.Is(err, redis.ErrUnavailable) {
		t.Error(err)
	}
	if got := next.Capabilities().Data; got != (morningai.DataSet{}) {
		t.Errorf("without a Redis the data are %+v", got)
	}
	server.Thaw()
	redistest.Until(t, "the next engine to begin", func() bool { return next.Probe(t.Context()) == nil })
	if got := next.Capabilities().Data; data.ID.IsZero() || !got.Same(data) {
		t.Errorf("the data are %+v, and were %+v", got, data)
	}
	for _, url := range []string{"redis://h?partitions=0", "nonsense", "rediss://h?ca=/no/such/file"} {
		if _, err := redis.Open(t.Context(), url, redis.WithDeferredStart()); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestDeferredStartRefuses: a server that must not be used is refused at every
// call, with its reason, until it is put right; however many ask, it is looked
// at a few times a second.
func TestDeferredStartRefuses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	e := open(t, server.URL(), redis.WithDeferredStart())
	got, _ := everyMethod(t.Context(), e)
	wantAll(t, got, redis.ErrWrongRedis)
	if text := got["enqueue"].Error(); !strings.Contains(text, "noeviction") {
		t.Fatalf("no advice in %q", text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, before := commands(t, server)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := e.Probe(ctx); err == nil {
					t.Error("a probe passes")
				}
			}
		})
	}
	all.Wait()
	_, after := commands(t, server)
	const sections = 3
	if n := (after["cmdstat_info"] - before["cmdstat_info"]) / sections; n < 2 || n > 12 {
		t.Fatalf("in two seconds the server was looked at %d times", n)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	redistest.Until(t, "the engine to begin", func() bool { return e.Probe(t.Context()) == nil })
	enqueue(t, e, specs(1))
}

// TestDeferredStartFrozen: Redis accepts connections and says nothing. Calls
// end in time, Close does too, and after a thaw the engine begins.
func TestDeferredStartFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Freeze()
	e, err := redis.Open(t.Context(), server.URL(), redis.WithDeferredStart(), redis.WithTimeout(600*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	got, slowest := everyMethod(t.Context(), e)
	wantAll(t, got, redis.ErrUnavailable)
	if slowest > 2*time.Second {
		t.Errorf("a call took %v", slowest)
	}
	began := time.Now()
	if err := e.Close(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("close: %v after %v", err, time.Since(began))
	}
	if err := e.Probe(t.Context()); !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("after close a probe says %v", err)
	}
	later := open(t, server.URL(), redis.WithDeferredStart(), redis.WithTimeout(600*time.Millisecond))
	if err := later.Probe(t.Context()); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("a probe of a frozen server says %v", err)
	}
	patient := open(t, server.URL(), redis.WithDeferredStart())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began = time.Now()
	if err := patient.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("a probe of 200 ms says %v after %v", err, time.Since(began))
	}
	server.Thaw()
	redistest.Until(t, "the engine to begin", func() bool { return later.Probe(t.Context()) == nil })
	never := open(t, "redis://127.0.0.1:1", redis.WithDeferredStart())
	if c := never.Capabilities(); c.Name != "redis" {
		t.Errorf("capabilities %+v", c)
	}
}

// TestDeferredContract runs the whole suite with an engine that begins at its
// first call.
func TestDeferredContract(t *testing.T) {
	t.Parallel()
	contract(t, redistest.Start(t).URL(), redis.WithDeferredStart())
}

// TestPrepare: an id made ahead is the one the task gets, in the partition of
// its unique key.
func TestPrepare(t *testing.T) {
	t.Parallel()
	e := open(t, redistest.Start(t).URL()+"?partitions=16")
	for i := range 40 {
		s := morningai.NewTaskSpec("work", nil)
		s.UniqueKey = strings.Repeat("k", i+1)
		if err := e.Prepare(&s); err != nil {
			t.Fatal(err)
		}
		if s.ID.IsZero() || s.TraceID != s.ID || string(s.Payload) != "null" {
			t.Fatalf("prepared: %+v", s)
		}
		again := s
		if err := e.Prepare(&again); err != nil || again.ID != s.ID {
			t.Fatalf("prepared twice: %v, %v", again.ID, err)
		}
		for n := range 2 {
			got, err := e.Enqueue(t.Context(), []morningai.TaskSpec{s})
			if err != nil || got[0].Err != nil || got[0].Task.ID != s.ID || got[0].Existing != (n == 1) {
				t.Fatalf("enqueue %d: %+v, %v", n, got, err)
			}
		}
		plain := morningai.NewTaskSpec("work", nil)
		plain.UniqueKey = s.UniqueKey
		if got, err := e.Enqueue(t.Context(), []morningai.TaskSpec{plain}); err != nil || !got[0].Task.Duplicate || got[0].Task.ID != s.ID {
			t.Fatalf("the key is not seen: %+v, %v", got, err)
		}
	}
	bad := morningai.TaskSpec{Type: "no spaces"}
	if err := e.Prepare(&bad); !errors.Is(err, morningai.ErrInvalidInput) || !bad.ID.IsZero() {
		t.Fatalf("a bad spec: %+v, %v", bad, err)
	}
}

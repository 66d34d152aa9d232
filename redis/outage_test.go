//go:build unix

package redis_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// TestKilledIsToldAtOnce: when the network tells that Redis is gone, nothing
// waits for the timeout.
func TestKilledIsToldAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes")
	e := open(t, server.URL(), redis.WithTimeout(time.Minute))
	session := join(t, e, 1)
	enqueue(t, e, specs(3))
	grants := claim(t, e, session, 1, 0)
	server.Kill()
	for range 3 {
		got, slowest := everyMethod(t.Context(), e)
		wantAll(t, got, redis.ErrUnavailable)
		if slowest > 20*time.Second {
			t.Fatalf("a call took %v", slowest)
		}
	}
	server.Restart()
	redistest.Until(t, "Redis to be back", func() bool { return e.Probe(t.Context()) == nil })
	finish(t, e, append(grants, claim(t, e, session, 2, 0)...)...)
	if e.Losses() != 0 {
		t.Fatalf("%d losses", e.Losses())
	}
}

// TestFrozenKeepsBudgets freezes the server with more calls under way than the
// client can hold: every method ends in time, a probe with its own deadline by
// that, and all is well after the thaw.
func TestFrozenKeepsBudgets(t *testing.T) {
	t.Parallel()
	const timeout, slack = time.Second, 2 * time.Second // slack for a busy machine
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithTimeout(timeout))
	patient := open(t, server.URL()+"?prefix=patient") // of which only the callers are in a hurry
	session := join(t, e, 1)
	list := specs(4)
	enqueue(t, e, list)
	server.Freeze()
	flood, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 3000)
	for range cap(done) {
		go func() {
			_, err := e.Get(flood, morningai.GetRequest{IDs: []morningai.ID{list[0].ID}})
			done <- err
		}()
	}
	for range 3 {
		got, slowest := everyMethod(t.Context(), e)
		wantAll(t, got, redis.ErrUnavailable)
		if slowest > timeout+slack {
			t.Errorf("with a budget of %v a call took %v", timeout, slowest)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		began := time.Now()
		if err := e.Probe(ctx); err == nil || time.Since(began) > 400*time.Millisecond+slack {
			t.Errorf("a probe of 400 ms says %v after %v", err, time.Since(began))
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), 400*time.Millisecond)
		began = time.Now()
		if got, _ := everyMethod(ctx, patient); time.Since(began) > 400*time.Millisecond+slack {
			t.Errorf("calls of 400 ms took %v: %v", time.Since(began), got)
		}
		cancel()
	}
	for range cap(done) {
		if err := <-done; !errors.Is(err, redis.ErrUnavailable) {
			t.Fatalf("a read of the flood says %v", err)
		}
	}
	server.Thaw()
	redistest.Until(t, "Redis to be back", func() bool { return e.Probe(t.Context()) == nil })
	beat(t, e, morningai.BeatRequest{Session: session})
	finish(t, e, claim(t, e, session, 4, 0)...)
	if e.Losses() != 0 {
		t.Fatalf("%d losses", e.Losses())
	}
}

// TestGivenUpCallsAreBounded keeps 200 calls a second on a frozen server: what
// they leave behind does not grow with the outage. It counts goroutines, so it
// runs alone.
func TestGivenUpCallsAreBounded(t *testing.T) {
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithTimeout(time.Second))
	server.Freeze()
	base := runtime.NumGoroutine()
	var most int
	var said atomic.Int64
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	const calls = 1600
	done := make(chan struct{}, calls)
	for i := range calls {
		<-tick.C
		go func() {
			defer func() { done <- struct{}{} }()
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			var err error
			if i%2 == 0 {
				_, err = e.Enqueue(ctx, specs(1))
			} else {
				_, err = e.Stats(ctx)
			}
			if err != nil {
				said.Add(1)
			}
		}()
		most = max(most, runtime.NumGoroutine()-base)
	}
	for range calls {
		<-done
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("at most %d goroutines more, heap in use %d MiB", most, mem.HeapInuse>>20)
	if said.Load() != calls {
		t.Errorf("%d of %d calls on a frozen server failed", said.Load(), calls)
	}
	if most > 400 { // 200 ms of callers, and what the client holds until the connection is given up
		t.Errorf("%d goroutines pile up", most)
	}
	server.Thaw()
	redistest.Until(t, "the goroutines to end", func() bool { return runtime.NumGoroutine()-base < 30 })
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	enqueue(t, e, specs(1))
	if e.Losses() != 0 {
		t.Fatalf("%d losses", e.Losses())
	}
}

// probing probes every 100 ms, as a detector does, until one passes; the answer
// is how long that took.
func probing(t *testing.T, e *redis.Engine, from time.Time) time.Duration {
	t.Helper()
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		err := e.Probe(ctx)
		cancel()
		if err == nil {
			tick.Stop()
			return time.Since(from)
		}
		if time.Since(from) > 20*time.Second {
			t.Fatalf("no probe passes: %v", err)
		}
	}
}

// TestReconnects measures how soon a probe passes after Redis is back: there is
// no back-off that an outage could have driven up.
func TestReconnects(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	narrow := redistest.Start(t, "--tcp-backlog", "1")
	full := func() { // not even a connection can be made
		narrow.Freeze()
		for {
			c, err := net.DialTimeout("tcp", narrow.Addr(), 300*time.Millisecond)
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	const most = 2 * time.Second // a tenth of it is usual; the machine may be busy
	for name, c := range map[string]struct {
		url       string
		away, now func()
	}{
		"killed":     {server.URL(), server.Kill, server.Restart},
		"frozen":     {server.URL(), server.Freeze, server.Thaw},
		"full":       {narrow.URL(), full, narrow.Thaw},
		"black hole": {"redis://" + proxy.Addr(), proxy.BlackHole, func() {}},
	} {
		e := open(t, c.url, redis.WithTimeout(2*time.Second))
		if err := e.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.away()
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			err := e.Probe(ctx)
			<-ctx.Done()
			cancel()
			if err != nil && name == "black hole" {
				break
			}
			if err == nil && name != "black hole" {
				t.Fatalf("%s: a probe passes", name)
			}
		}
		back := time.Now()
		c.now()
		if name == "killed" {
			back = time.Now() // it accepts again
		}
		took := probing(t, e, back)
		t.Logf("%s: the first probe passed after %v", name, took)
		if took > most {
			t.Errorf("%s: it took %v to reconnect", name, took)
		}
		enqueue(t, e, specs(1))
	}
}

// TestDoubtfulLaneGoesOn: an enqueue whose answer does not come leaves the next
// ones waiting no longer than they want, and the lane goes on by itself.
func TestDoubtfulLaneGoesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithTimeout(10*time.Second))
	enqueue(t, e, specs(1))
	server.Freeze()
	list := specs(6)
	for i := range list {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		began := time.Now()
		_, err := e.Enqueue(ctx, list[i:i+1])
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
			t.Fatalf("enqueue %d: %v after %v", i, err, time.Since(began))
		}
	}
	server.Thaw()
	got, err := e.Enqueue(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if r.Err != nil || r.Task.ID != list[i].ID {
			t.Fatalf("receipt %d: %+v", i, r)
		}
	}
	stats, err := e.Stats(t.Context())
	if err != nil || stats.States[morningai.StateQueued] != 7 || e.Losses() != 0 {
		t.Fatalf("counts %v, losses %d, %v", stats.States, e.Losses(), err)
	}
}

package httpapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RC918/morningai"
)

// named is an engine that is never asked for more than its name.
type named struct{ morningai.Engine }

func (named) Capabilities() morningai.Capabilities { return morningai.Capabilities{} }

// How a Redis may go, and what a probe of it meets.
var absences = map[string]func(ctx context.Context, back <-chan struct{}) error{
	"refuses": func(context.Context, <-chan struct{}) error { return errors.New("connection refused") },
	"is frozen": func(ctx context.Context, back <-chan struct{}) error {
		select {
		case <-back: // what was sent is answered
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	},
	"swallows": func(ctx context.Context, _ <-chan struct{}) error { // what was sent is never answered
		<-ctx.Done()
		return ctx.Err()
	},
	"is slow to refuse": func(ctx context.Context, _ <-chan struct{}) error {
		select {
		case <-time.After(900 * time.Millisecond):
			return errors.New("no route to host")
		case <-ctx.Done():
			return ctx.Err()
		}
	},
}

// Whoever asks is told within 1.5 s that Redis has gone and that it is back,
// whenever in the life of an answer that happens, and nobody waits for an answer
// for more than a second.
func TestHealthOfRedisTurnsInTime(t *testing.T) {
	for name, absence := range absences {
		for at := time.Duration(0); at < 2*time.Second; at += 130 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) { turnsInTime(t, name, absence, at) })
		}
	}
}

func turnsInTime(t *testing.T, name string, absence func(context.Context, <-chan struct{}) error, at time.Duration) {
	const inTime, patience, every = 1500 * time.Millisecond, time.Second, 50 * time.Millisecond
	f := &scripted{Engine: named{}}
	a := &api{client: morningai.NewClient(f)}
	a.setProbes(f)
	began := time.Now()
	gone := began.Add(time.Second + at)
	returned := gone.Add(2*time.Second + at)
	end := returned.Add(3 * time.Second)
	back := make(chan struct{})
	time.AfterFunc(gone.Sub(began), func() {
		f.set(func() { f.shared = func(ctx context.Context) error { return absence(ctx, back) } })
	})
	time.AfterFunc(returned.Sub(began), func() {
		close(back)
		f.set(func() { f.shared = nil })
	})
	var askers sync.WaitGroup
	var mu sync.Mutex
	var down, up time.Time // when it was told first
	for time.Now().Before(end) {
		askers.Go(func() {
			asked := time.Now()
			ans, err := a.healthRedis(&call{w: httptest.NewRecorder(), r: httptest.NewRequest("GET", "/health/redis", nil)})
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case down.IsZero() && ans.status == 503:
				down = now
			case up.IsZero() && now.After(returned) && ans.status == 200:
				up = now
			}
			switch wrong := name + ": %d after %v, Redis went after %v and came back after %v"; {
			case err != nil:
				t.Error(err)
			case now.Sub(asked) > patience:
				t.Errorf("Redis %s: an answer took %v", name, now.Sub(asked))
			case now.Before(gone) && ans.status != 200,
				now.After(gone.Add(inTime)) && now.Before(returned) && ans.status != 503,
				now.After(returned.Add(inTime)) && ans.status != 200:
				t.Errorf("Redis "+wrong, ans.status, now.Sub(began), gone.Sub(began), returned.Sub(began))
			}
		})
		<-time.After(every) // of the bubble's own time
	}
	askers.Wait()
	if down.IsZero() || down.Sub(gone) > inTime || up.IsZero() || up.Sub(returned) > inTime {
		t.Errorf("Redis %s: told after %v, its return after %v", name, down.Sub(gone), up.Sub(returned))
	}
}

// A probe that is overdue is not waited for again.
func TestOverdueProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		f := &scripted{Engine: named{}, shared: func(context.Context) error { <-back; return nil }}
		a := &api{client: morningai.NewClient(f)}
		a.setProbes(f)
		for i, want := range []time.Duration{redisPatience, 0, 0} {
			asked := time.Now()
			if _, err := a.redisProber.check(t.Context()); err == nil || time.Since(asked) != want {
				t.Errorf("ask %d: %v after %v", i, err, time.Since(asked))
			}
		}
		close(back)
		synctest.Wait()
		if since, err := a.redisProber.check(t.Context()); err != nil || !since.IsZero() {
			t.Errorf("afterwards: %v since %v", err, since)
		}
	})
}

// A good answer is as old as its question.
func TestSlowAnswersAreOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 700 * time.Millisecond
		f := &scripted{Engine: named{}, shared: func(context.Context) error { <-time.After(slow); return nil }}
		a := &api{client: morningai.NewClient(f)}
		a.setProbes(f)
		for range 2 {
			asked := time.Now()
			if _, err := a.redisProber.check(t.Context()); err != nil || time.Since(asked) != slow {
				t.Errorf("%v after %v", err, time.Since(asked))
			}
		}
	})
}

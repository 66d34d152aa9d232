package morningai_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// cutOff is an engine whose beats stop being answered.
func cutOff(t *testing.T, away *atomic.Bool) *hooks {
	return &hooks{Engine: openEngine(t), beat: func(ctx context.Context, req morningai.BeatRequest, next morningai.Engine) (morningai.BeatReply, error) {
		if away.Load() && !req.Leaving {
			return morningai.BeatReply{}, errors.New("no route to host")
		}
		return next.Beat(ctx, req)
	}}
}

// An exclusive handler is stopped before the others may call its worker dead,
// which only the task or only the type may ask for; others go on. Its attempt is
// no failure, and the task runs again once the worker is surely alive.
func TestExclusiveHandlersStopInTime(t *testing.T) {
	const lease = 2 * time.Second
	var away atomic.Bool
	app := morningai.New(cutOff(t, &away), quiet, morningai.WithLease(lease), morningai.WithExclusive("careful"))
	type stop struct {
		at    time.Time
		cause error
	}
	stops, running := make(chan stop, 2), make(chan string, 4)
	end := make(chan struct{})
	body := func(name string) func(context.Context, int) (int, error) {
		return func(ctx context.Context, _ int) (int, error) {
			running <- name
			if task, _ := morningai.CurrentTask(ctx); task.Attempt > 1 {
				return task.Attempt, nil
			}
			select {
			case <-ctx.Done():
				stops <- stop{time.Now(), context.Cause(ctx)}
				return 0, ctx.Err()
			case <-end:
				return 1, nil
			}
		}
	}
	careful := morningai.Handle(app, "careful", body("careful"))
	plain := morningai.Handle(app, "plain", body("plain"))
	start(t, app)
	byType := must(careful.Enqueue(t.Context(), 0))(t)
	byTask := must(plain.Enqueue(t.Context(), 0, morningai.Exclusive()))(t)
	other := must(plain.Enqueue(t.Context(), 0))(t)
	for range 3 {
		<-running
	}
	away.Store(true)
	cut := time.Now()
	for range 2 {
		s := <-stops
		if !errors.Is(s.cause, morningai.ErrContactLost) {
			t.Errorf("the handler was stopped because of %v", s.cause)
		}
		// The last answered beat was sent before the cut, so that this is late.
		if took := s.at.Sub(cut); took >= lease {
			t.Errorf("the handler was stopped %v after the cut, with a lease of %v", took, lease)
		}
	}
	// The claim that follows is answered, but does not start anything.
	away.Store(false)
	for name, task := range map[string]*morningai.Task{"by type": byType, "by task": byTask} {
		if v, err := careful.Result(t.Context(), task.ID); err != nil || v < 2 {
			t.Errorf("%s: attempt %d, %v", name, v, err)
		}
		if got := attempts(t, app, task.ID); got[0] != morningai.OutcomeReleased {
			t.Errorf("%s: attempts %v", name, got)
		}
		if got := must(app.Get(t.Context(), task.ID))(t); got.Failures != 0 {
			t.Errorf("%s: %d failures", name, got.Failures)
		}
	}
	close(end)
	if v, err := plain.Result(t.Context(), other.ID); err != nil || v != 1 {
		t.Errorf("the task that is not exclusive: attempt %d, %v", v, err)
	}
}

// A worker without contact for that long does not start an exclusive task that a
// claim has still brought.
func TestExclusiveTasksDoNotStartWithoutContact(t *testing.T) {
	const lease = 200 * time.Millisecond
	var away atomic.Bool
	refused := make(chan struct{}, 1000)
	engine := cutOff(t, &away)
	beat := engine.beat
	engine.beat = func(ctx context.Context, req morningai.BeatRequest, next morningai.Engine) (morningai.BeatReply, error) {
		reply, err := beat(ctx, req, next)
		if err != nil {
			refused <- struct{}{}
		}
		return reply, err
	}
	app := morningai.New(engine, quiet, morningai.WithLease(lease))
	var early atomic.Bool
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) {
		early.Store(early.Load() || away.Load())
		return 1, nil
	})
	start(t, app)
	away.Store(true)
	for range 6 { // four in a lease
		<-refused
	}
	task := must(job.Enqueue(t.Context(), 0, morningai.Exclusive()))(t)
	for got := attempts(t, app, task.ID); len(got) < 2 && !early.Load(); got = attempts(t, app, task.ID) {
		<-refused
	}
	away.Store(false)
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != 1 {
		t.Errorf("result %d, %v", v, err)
	}
	if early.Load() {
		t.Error("the exclusive task has started without contact")
	}
}

// What the node's own journal has handed out is kept by a beat that nobody else
// has seen; what others may take over is not.
func TestExclusiveTasksOfTheJournalGoOn(t *testing.T) {
	const lease = 200 * time.Millisecond
	for name, own := range map[string]bool{"the journal's": true, "the shared engine's": false} {
		t.Run(name, func(t *testing.T) {
			var alone atomic.Int32
			engine := &hooks{Engine: openEngine(t),
				beat: func(ctx context.Context, req morningai.BeatRequest, next morningai.Engine) (morningai.BeatReply, error) {
					reply, err := next.Beat(ctx, req)
					if reply.Alone = len(req.Holding) > 0; reply.Alone {
						alone.Add(1)
					}
					return reply, err
				},
				claim: func(ctx context.Context, req morningai.ClaimRequest, next morningai.Engine) (morningai.ClaimReply, error) {
					reply, err := next.Claim(ctx, req)
					for i := range reply.Grants {
						reply.Grants[i].Own = own
					}
					return reply, err
				}}
			app := morningai.New(engine, quiet, morningai.WithLease(lease))
			job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (bool, error) {
				tick := time.NewTicker(lease / 8)
				defer tick.Stop()
				for alone.Load() < 12 { // three leases
					select {
					case <-ctx.Done():
						return false, nil
					case <-tick.C:
					}
				}
				return true, nil
			})
			start(t, app)
			task := must(job.Enqueue(t.Context(), 0, morningai.Exclusive()))(t)
			if through, err := job.Result(t.Context(), task.ID); err != nil || through != own {
				t.Errorf("it ran to its end: %v, %v", through, err)
			}
		})
	}
}

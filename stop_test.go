package morningai_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

func TestStartRefusesWrongConfiguration(t *testing.T) {
	engine := openEngine(t)
	noop := func(context.Context, int) (int, error) { return 0, nil }
	for _, c := range []struct {
		name, want string
		opts       []morningai.AppOption
		declare    func(*morningai.App)
	}{
		{name: "a type twice", want: "task type mail", declare: func(a *morningai.App) {
			morningai.Handle(a, "mail", noop)
			morningai.Handle(a, "mail", noop)
		}},
		{name: "a type that is no name", want: "must be 1 to 128", declare: func(a *morningai.App) { morningai.Handle(a, "a b", noop) }},
		{name: "a nil handler", want: "task type mail is nil", declare: func(a *morningai.App) { a.HandleFunc("mail", nil) }},
		{name: "a nil typed handler", want: "task type mail is nil", declare: func(a *morningai.App) { morningai.Handle[int, int](a, "mail", nil) }},
		{name: "no slot", want: "concurrency", opts: []morningai.AppOption{morningai.WithConcurrency(0)}},
		{name: "a queue without weight", want: "weight", opts: []morningai.AppOption{morningai.WithQueues(map[string]int{"mail": 0})}},
		{name: "a queue that is no name", want: "queues", opts: []morningai.AppOption{morningai.WithQueues(map[string]int{"": 1})}},
		{name: "a lease too short", want: "lease", opts: []morningai.AppOption{morningai.WithLease(time.Millisecond)}},
		{name: "a negative grace time", want: "grace", opts: []morningai.AppOption{morningai.WithGrace(-1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := morningai.New(engine, append(c.opts, quiet)...)
			if c.declare != nil {
				c.declare(app)
			}
			err := app.Start(t.Context())
			if !errors.Is(err, morningai.ErrInvalidInput) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Start: %v, want it to name %s", err, c.want)
			}
			if err := app.Stop(t.Context()); err != nil {
				t.Errorf("Stop after a failed start: %v", err)
			}
		})
	}
	if err := morningai.New(nil, quiet).Start(t.Context()); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("an app without an engine: %v", err)
	}
}

func TestStartAndStopRepeated(t *testing.T) {
	app := newApp(t)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app.Start(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a context that has ended: %v", err)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatalf("Start after a failed one: %v", err)
	}
	if err := app.Start(t.Context()); !errors.Is(err, morningai.ErrWrongState) {
		t.Errorf("a second Start: %v", err)
	}
	for range 2 {
		if err := app.Stop(t.Context()); err != nil {
			t.Errorf("Stop: %v", err)
		}
	}
	if err := app.Start(t.Context()); !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("Start after Stop: %v", err)
	}
}

func TestStopWaitsForHandlers(t *testing.T) {
	app := newApp(t, morningai.WithGrace(time.Minute))
	started, release := make(chan struct{}), make(chan struct{})
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (string, error) {
		close(started)
		select {
		case <-release:
			return "done", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0))(t)
	<-started
	var stops sync.WaitGroup
	for range 3 {
		stops.Go(func() {
			if err := app.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			// Whichever Stop this is, the outcome is recorded when it returns.
			if got, err := app.Get(context.Background(), task.ID); err != nil || got.State != morningai.StateSucceeded {
				t.Errorf("after Stop the task is %+v, %v", got, err)
			}
		})
	}
	close(release)
	stops.Wait()
}

func TestStopReleasesWhatDoesNotFinish(t *testing.T) {
	engine := openEngine(t)
	app := morningai.New(engine, quiet, morningai.WithGrace(0))
	started := make(chan struct{}, 3)
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (string, error) {
		started <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task := must(job.Enqueue(t.Context(), 0, morningai.MaxAttempts(1)))(t)
	<-started
	if err := app.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := must(app.Get(t.Context(), task.ID))(t)
	if got.State != morningai.StateQueued || got.Failures != 0 || got.Attempt != 1 {
		t.Errorf("after Stop the task is %s with %d failures in %d attempts", got.State, got.Failures, got.Attempt)
	}
	// Another worker finishes it.
	next := morningai.New(engine, quiet)
	again := morningai.Handle(next, "job", func(context.Context, int) (string, error) { return "done", nil })
	start(t, next)
	if v, err := again.Result(t.Context(), task.ID); err != nil || v != "done" {
		t.Errorf("the next worker: %q, %v", v, err)
	}
	if got := attempts(t, next, task.ID); !slices.Equal(got, []morningai.Outcome{morningai.OutcomeReleased, morningai.OutcomeSucceeded}) {
		t.Errorf("attempts ended %v", got)
	}
}

func TestStopGoesOnWithoutDeafHandlers(t *testing.T) {
	app := newApp(t, morningai.WithGrace(time.Hour))
	started, release, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
	job := morningai.Handle(app, "deaf", func(context.Context, int) (string, error) {
		defer close(returned)
		close(started)
		<-release
		return "late", nil
	})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task := must(job.Enqueue(t.Context(), 0))(t)
	<-started
	hurry, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app.Stop(hurry); err == nil || !strings.Contains(err.Error(), "ignored their cancelled contexts") {
		t.Errorf("Stop: %v", err)
	}
	if got := must(app.Get(t.Context(), task.ID))(t); got.State != morningai.StateQueued || got.Failures != 0 {
		t.Errorf("after Stop the task is %s with %d failures", got.State, got.Failures)
	}
	close(release)
	<-returned
}

func TestStopByAHandlerThatFinishesLate(t *testing.T) {
	// The grace time is over, and the handler returns a result all the same.
	app := newApp(t, morningai.WithGrace(0))
	started := make(chan struct{})
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (string, error) {
		close(started)
		<-ctx.Done()
		return "saved", nil
	})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task := must(job.Enqueue(t.Context(), 0))(t)
	<-started
	if err := app.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != "saved" {
		t.Errorf("result %q, %v", v, err)
	}
}

func TestEngineClosedUnderAWorker(t *testing.T) {
	engine := openEngine(t)
	app := morningai.New(engine, quiet)
	morningai.Handle(app, "job", func(context.Context, int) (int, error) { return 0, nil })
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if err := app.Stop(t.Context()); !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("Stop: %v", err)
	}
}

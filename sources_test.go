package morningai_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// An app with two engines runs the tasks of both in the same slots, and reports
// each where it came from.
func TestSourcesShareTheSlots(t *testing.T) {
	const limit, each = 3, 40
	own, other := openEngine(t), openEngine(t)
	app := morningai.New(own, morningai.WithConcurrency(limit), morningai.WithSources(other), morningai.WithNode("n"))
	var running, most atomic.Int32
	gate := make(chan struct{})
	job := morningai.Handle(app, "job", func(ctx context.Context, n int) (string, error) {
		now := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		<-gate
		where, err := morningai.Step(ctx, "where", func(context.Context) (string, error) { return "recorded", nil })
		morningai.Logger(ctx).Info("ran")
		return fmt.Sprint(where, n), err
	})
	there := morningai.NewClient(other)
	defer there.Close()
	start(t, app)
	var ids, thereIDs []morningai.ID
	for n := range each {
		ids = append(ids, must(job.Enqueue(t.Context(), n))(t).ID)
		thereIDs = append(thereIDs, must(there.Enqueue(t.Context(), morningai.NewTaskSpec("job", fmt.Append(nil, n))))(t).ID)
	}
	close(gate)
	for i, id := range thereIDs {
		end := must(there.Wait(t.Context(), id))(t)
		history := must(there.History(t.Context(), id))(t)
		last := history.Attempts[len(history.Attempts)-1]
		if string(end.Result) != fmt.Sprintf("%q", fmt.Sprint("recorded", i)) || last.Node != "n" || len(history.Logs) != 1 || end.Failures != 0 {
			t.Errorf("%+v, %+v", end, history)
		}
		must(app.Wait(t.Context(), ids[i]))(t)
	}
	if most.Load() != limit {
		t.Errorf("%d at once, want %d", most.Load(), limit)
	}
}

// What runs for one engine is not asked of the other: its claim is taken back.
func TestSlotsTakenByOneSourceAreNotAskedOfTheOther(t *testing.T) {
	own, other := &hooks{Engine: openEngine(t)}, openEngine(t)
	asked := make(chan int, 100)
	own.claim = func(ctx context.Context, req morningai.ClaimRequest, below morningai.Engine) (morningai.ClaimReply, error) {
		select {
		case asked <- req.N:
		default:
		}
		req.Wait = time.Hour // it ends by a task, or because it is to be made anew
		return below.Claim(ctx, req)
	}
	app := morningai.New(own, morningai.WithConcurrency(2), morningai.WithSources(other))
	gate := make(chan struct{})
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		<-gate
		return 0, nil
	})
	there := morningai.NewClient(other)
	defer there.Close()
	start(t, app)
	want := func(n int) {
		t.Helper()
		for got := range asked {
			if got == n {
				return
			}
		}
	}
	want(2)
	first := must(there.Enqueue(t.Context(), morningai.NewTaskSpec("job", raw("1"))))(t)
	want(1)
	must(there.Enqueue(t.Context(), morningai.NewTaskSpec("job", raw("1"))))(t)
	want(0)
	close(gate)
	must(there.Wait(t.Context(), first.ID))(t)
	mine := must(job.Enqueue(t.Context(), 1))(t) // for which it has to ask anew
	must(app.Wait(t.Context(), mine.ID))(t)
}

// Claims that bring more than there are slots at the same moment: what is too
// much goes back, and runs later.
func TestWhatIsTooMuchGoesBack(t *testing.T) {
	own, other := &hooks{Engine: openEngine(t)}, openEngine(t)
	begun, gate, held := make(chan struct{}, 2), make(chan struct{}), false
	own.claim = func(ctx context.Context, req morningai.ClaimRequest, below morningai.Engine) (morningai.ClaimReply, error) {
		if held || req.N == 0 {
			return below.Claim(ctx, req)
		}
		reply, err := below.Claim(context.WithoutCancel(ctx), req)
		if held = len(reply.Grants) > 0; held {
			<-begun // the other's task
		}
		return reply, err
	}
	app := morningai.New(own, morningai.WithConcurrency(1), morningai.WithSources(other))
	var running atomic.Int32
	job := morningai.Handle(app, "job", func(context.Context, int) (int32, error) {
		now := running.Add(1)
		defer running.Add(-1)
		begun <- struct{}{}
		<-gate
		return now, nil
	})
	there := morningai.NewClient(other)
	defer there.Close()
	mine := must(job.Enqueue(t.Context(), 1))(t)
	start(t, app)
	theirs := must(there.Enqueue(t.Context(), morningai.NewTaskSpec("job", raw("1"))))(t)
	for len(attempts(t, app, mine.ID)) == 0 || attempts(t, app, mine.ID)[0] == "" {
	}
	close(gate)
	must(there.Wait(t.Context(), theirs.ID))(t)
	if n, err := job.Result(t.Context(), mine.ID); err != nil || n != 1 {
		t.Errorf("%d at once, %v", n, err)
	}
	if got := attempts(t, app, mine.ID); got[0] != morningai.OutcomeReleased {
		t.Errorf("attempts: %v", got)
	}
}

func TestStopDrainsSources(t *testing.T) {
	own, other := openEngine(t), openEngine(t)
	app := morningai.New(own, morningai.WithSources(other), morningai.WithGrace(0))
	begun := make(chan struct{})
	morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		close(begun)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	there := morningai.NewClient(other)
	defer there.Close()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task := must(there.Enqueue(t.Context(), morningai.NewTaskSpec("job", raw("1"))))(t)
	<-begun
	if err := app.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := must(there.Get(t.Context(), task.ID))(t)
	if now.State != morningai.StateQueued || now.Failures != 0 {
		t.Errorf("%+v", now)
	}
	for _, e := range []morningai.Engine{own, other} {
		if s := must(e.Stats(t.Context()))(t); len(s.Sessions) != 0 {
			t.Errorf("sessions are left: %+v", s.Sessions)
		}
	}
}

func TestSourceThatRefusesKeepsTheAppFromStarting(t *testing.T) {
	own, other := openEngine(t), openEngine(t)
	app := morningai.New(own, morningai.WithSources(other))
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := app.Start(t.Context()); morningai.CodeOf(err) != morningai.CodeClosed {
		t.Errorf("%v", err)
	}
	if s := must(own.Stats(t.Context()))(t); len(s.Sessions) != 0 {
		t.Errorf("sessions are left: %+v", s.Sessions)
	}
	if err := morningai.New(own, morningai.WithSources(nil)).Start(t.Context()); morningai.CodeOf(err) != morningai.CodeInvalidInput {
		t.Errorf("nil: %v", err)
	}
}

package morningai_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

var full = &morningai.Error{Code: morningai.CodeStorageFull, Op: "finish", Detail: "the disk is full"}

// Outcomes that the engine cannot take are repeated until it can; the work is
// not done again.
func TestOutcomesAreRepeatedUntilRecorded(t *testing.T) {
	var calls atomic.Int32
	engine := &hooks{Engine: openEngine(t), finish: func(ctx context.Context, reports []morningai.Report, next morningai.Engine) ([]morningai.Verdict, error) {
		switch n := calls.Add(1); {
		case n <= 3:
			return nil, full
		case n == 4: // applied, but the answer is lost
			if _, err := next.Finish(ctx, reports); err != nil {
				return nil, err
			}
			return nil, errors.New("connection reset")
		case n == 5: // one of them has to be repeated
			verdicts, err := next.Finish(ctx, reports[:len(reports)-1])
			return append(verdicts, morningai.Verdict{Err: full}), err
		}
		return next.Finish(ctx, reports)
	}}
	app := morningai.New(engine, quiet)
	var runs atomic.Int32
	job := morningai.Handle(app, "job", func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil })
	start(t, app)
	tasks := must(job.EnqueueBatch(t.Context(), []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}))(t)
	for i, task := range tasks {
		if v, err := job.Result(t.Context(), task.ID); err != nil || v != i {
			t.Errorf("task %d: %d, %v", i, v, err)
		}
	}
	if runs.Load() != 10 {
		t.Errorf("10 tasks ran %d times", runs.Load())
	}
}

// One outcome that the engine refuses does not hold up the others of its batch.
func TestARefusedResultFailsItsTaskAlone(t *testing.T) {
	engine := &hooks{Engine: openEngine(t), finish: func(ctx context.Context, reports []morningai.Report, next morningai.Engine) ([]morningai.Verdict, error) {
		for _, r := range reports {
			if string(r.Result) == `"poison"` {
				return nil, morningai.InvalidInput("finish", morningai.FieldError{Location: "result", Message: "must not be poison"})
			}
		}
		return next.Finish(ctx, reports)
	}}
	app := morningai.New(engine, quiet)
	job := morningai.Handle(app, "job", func(_ context.Context, s string) (string, error) { return s, nil })
	start(t, app)
	tasks := must(job.EnqueueBatch(t.Context(), []string{"a", "poison", "b"}))(t)
	for i, want := range []string{"a", "", "b"} {
		v, err := job.Result(t.Context(), tasks[i].ID)
		if v != want || (err == nil) != (want != "") {
			t.Errorf("task %d: %q, %v", i, v, err)
		}
	}
	if task := must(app.Get(t.Context(), tasks[1].ID))(t); task.Error == nil || task.Error.Code != morningai.ErrorCodeResult {
		t.Errorf("the poisoned task ended %s with %v", task.State, task.Error)
	}
}

// What was claimed by a call whose answer was lost never started, so it goes
// back and runs once.
func TestALostClaimReplyIsRecovered(t *testing.T) {
	var lost atomic.Int32
	engine := &hooks{Engine: openEngine(t), claim: func(ctx context.Context, req morningai.ClaimRequest, next morningai.Engine) (morningai.ClaimReply, error) {
		reply, err := next.Claim(ctx, req)
		if err == nil && len(reply.Grants) > 0 && lost.Add(int32(len(reply.Grants))) == int32(len(reply.Grants)) {
			return morningai.ClaimReply{}, errors.New("connection reset")
		}
		return reply, err
	}}
	app := morningai.New(engine, quiet, morningai.WithLease(200*time.Millisecond))
	var runs atomic.Int32
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { runs.Add(1); return 1, nil })
	start(t, app)
	lostTask := must(job.Enqueue(t.Context(), 0))(t)
	// The session learns with its next reply that the earlier one is missing.
	other := must(job.Enqueue(t.Context(), 0))(t)
	for _, task := range []*morningai.Task{other, lostTask} {
		if v, err := job.Result(t.Context(), task.ID); err != nil || v != 1 {
			t.Errorf("result %d, %v", v, err)
		}
	}
	if runs.Load() != 2 || lost.Load() == 0 {
		t.Errorf("2 tasks ran %d times, %d grants were lost", runs.Load(), lost.Load())
	}
}

// A worker that falls silent is declared dead by another one, which takes its
// task over; the first one's handler is stopped and what it returns is dropped.
func TestATaskMovesFromASilentWorker(t *testing.T) {
	const lease = 200 * time.Millisecond
	shared := openEngine(t)
	var silent atomic.Bool
	muted := &hooks{Engine: shared, beat: func(ctx context.Context, req morningai.BeatRequest, next morningai.Engine) (morningai.BeatReply, error) {
		if silent.Load() {
			return morningai.BeatReply{}, errors.New("no route to host")
		}
		return next.Beat(ctx, req)
	}}
	first := morningai.New(muted, quiet, morningai.WithLease(lease), morningai.WithNode("first"))
	started, stopped := make(chan struct{}), make(chan struct{})
	job := morningai.Handle(first, "job", func(ctx context.Context, _ int) (string, error) {
		close(started)
		<-ctx.Done()
		close(stopped)
		return "first", nil
	})
	start(t, first)
	task := must(job.Enqueue(t.Context(), 0))(t)
	<-started
	silent.Store(true)

	second := morningai.New(shared, quiet, morningai.WithLease(lease), morningai.WithNode("second"))
	morningai.Handle(second, "job", func(context.Context, int) (string, error) { return "second", nil })
	start(t, second)
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != "second" {
		t.Errorf("result %q, %v", v, err)
	}
	silent.Store(false)
	<-stopped
	if err := first.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	history := must(second.History(t.Context(), task.ID))(t)
	var got []string
	for _, a := range history.Attempts {
		got = append(got, fmt.Sprint(a.Node, " ", a.Outcome))
	}
	if !slices.Equal(got, []string{"first lost", "second succeeded"}) {
		t.Errorf("attempts %v", got)
	}
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != "second" {
		t.Errorf("in the end the result is %q, %v", v, err)
	}
}

// Steps and log lines wait for an engine that cannot write just now.
func TestCheckpointsAreRepeated(t *testing.T) {
	var calls atomic.Int32
	engine := &hooks{Engine: openEngine(t), points: func(ctx context.Context, points []morningai.Checkpoint, next morningai.Engine) ([]error, error) {
		switch n := calls.Add(1); n {
		case 1, 4:
			return nil, full
		case 2, 5:
			return slices.Repeat([]error{full}, len(points)), nil
		}
		return next.Checkpoint(ctx, points)
	}}
	app := morningai.New(engine, quiet)
	runs := 0
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		n, err := morningai.Step(ctx, "once", func(context.Context) (int, error) { runs++; return runs, nil })
		morningai.Logger(ctx).Info("kept")
		return n, err
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0))(t)
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != 1 {
		t.Errorf("result %d, %v", v, err)
	}
	if logs := must(app.History(t.Context(), task.ID))(t).Logs; len(logs) != 1 {
		t.Errorf("kept %d lines", len(logs))
	}
	if calls.Load() != 6 || runs != 1 {
		t.Errorf("%d calls, the step ran %d times", calls.Load(), runs)
	}
}

// A handler learns from its own checkpoint that its claim was superseded.
func TestAStaleCheckpointStopsTheHandler(t *testing.T) {
	engine := &hooks{Engine: openEngine(t), points: func(_ context.Context, points []morningai.Checkpoint, _ morningai.Engine) ([]error, error) {
		return slices.Repeat([]error{morningai.ErrStale}, len(points)), nil
	}}
	app := morningai.New(engine, quiet)
	told := make(chan error)
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		err := morningai.ReportProgress(ctx, 1)
		<-ctx.Done()
		told <- err
		return 0, err
	})
	start(t, app)
	must(job.Enqueue(t.Context(), 0, morningai.MaxAttempts(1)))(t)
	if err := <-told; !errors.Is(err, morningai.ErrStale) {
		t.Errorf("ReportProgress: %v", err)
	}
}

// Stop says what it could not record, and the engine gets the tasks back.
func TestStopNamesWhatItCouldNotRecord(t *testing.T) {
	engine := &hooks{Engine: openEngine(t), finish: func(context.Context, []morningai.Report, morningai.Engine) ([]morningai.Verdict, error) {
		return nil, full
	}}
	app := morningai.New(engine, quiet, morningai.WithGrace(0))
	done := make(chan struct{})
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { defer close(done); return 1, nil })
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task := must(job.Enqueue(t.Context(), 0))(t)
	<-done
	if err := app.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "could not be recorded") {
		t.Errorf("Stop: %v", err)
	}
	if got := must(app.Get(t.Context(), task.ID))(t); got.State != morningai.StateQueued || got.Failures != 0 {
		t.Errorf("after Stop the task is %s with %d failures", got.State, got.Failures)
	}
}

package morningai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

type greet struct {
	Name string `json:"name"`
}

func TestTypedTask(t *testing.T) {
	app := newApp(t)
	hello := morningai.Handle(app, "greet", func(ctx context.Context, in greet) (string, error) {
		task, ok := morningai.CurrentTask(ctx)
		if !ok || task.Type != "greet" || task.Attempt != 1 || task.State != morningai.StateRunning {
			return "", fmt.Errorf("the context leads to %+v, %v", task, ok)
		}
		return "hello <" + in.Name + ">", nil
	})
	start(t, app)
	task := must(hello.Enqueue(t.Context(), greet{"Ada & Co"}, morningai.Queue("mail"), morningai.Priority(2),
		morningai.MaxAttempts(5), morningai.Timeout(time.Minute), morningai.Metadata("a", "1"), morningai.Metadata("b", "2")))(t)
	if task.Durable == "" || task.Runs != "here" || task.Queue != "mail" || task.Priority != 2 || task.MaxAttempts != 5 || len(task.Metadata) != 2 {
		t.Errorf("the receipt says %+v", task)
	}
	text, err := hello.Result(t.Context(), task.ID)
	if err != nil || text != "hello <Ada & Co>" {
		t.Errorf("result %q, %v", text, err)
	}
	ended := must(app.Get(t.Context(), task.ID))(t)
	if string(ended.Payload) != `{"name":"Ada & Co"}` || string(ended.Result) != `"hello <Ada & Co>"` {
		t.Errorf("stored as %s and %s", ended.Payload, ended.Result)
	}
}

// attempts returns the outcomes of a task's attempts.
func attempts(t *testing.T, app *morningai.App, id morningai.ID) []morningai.Outcome {
	t.Helper()
	history := must(app.History(t.Context(), id))(t)
	var out []morningai.Outcome
	for _, a := range history.Attempts {
		out = append(out, a.Outcome)
	}
	return out
}

func TestHandlerErrorsDecide(t *testing.T) {
	boom := errors.New("boom")
	soon := func(err error) error { return morningai.RetryAfter(0, err) }
	for _, c := range []struct {
		name     string
		returns  func(attempt int) error
		state    morningai.State
		code     string
		failures int
		outcomes []morningai.Outcome
	}{
		{"fails twice, then succeeds", func(n int) error {
			if n < 3 {
				return soon(boom)
			}
			return nil
		}, morningai.StateSucceeded, "", 2, []morningai.Outcome{morningai.OutcomeRetry, morningai.OutcomeRetry, morningai.OutcomeSucceeded}},
		{"no attempt is left", func(int) error { return soon(boom) },
			morningai.StateFailed, morningai.ErrorCodeHandler, 3,
			[]morningai.Outcome{morningai.OutcomeRetry, morningai.OutcomeRetry, morningai.OutcomeFailed}},
		{"skips retries", func(int) error { return fmt.Errorf("%w: %w", boom, morningai.ErrSkipRetry) },
			morningai.StateFailed, morningai.ErrorCodeHandler, 1, []morningai.Outcome{morningai.OutcomeFailed}},
		{"chooses its code", func(int) error {
			return errors.Join(morningai.ErrSkipRetry, &morningai.TaskError{Code: "quota", Message: "used up"})
		}, morningai.StateFailed, "quota", 1, []morningai.Outcome{morningai.OutcomeFailed}},
		{"cancels itself", func(int) error { return fmt.Errorf("no need: %w", morningai.ErrCancel) },
			morningai.StateCanceled, morningai.ErrorCodeCanceled, 0, []morningai.Outcome{morningai.OutcomeCanceled}},
		{"snoozes often", func(n int) error {
			if n <= 5 {
				return morningai.Snooze(0)
			}
			return nil
		}, morningai.StateSucceeded, "", 0, []morningai.Outcome{morningai.OutcomeSnoozed, morningai.OutcomeSnoozed,
			morningai.OutcomeSnoozed, morningai.OutcomeSnoozed, morningai.OutcomeSnoozed, morningai.OutcomeSucceeded}},
		{"panics", func(int) error { panic("at the disco") },
			morningai.StateFailed, morningai.ErrorCodePanic, 1, []morningai.Outcome{morningai.OutcomeFailed}},
		{"panics with a sentinel", func(int) error { panic(morningai.ErrCancel) },
			morningai.StateFailed, morningai.ErrorCodePanic, 1, []morningai.Outcome{morningai.OutcomeFailed}},
		{"leaves its goroutine", func(int) error { runtime.Goexit(); return nil },
			morningai.StateFailed, morningai.ErrorCodePanic, 1, []morningai.Outcome{morningai.OutcomeFailed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newApp(t, morningai.WithConcurrency(1))
			n := 0
			job := morningai.Handle(app, "job", func(context.Context, int) (int, error) {
				n++
				return n, c.returns(n)
			})
			after := morningai.Handle(app, "after", func(context.Context, int) (int, error) { return 7, nil })
			start(t, app)
			maxAttempts := 3
			if strings.Contains(c.name, "panics") || strings.Contains(c.name, "leaves") {
				maxAttempts = 1
			}
			task := must(job.Enqueue(t.Context(), 0, morningai.MaxAttempts(maxAttempts)))(t)
			_, err := job.Result(t.Context(), task.ID)
			te, _ := errors.AsType[*morningai.TaskError](err)
			if (c.code == "") != (err == nil) || te != nil && te.Code != c.code {
				t.Errorf("the result's error is %v, want code %q", err, c.code)
			}
			task = must(app.Get(t.Context(), task.ID))(t)
			if task.State != c.state || task.Failures != c.failures || task.Attempt != len(c.outcomes) {
				t.Errorf("ended %s with %d failures in %d attempts", task.State, task.Failures, task.Attempt)
			}
			if got := attempts(t, app, task.ID); !slices.Equal(got, c.outcomes) {
				t.Errorf("attempts ended %v, want %v", got, c.outcomes)
			}
			if c.code == morningai.ErrorCodePanic {
				if h := must(app.History(t.Context(), task.ID))(t); !strings.Contains(h.Attempts[0].Stack, "run_test.go") {
					t.Errorf("the stack does not name the handler:\n%s", h.Attempts[0].Stack)
				}
			}
			// The one slot is free again.
			task = must(after.Enqueue(t.Context(), 0))(t)
			if v, err := after.Result(t.Context(), task.ID); err != nil || v != 7 {
				t.Errorf("the next task: %v, %v", v, err)
			}
			if err := app.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			counts := app.Attempts()
			for _, o := range append(c.outcomes, morningai.OutcomeSucceeded) {
				counts[o]--
			}
			for o, n := range counts {
				if n != 0 {
					t.Errorf("the app has counted %d more attempts that ended as %s", n, o)
				}
			}
		})
	}
}

func TestWrongPayloadsAndResultsFailForGood(t *testing.T) {
	app := newApp(t)
	runs := 0
	morningai.Handle(app, "greet", func(context.Context, greet) (string, error) { runs++; return "", nil })
	morningai.Handle(app, "large", func(context.Context, int) (string, error) {
		return strings.Repeat("x", morningai.MaxPayload), nil
	})
	morningai.Handle(app, "unwritable", func(context.Context, int) (chan int, error) { return make(chan int), nil })
	app.HandleFunc("broken", func(context.Context, *morningai.Task) (json.RawMessage, error) { return raw(`{`), nil })
	start(t, app)
	for taskType, want := range map[string]string{
		"greet": morningai.ErrorCodePayload, "large": morningai.ErrorCodeResult,
		"unwritable": morningai.ErrorCodeResult, "broken": morningai.ErrorCodeResult,
	} {
		task := must(app.Enqueue(t.Context(), morningai.NewTaskSpec(taskType, raw(`4711`))))(t)
		task = must(app.Wait(t.Context(), task.ID))(t)
		if task.State != morningai.StateFailed || task.Failures != 1 || task.Error == nil || task.Error.Code != want {
			t.Errorf("%s ended %s after %d failures with %v", taskType, task.State, task.Failures, task.Error)
		}
		if strings.Contains(task.Error.Message, "4711") {
			t.Errorf("%s: the error repeats the payload: %s", taskType, task.Error.Message)
		}
	}
	if runs != 0 {
		t.Error("the handler ran with a payload that does not fit")
	}
}

func TestRawHandlersMayReturnNothing(t *testing.T) {
	app := newApp(t)
	app.HandleFunc("nothing", func(context.Context, *morningai.Task) (json.RawMessage, error) { return nil, nil })
	reader := morningai.Handle(morningai.New(app.Engine(), quiet), "nothing",
		func(context.Context, int) (*greet, error) { return nil, nil })
	start(t, app)
	task := must(reader.Enqueue(t.Context(), 1))(t)
	if v, err := reader.Result(t.Context(), task.ID); err != nil || v != nil {
		t.Errorf("result %v, %v", v, err)
	}
}

func TestTimeout(t *testing.T) {
	app := newApp(t)
	job := morningai.Handle(app, "slow", func(ctx context.Context, _ int) (int, error) {
		if _, ok := ctx.Deadline(); !ok {
			return 0, errors.New("the context has no deadline")
		}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0, morningai.Timeout(5*time.Millisecond), morningai.MaxAttempts(1)))(t)
	_, err := job.Result(t.Context(), task.ID)
	if te, _ := errors.AsType[*morningai.TaskError](err); te == nil || te.Code != morningai.ErrorCodeTimeout {
		t.Errorf("ended with %v", err)
	}
}

func TestHandlerThatIgnoresItsTimeout(t *testing.T) {
	app := newApp(t, morningai.WithConcurrency(1), morningai.WithGrace(10*time.Millisecond), morningai.WithLease(200*time.Millisecond))
	release := make(chan struct{})
	job := morningai.Handle(app, "deaf", func(context.Context, int) (int, error) { <-release; return 1, nil })
	next := morningai.Handle(app, "next", func(context.Context, int) (int, error) {
		select {
		case <-release:
			return 2, nil
		default:
			return 0, errors.New("the slot was given away while the handler still ran")
		}
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0, morningai.Timeout(5*time.Millisecond), morningai.MaxAttempts(1)))(t)
	_, err := job.Result(t.Context(), task.ID)
	if te, _ := errors.AsType[*morningai.TaskError](err); te == nil || te.Code != morningai.ErrorCodeTimeout {
		t.Errorf("ended with %v", err)
	}
	waiting := must(next.Enqueue(t.Context(), 0, morningai.MaxAttempts(1)))(t)
	close(release)
	if v, err := next.Result(t.Context(), waiting.ID); err != nil || v != 2 {
		t.Errorf("the next task: %v, %v", v, err)
	}
	if task := must(app.Get(t.Context(), task.ID))(t); task.State != morningai.StateFailed {
		t.Errorf("the late return made the task %s", task.State)
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	for name, concurrency := range map[string]int{"with free slots": 4, "with every slot taken": 1} {
		t.Run(name, func(t *testing.T) {
			app := newApp(t, morningai.WithConcurrency(concurrency))
			started := make(chan struct{})
			job := morningai.Handle(app, "long", func(ctx context.Context, keep bool) (string, error) {
				started <- struct{}{}
				<-ctx.Done()
				if keep {
					return "done all the same", nil
				}
				return "", ctx.Err()
			})
			start(t, app)
			for _, keep := range []bool{false, true} {
				task := must(job.Enqueue(t.Context(), keep))(t)
				<-started
				if got := must(app.Cancel(t.Context(), task.ID))(t); !got.CancelRequested && got.State != morningai.StateCanceled {
					t.Errorf("after the cancel: %+v", got)
				}
				_, err := job.Result(t.Context(), task.ID)
				if te, _ := errors.AsType[*morningai.TaskError](err); te == nil || te.Code != morningai.ErrorCodeCanceled {
					t.Errorf("ended with %v", err)
				}
				task = must(app.Get(t.Context(), task.ID))(t)
				if task.State != morningai.StateCanceled || keep != (string(task.Result) == `"done all the same"`) || task.Failures != 0 {
					t.Errorf("ended %s with result %s and %d failures", task.State, task.Result, task.Failures)
				}
			}
		})
	}
}

func TestManyTasksRunOnceEach(t *testing.T) {
	const n = 5_000
	app := newApp(t)
	runs := make([]atomic.Int32, n)
	count := morningai.Handle(app, "count", func(_ context.Context, i int) (int, error) {
		runs[i].Add(1)
		return i, nil
	})
	start(t, app)
	var producers sync.WaitGroup
	ids := make([]morningai.ID, n)
	for p := range 10 {
		producers.Go(func() {
			var batch []int
			for i := p; i < n; i += 10 {
				batch = append(batch, i)
			}
			tasks, err := count.EnqueueBatch(t.Context(), batch)
			if err != nil {
				t.Error(err)
				return
			}
			for k, i := range batch {
				ids[i] = tasks[k].ID
			}
		})
	}
	producers.Wait()
	for i, id := range ids {
		if v, err := count.Result(t.Context(), id); err != nil || v != i {
			t.Fatalf("task %d: %d, %v", i, v, err)
		}
	}
	for i := range runs {
		if got := runs[i].Load(); got != 1 {
			t.Errorf("task %d ran %d times", i, got)
		}
	}
}

func TestQueueWeights(t *testing.T) {
	app := newApp(t, morningai.WithConcurrency(1), morningai.WithQueues(map[string]int{"critical": 3, "default": 1}))
	order := make(chan string, 12)
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		task, _ := morningai.CurrentTask(ctx)
		order <- task.Queue[:1]
		return 0, nil
	})
	for _, queue := range []string{"default", "critical", "unserved"} {
		must(job.EnqueueBatch(t.Context(), make([]int, 6), morningai.Queue(queue)))(t)
	}
	start(t, app)
	var got string
	for range 12 {
		got += <-order
	}
	if want := "ccdcccdcdddd"; got != want {
		t.Errorf("queues were served as %s, want %s", got, want)
	}
	if q := must(app.Queue(t.Context(), "unserved"))(t); q.Counts[morningai.StateQueued] != 6 {
		t.Errorf("the unserved queue holds %v", q.Counts)
	}
}

package morningai_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/RC918/morningai"
)

func TestStepRunsOncePerTask(t *testing.T) {
	app := newApp(t)
	var charged, mailed int
	order := morningai.Handle(app, "order", func(ctx context.Context, amount int) (string, error) {
		receipt, err := morningai.Step(ctx, "charge", func(context.Context) (greet, error) {
			charged++
			return greet{fmt.Sprint("receipt for ", amount)}, nil
		})
		if err != nil {
			return "", err
		}
		return morningai.Step(ctx, "mail", func(context.Context) (string, error) {
			if mailed++; mailed < 3 {
				return "", morningai.RetryAfter(0, errors.New("mail server away"))
			}
			return "sent " + receipt.Name, nil
		})
	})
	start(t, app)
	task := must(order.Enqueue(t.Context(), 12))(t)
	text, err := order.Result(t.Context(), task.ID)
	if err != nil || text != "sent receipt for 12" {
		t.Errorf("result %q, %v", text, err)
	}
	if charged != 1 || mailed != 3 {
		t.Errorf("charged %d times, mailed %d times", charged, mailed)
	}
}

func TestStepsSurviveTheWorker(t *testing.T) {
	engine := openEngine(t)
	first := morningai.New(engine, quiet, morningai.WithGrace(0))
	recorded := make(chan struct{})
	job := morningai.Handle(first, "job", func(ctx context.Context, _ int) (int, error) {
		n, err := morningai.Step(ctx, "count", func(context.Context) (int, error) { return 41, nil })
		if err != nil {
			return 0, err
		}
		close(recorded)
		<-ctx.Done()
		return n, ctx.Err()
	})
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task := must(job.Enqueue(t.Context(), 0))(t)
	<-recorded
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := morningai.New(engine, quiet)
	again := morningai.Handle(second, "job", func(ctx context.Context, _ int) (int, error) {
		n, err := morningai.Step(ctx, "count", func(context.Context) (int, error) { return 0, errors.New("ran again") })
		return n + 1, err
	})
	start(t, second)
	if v, err := again.Result(t.Context(), task.ID); err != nil || v != 42 {
		t.Errorf("result %d, %v", v, err)
	}
}

func TestStepErrors(t *testing.T) {
	app := newApp(t)
	one := func(context.Context) (int, error) { return 1, nil }
	steps := map[string]func(context.Context) error{
		"used before": func(ctx context.Context) error {
			if _, err := morningai.Step(ctx, "a", one); err != nil {
				return err
			}
			_, err := morningai.Step(ctx, "a", one)
			return err
		},
		"running already": func(ctx context.Context) error {
			_, err := morningai.Step(ctx, "a", func(ctx context.Context) (int, error) { return morningai.Step(ctx, "a", one) })
			return err
		},
		"name must be 1 to 128": func(ctx context.Context) error {
			_, err := morningai.Step(ctx, "a b", one)
			return err
		},
		"cannot be written as JSON": func(ctx context.Context) error {
			_, err := morningai.Step(ctx, "a", func(context.Context) (chan int, error) { return nil, nil })
			return err
		},
		"its result is over": func(ctx context.Context) error {
			_, err := morningai.Step(ctx, "a", func(context.Context) (string, error) { return strings.Repeat("x", morningai.MaxPayload), nil })
			return err
		},
	}
	job := morningai.Handle(app, "job", func(ctx context.Context, which string) (int, error) { return 0, steps[which](ctx) })
	start(t, app)
	for which := range steps {
		task := must(job.Enqueue(t.Context(), which))(t)
		_, err := job.Result(t.Context(), task.ID)
		if err == nil || !strings.Contains(err.Error(), which) {
			t.Errorf("%s: ended with %v", which, err)
		}
		if task := must(app.Get(t.Context(), task.ID))(t); task.State != morningai.StateFailed || task.Failures != 1 {
			t.Errorf("%s: the task is %s after %d failures", which, task.State, task.Failures)
		}
	}
}

func TestStepsSideBySide(t *testing.T) {
	app := newApp(t)
	job := morningai.Handle(app, "job", func(ctx context.Context, n int) (int, error) {
		var wg sync.WaitGroup
		results, errs := make([]int, n), make([]error, n)
		for i := range n {
			wg.Go(func() {
				results[i], errs[i] = morningai.Step(ctx, fmt.Sprintf("part-%d", i), func(context.Context) (int, error) { return i, nil })
			})
		}
		wg.Wait()
		sum := 0
		for _, r := range results {
			sum += r
		}
		if task, _ := morningai.CurrentTask(ctx); task.Attempt == 1 {
			return 0, morningai.RetryAfter(0, errors.New("once more"))
		}
		return sum, errors.Join(errs...)
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 20))(t)
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != 190 {
		t.Errorf("result %d, %v", v, err)
	}
}

func TestOutsideAHandler(t *testing.T) {
	ctx := t.Context()
	if _, err := morningai.Step(ctx, "a", func(context.Context) (int, error) { return 1, nil }); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("Step: %v", err)
	}
	if err := morningai.ReportProgress(ctx, 1); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("ReportProgress: %v", err)
	}
	if _, ok := morningai.CurrentTask(ctx); ok {
		t.Error("CurrentTask found one")
	}
	if morningai.Logger(ctx) != slog.Default() {
		t.Error("Logger is not the default one")
	}
}

func TestProgressIsSeenWhileTheTaskRuns(t *testing.T) {
	app := newApp(t)
	reported, release := make(chan error), make(chan struct{})
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		if err := morningai.ReportProgress(ctx, func() {}); !errors.Is(err, morningai.ErrInvalidInput) {
			return 0, fmt.Errorf("progress that is no JSON: %w", err)
		}
		reported <- morningai.ReportProgress(ctx, map[string]string{"at": "50 % & more"})
		<-release
		return 1, nil
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0, morningai.MaxAttempts(1)))(t)
	if err := <-reported; err != nil {
		t.Error(err)
	}
	if got := must(app.Get(t.Context(), task.ID))(t); got.State != morningai.StateRunning || string(got.Progress) != `{"at":"50 % & more"}` {
		t.Errorf("meanwhile the task is %s with progress %s", got.State, got.Progress)
	}
	close(release)
	if _, err := job.Result(t.Context(), task.ID); err != nil {
		t.Error(err)
	}
}

func TestLoggerWritesToTaskAndApp(t *testing.T) {
	var appLog bytes.Buffer
	app := newApp(t, morningai.WithLogger(slog.New(slog.NewJSONHandler(&appLog, nil))))
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		log := morningai.Logger(ctx)
		log.Debug("not kept")
		log.Info("plain")
		log.With("level", "high", "n", 1).WithGroup("g").Warn("grouped <b>", "msg", "kept too", "url", "a&b")
		log.Error(strings.Repeat("x", 2*morningai.MaxLogLine), "cut", true)
		log.Info("bad \xff text")
		return 1, nil
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0))(t)
	if _, err := job.Result(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	logs := must(app.History(t.Context(), task.ID))(t).Logs
	if len(logs) != 4 {
		t.Fatalf("kept %d lines: %+v", len(logs), logs)
	}
	for i, want := range []struct{ level, message, attrs string }{
		{"info", "plain", ``},
		{"warn", "grouped <b>", `{"level":"high","n":1,"g":{"msg":"kept too","url":"a&b"}}`},
		{"error", "", `{"attributes_cut":true}`},
		{"info", "bad \uFFFD text", ``},
	} {
		got := logs[i]
		if got.Level != want.level || want.message != "" && got.Message != want.message || string(got.Attrs) != want.attrs || got.Attempt != 1 || got.At.IsZero() {
			t.Errorf("line %d is %+v with %s", i, got, got.Attrs)
		}
		if size := len(got.Message) + len(got.Attrs); size > morningai.MaxLogLine {
			t.Errorf("line %d has %d bytes", i, size)
		}
	}
	if err := app.Stop(t.Context()); err != nil { // so that nobody else writes to appLog
		t.Fatal(err)
	}
	var first map[string]any
	if err := json.Unmarshal(bytes.SplitN(appLog.Bytes(), []byte("\n"), 2)[0], &first); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"msg": "plain", "task_id": task.ID.String(), "trace_id": task.TraceID.String(), "type": "job", "attempt": 1.0} {
		if first[key] != want {
			t.Errorf("the app's line has %s = %v, want %v", key, first[key], want)
		}
	}
}

func TestLogOfManyLinesIsCompleteAndInOrder(t *testing.T) {
	app := newApp(t)
	const lines = 3 * morningai.MaxLogLines
	job := morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		log := morningai.Logger(ctx)
		for i := range lines {
			log.Info("line", "i", i)
		}
		return 1, nil
	})
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0))(t)
	if _, err := job.Result(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	logs := must(app.History(t.Context(), task.ID))(t).Logs
	if len(logs) != morningai.MaxLogLines {
		t.Fatalf("kept %d lines", len(logs))
	}
	for k, line := range logs {
		if want := fmt.Sprintf(`{"i":%d}`, lines-morningai.MaxLogLines+k); string(line.Attrs) != want {
			t.Fatalf("line %d has %s, want %s", k, line.Attrs, want)
		}
	}
}

func TestExecuteRunsInline(t *testing.T) {
	app := newApp(t)
	job := morningai.Handle(app, "job", func(ctx context.Context, n int) (int, error) {
		morningai.Logger(ctx).Info("inline")
		return morningai.Step(ctx, "double", func(context.Context) (int, error) { return 2 * n, nil })
	})
	task := must(job.Enqueue(t.Context(), 21))(t)
	engine, session := app.Engine(), morningai.SessionID{1}
	must(engine.Beat(t.Context(), morningai.BeatRequest{Session: session, Types: app.Types(), Concurrency: 1, LeaseTime: 15e9}))(t)
	reply := must(engine.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: app.Types(), N: 1}))(t)
	if len(reply.Grants) != 1 {
		t.Fatalf("claimed %+v", reply)
	}
	report := must(app.Execute(t.Context(), reply.Grants[0]))(t)
	if report.Outcome != morningai.OutcomeSucceeded || string(report.Result) != "42" {
		t.Errorf("reported %+v", report)
	}
	verdicts := must(engine.Finish(t.Context(), []morningai.Report{report}))(t)
	if verdicts[0].Err != nil {
		t.Error(verdicts[0].Err)
	}
	if logs := must(app.History(t.Context(), task.ID))(t).Logs; len(logs) != 1 || logs[0].Message != "inline" {
		t.Errorf("logged %+v", logs)
	}
	if _, err := app.Execute(t.Context(), morningai.Grant{Task: morningai.Task{Type: "other"}}); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("a type without handler: %v", err)
	}
}

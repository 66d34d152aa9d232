package morningai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

// openExample returns an app on an engine in a folder of its own, and what
// cleans up after it. The app logs nothing, so that examples print only what
// they show.
func openExample(opts ...morningai.AppOption) (*morningai.App, func()) {
	folder, err := os.MkdirTemp("", "morningai-example")
	if err != nil {
		log.Fatal(err)
	}
	engine, err := sqlite.Open(context.Background(), filepath.Join(folder, "tasks.db"))
	if err != nil {
		log.Fatal(err)
	}
	app := morningai.New(engine, append(opts, quiet)...)
	return app, func() {
		err := errors.Join(app.Stop(context.Background()), engine.Close(), os.RemoveAll(folder))
		if err != nil {
			log.Fatal(err)
		}
	}
}

func Example() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	type Greet struct {
		Name string `json:"name"`
	}
	greet := morningai.Handle(app, "greet", func(ctx context.Context, in Greet) (string, error) {
		return "hello " + in.Name, nil
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := greet.Enqueue(ctx, Greet{Name: "Ada"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.State, "and durable in", task.Durable)
	fmt.Println(greet.Result(ctx, task.ID)) // waits; typed
	// Output:
	// queued and durable in sqlite
	// hello Ada <nil>
}

// Options say where, when and how often a task runs.
func ExampleDefinition_Enqueue() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	report := morningai.Handle(app, "report", func(ctx context.Context, month string) (string, error) {
		return "the figures of " + month, nil
	})
	task, err := report.Enqueue(ctx, "May",
		morningai.Queue("slow"),
		morningai.Priority(7), // 0 runs first, 9 last
		morningai.Delay(time.Hour),
		morningai.MaxAttempts(3),
		morningai.Timeout(10*time.Minute),
		morningai.UniqueKey("report:May"), // at most one live task holds it
		morningai.Metadata("customer", "42"),
		morningai.Retention(7*24*time.Hour),
	)
	if err != nil {
		log.Fatal(err)
	}
	again, err := report.Enqueue(ctx, "May", morningai.UniqueKey("report:May"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.State, task.Queue, task.Priority, task.MaxAttempts, task.Timeout, task.Metadata)
	fmt.Println("the same task:", again.ID == task.ID, again.Duplicate)
	// Output:
	// scheduled slow 7 3 10m0s map[customer:42]
	// the same task: true true
}

// What a handler returns decides what becomes of the task.
func ExampleHandle() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	attempts := 0
	fetch := morningai.Handle(app, "fetch", func(ctx context.Context, url string) (string, error) {
		attempts++
		switch {
		case url == "":
			return "", fmt.Errorf("%w: there is no address", morningai.ErrSkipRetry)
		case attempts == 1:
			return "", morningai.Snooze(time.Millisecond) // later; not a failure
		case attempts == 2:
			// A plain error would wait 2 s, 4 s, 8 s and so on.
			return "", morningai.RetryAfter(time.Millisecond, errors.New("too many requests"))
		}
		return "the page", nil
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}

	task, err := fetch.Enqueue(ctx, "https://example.com")
	if err != nil {
		log.Fatal(err)
	}
	page, err := fetch.Result(ctx, task.ID)
	fmt.Println(page, err)
	history, err := app.History(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range history.Attempts {
		fmt.Println(a.Number, a.Outcome)
	}

	task, err = fetch.Enqueue(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	_, err = fetch.Result(ctx, task.ID)
	if failed, ok := errors.AsType[*morningai.TaskError](err); ok {
		fmt.Println(failed.Code, "-", failed.Message)
	}
	// Output:
	// the page <nil>
	// 1 snoozed
	// 2 retry
	// 3 succeeded
	// handler_error - no retry: there is no address
}

// A step runs once per task, however often the task is tried again.
func ExampleStep() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	mailServerIsUp := false
	order := morningai.Handle(app, "order", func(ctx context.Context, item string) (string, error) {
		receipt, err := morningai.Step(ctx, "charge", func(ctx context.Context) (string, error) {
			fmt.Println("charging for", item)
			return "receipt 17", nil
		})
		if err != nil {
			return "", err
		}
		return morningai.Step(ctx, "mail", func(ctx context.Context) (string, error) {
			if !mailServerIsUp {
				mailServerIsUp = true
				return "", morningai.RetryAfter(time.Millisecond, errors.New("the mail server is away"))
			}
			return "mailed " + receipt, nil
		})
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := order.Enqueue(ctx, "a book")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(order.Result(ctx, task.ID))
	// Output:
	// charging for a book
	// mailed receipt 17 <nil>
}

// Progress and log lines are kept with the task, for whoever looks at it.
func ExampleReportProgress() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	convert := morningai.Handle(app, "convert", func(ctx context.Context, pages int) (int, error) {
		for page := 1; page <= pages; page++ {
			morningai.Logger(ctx).Info("converted", "page", page)
			if err := morningai.ReportProgress(ctx, map[string]int{"page": page, "of": pages}); err != nil {
				return 0, err
			}
		}
		return pages, nil
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := convert.Enqueue(ctx, 2)
	if err != nil {
		log.Fatal(err)
	}
	task, err = app.Wait(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, progress %s\n", task.State, task.Progress)
	history, err := app.History(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range history.Logs {
		fmt.Printf("%s: %s %s\n", line.Level, line.Message, line.Attrs)
	}
	// Output:
	// succeeded, progress {"of":2,"page":2}
	// info: converted {"page":1}
	// info: converted {"page":2}
}

// Middleware wraps handlers on the one side and enqueueing on the other.
func ExampleApp_Use() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	app.UseEnqueue(func(next morningai.EnqueueFunc) morningai.EnqueueFunc {
		return func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			for i := range specs {
				morningai.Metadata("tenant", "acme")(&specs[i])
			}
			return next(ctx, specs)
		}
	})
	app.Use(func(next morningai.HandlerFunc) morningai.HandlerFunc {
		return func(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
			fmt.Println("start", task.Type, "for", task.Metadata["tenant"])
			result, err := next(ctx, task)
			fmt.Println("end with", string(result), err)
			return result, err
		}
	})
	square := morningai.Handle(app, "square", func(ctx context.Context, n int) (int, error) { return n * n, nil })
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := square.Enqueue(ctx, 7)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(square.Result(ctx, task.ID))
	// Output:
	// start square for acme
	// end with 49 <nil>
	// 49 <nil>
}

// A batch is one durable write, accepted as a whole or not at all.
func ExampleDefinition_EnqueueBatch() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	square := morningai.Handle(app, "square", func(ctx context.Context, n int) (int, error) { return n * n, nil })
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	tasks, err := square.EnqueueBatch(ctx, []int{1, 2, 3}, morningai.Queue("numbers"))
	if err != nil {
		log.Fatal(err)
	}
	for _, task := range tasks {
		fmt.Println(square.Result(ctx, task.ID))
	}
	_, err = square.EnqueueBatch(ctx, []int{4, 5}, morningai.Priority(10))
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
	// enqueue: 2 fields are wrong: tasks[0].priority must be 0 to 9; tasks[1].priority must be 0 to 9
}

// Cancelling a task cancels the context of its running handler.
func ExampleClient_Cancel() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	started := make(chan bool)
	count := morningai.Handle(app, "count", func(ctx context.Context, _ int) (int, error) {
		started <- true
		<-ctx.Done() // a long computation would look at it now and then
		return 0, ctx.Err()
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := count.Enqueue(ctx, 0)
	if err != nil {
		log.Fatal(err)
	}
	<-started
	if _, err := app.Cancel(ctx, task.ID); err != nil {
		log.Fatal(err)
	}
	task, err = app.Wait(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.State, task.Failures)
	// Output:
	// canceled 0
}

// Stop drains: what does not finish within the grace time goes back to its
// queue, without counting as a failure.
func ExampleApp_Stop() {
	ctx := context.Background()
	app, done := openExample(morningai.WithGrace(10 * time.Millisecond))
	defer done()

	started := make(chan bool, 1)
	endless := morningai.Handle(app, "endless", func(ctx context.Context, _ int) (int, error) {
		started <- true
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	task, err := endless.Enqueue(ctx, 0)
	if err != nil {
		log.Fatal(err)
	}
	<-started
	if err := app.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	task, err = app.Get(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.State, "again, failures:", task.Failures)
	// Output:
	// queued again, failures: 0
}

// Why explains what a task waits for.
func ExampleClient_Why() {
	ctx := context.Background()
	app, done := openExample()
	defer done()

	paused := true
	if _, err := app.SetQueue(ctx, "mail", morningai.QueueChange{Paused: &paused}); err != nil {
		log.Fatal(err)
	}
	spec := morningai.NewTaskSpec("send", json.RawMessage(`{"to":"ada@example.com"}`))
	spec.Queue = "mail"
	task, err := app.Enqueue(ctx, spec)
	if err != nil {
		log.Fatal(err)
	}
	why, err := app.Why(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	for _, reason := range why.Reasons {
		fmt.Println(reason.Code+":", reason.Message)
	}
	// Output:
	// queue_paused: the queue mail is paused
	// no_live_handler: no live worker handles type send on queue mail
}

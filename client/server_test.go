package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

// serving returns clients of a real server with two handlers: double, which
// doubles a number and leaves a log line and progress, and broken, which fails.
// The second client has a token of scope read only.
func serving(t *testing.T) (admin, reader *client.Client) {
	t.Helper()
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	app := morningai.New(engine, morningai.WithNode("n1"))
	morningai.Handle(app, "double", func(ctx context.Context, n int) (int, error) {
		morningai.Logger(ctx).Info("doubling", "n", n)
		return 2 * n, morningai.ReportProgress(ctx, 50)
	})
	app.HandleFunc("broken", func(context.Context, *morningai.Task) (json.RawMessage, error) {
		return nil, &morningai.TaskError{Code: "no_luck", Message: "out of luck"}
	})
	if err := app.Start(ctx); err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("admin token-of-the-admin\nread token-of-the-reader\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := server.New(app, server.Options{TokenFile: tokens, Version: "v9"})
	web := httptest.NewServer(srv.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := errors.Join(srv.Close(), app.Stop(ctx), engine.Close()); err != nil {
			t.Error(err)
		}
	})
	open := func(token string) *client.Client {
		c, err := client.New(web.URL, client.WithToken(token))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	return open("token-of-the-admin"), open("token-of-the-reader")
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestLifeOfATask(t *testing.T) {
	c, _ := serving(t)
	ctx := t.Context()
	one := must[*morningai.Task](t)

	task := one(c.Enqueue(ctx, morningai.NewTaskSpec("double", []byte("21"))))
	if task.Durable != "sqlite" || task.Runs != "here" {
		t.Errorf("receipt: %+v", task)
	}
	end := one(c.Wait(ctx, task.ID))
	if end.State != morningai.StateSucceeded || string(end.Result) != "42" || string(end.Progress) != "50" || end.ID != task.ID {
		t.Errorf("end: %+v", end)
	}
	if got := one(c.Get(ctx, task.ID)); got.Version != end.Version || string(got.Payload) != "21" {
		t.Errorf("get: %+v", got)
	}
	if attempts := must[[]morningai.Attempt](t)(c.Attempts(ctx, task.ID)); len(attempts) != 1 || attempts[0].Node != "n1" ||
		attempts[0].Outcome != morningai.OutcomeSucceeded || attempts[0].FinishedAt.IsZero() {
		t.Errorf("attempts: %+v", attempts)
	}
	if lines := must[[]morningai.LogLine](t)(c.Logs(ctx, task.ID)); len(lines) != 1 || lines[0].Message != "doubling" || string(lines[0].Attrs) != `{"n":21}` {
		t.Errorf("logs: %+v", lines)
	}
	if why := must[morningai.Explanation](t)(c.Why(ctx, task.ID)); why.ID != task.ID || len(why.Reasons) == 0 {
		t.Errorf("why: %+v", why)
	}

	later := morningai.NewTaskSpec("double", []byte("1"))
	later.RunAt = time.Now().Add(time.Hour)
	task = one(c.Enqueue(ctx, later))
	if got := one(c.Cancel(ctx, task.ID)); got.State != morningai.StateCanceled {
		t.Errorf("canceled: %+v", got)
	}
	if got := one(c.Retry(ctx, task.ID)); got.Life != 2 {
		t.Errorf("retried: %+v", got)
	}
	one(c.Wait(ctx, task.ID))
	task = one(c.Enqueue(ctx, later))
	one(c.RunNow(ctx, task.ID))
	one(c.Wait(ctx, task.ID))
	if got := one(c.Delete(ctx, task.ID)); got.ID != task.ID {
		t.Errorf("deleted: %+v", got)
	}
	if _, err := c.Get(ctx, task.ID); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("after the delete: %v", err)
	}
}

func TestWatchSeesTheFirstAndTheLast(t *testing.T) {
	c, _ := serving(t)
	spec := morningai.NewTaskSpec("broken", nil)
	spec.MaxAttempts = 1
	paused := true
	must[morningai.QueueInfo](t)(c.SetQueue(t.Context(), morningai.DefaultQueue, morningai.QueueChange{Paused: &paused}))
	task := must[*morningai.Task](t)(c.Enqueue(t.Context(), spec))
	var states []morningai.State
	paused = false
	end, err := c.Watch(t.Context(), task.ID, func(now *morningai.Task) {
		if len(states) == 0 {
			must[morningai.QueueInfo](t)(c.SetQueue(t.Context(), morningai.DefaultQueue, morningai.QueueChange{Paused: &paused}))
		}
		states = append(states, now.State)
	})
	if err != nil || end.State != morningai.StateFailed || end.Error == nil || end.Error.Code != "no_luck" {
		t.Fatalf("%+v, %v", end, err)
	}
	if states[0] != morningai.StateQueued || states[len(states)-1] != morningai.StateFailed {
		t.Errorf("seen %v", states)
	}
}

func TestBatchAndList(t *testing.T) {
	c, _ := serving(t)
	ctx := t.Context()
	specs := make([]morningai.TaskSpec, 5)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("double", []byte("1"))
		specs[i].Queue, specs[i].RunAt = "later", time.Now().Add(time.Hour)
	}
	tasks := must[[]morningai.Task](t)(c.EnqueueBatch(ctx, specs))
	if len(tasks) != 5 {
		t.Fatalf("%d tasks", len(tasks))
	}
	specs[3].Priority = 10
	_, err := c.EnqueueBatch(ctx, specs)
	if e, ok := errors.AsType[*morningai.Error](err); !ok || !errors.Is(err, morningai.ErrInvalidInput) ||
		len(e.Fields) != 1 || e.Fields[0].Location != "body.tasks[3].priority" {
		t.Errorf("%v", err)
	}
	filter := morningai.Filter{Queue: "later", State: morningai.StateScheduled, Type: "double", Limit: 2}
	var ids []morningai.ID
	for pages := 0; ; pages++ {
		page := must[morningai.Page](t)(c.List(ctx, filter))
		for _, task := range page.Tasks {
			ids = append(ids, task.ID)
		}
		if filter.Cursor = page.Next; filter.Cursor == "" {
			break
		}
		if pages > 5 {
			t.Fatal("the pages do not end")
		}
	}
	if len(ids) != 5 || ids[0] != tasks[4].ID || ids[4] != tasks[0].ID {
		t.Errorf("listed %v", ids)
	}
	if page := must[morningai.Page](t)(c.List(ctx, morningai.Filter{TraceID: tasks[1].TraceID})); len(page.Tasks) != 1 {
		t.Errorf("by trace id: %d", len(page.Tasks))
	}
}

func TestRepeatingAnEnqueue(t *testing.T) {
	c, _ := serving(t)
	ctx := t.Context()
	one := must[*morningai.Task](t)
	spec := morningai.NewTaskSpec("double", []byte("1"))
	first, second := one(c.EnqueueOnce(ctx, "key", spec)), one(c.EnqueueOnce(ctx, "key", spec))
	if first.ID != second.ID {
		t.Error("one key made two tasks")
	}
	other := morningai.NewTaskSpec("double", []byte("2"))
	if _, err := c.EnqueueOnce(ctx, "key", other); morningai.CodeOf(err) != morningai.CodeIdempotencyConflict {
		t.Errorf("%v", err)
	}
	spec.UniqueKey, spec.RunAt = "u", time.Now().Add(time.Hour)
	holder, duplicate := one(c.Enqueue(ctx, spec)), one(c.Enqueue(ctx, spec))
	if holder.Duplicate || !duplicate.Duplicate || holder.ID != duplicate.ID {
		t.Errorf("%+v, then %+v", holder, duplicate)
	}
}

func TestQueuesAndCounts(t *testing.T) {
	c, _ := serving(t)
	ctx := t.Context()
	if _, err := c.Queue(ctx, "mail"); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("%v", err)
	}
	limit, rate, none, paused := 3, morningai.Rate{Count: 10, Per: time.Minute}, 0, true
	queue := must[morningai.QueueInfo](t)
	q := queue(c.SetQueue(ctx, "mail", morningai.QueueChange{Concurrency: &limit, Rate: &rate, Paused: &paused}))
	if q.Concurrency != 3 || q.Rate != rate || !q.Paused {
		t.Errorf("set: %+v", q)
	}
	q = queue(c.SetQueue(ctx, "mail", morningai.QueueChange{Concurrency: &none}))
	if q.Concurrency != 0 || q.Rate != rate || !q.Paused {
		t.Errorf("cleared: %+v", q)
	}
	spec := morningai.NewTaskSpec("double", []byte("1"))
	spec.Queue = "mail"
	must[*morningai.Task](t)(c.Enqueue(ctx, spec))
	if q = queue(c.Queue(ctx, "mail")); q.Counts[morningai.StateQueued] != 1 || q.OldestQueuedAt.IsZero() {
		t.Errorf("get: %+v", q)
	}
	if all := must[[]morningai.QueueInfo](t)(c.Queues(ctx)); len(all) != 1 || all[0].Name != "mail" {
		t.Errorf("all: %+v", all)
	}
	if stats := must[morningai.Stats](t)(c.Stats(ctx)); stats.States[morningai.StateQueued] != 1 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestHealthAndScopes(t *testing.T) {
	admin, reader := serving(t)
	ctx := t.Context()
	h := must[client.Health](t)(admin.Health(ctx))
	if h.Status != "ok" || h.Engine != "sqlite" || h.Workers != 1 || h.Version != "v9" || h.Storage.Status != "ok" {
		t.Errorf("health: %+v", h)
	}
	if live := must[client.Live](t)(admin.Live(ctx)); live.Instance == "" || live.Version != "v9" {
		t.Errorf("live: %+v", live)
	}
	must[morningai.Page](t)(reader.List(ctx, morningai.Filter{}))
	if _, err := reader.Enqueue(ctx, morningai.NewTaskSpec("double", []byte("1"))); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("%v", err)
	}
	nobody := must[*client.Client](t)(client.New(admin.Address()))
	defer nobody.Close()
	if _, err := nobody.List(ctx, morningai.Filter{}); !errors.Is(err, client.ErrUnauthenticated) {
		t.Errorf("%v", err)
	}
	must[client.Health](t)(nobody.Health(ctx))
}

package morningai_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

func TestMiddlewareOrder(t *testing.T) {
	app := newApp(t)
	var mu sync.Mutex
	var seen []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s)
	}
	around := func(name string) morningai.Middleware {
		return func(next morningai.HandlerFunc) morningai.HandlerFunc {
			return func(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
				note("+" + name)
				defer note("-" + name)
				return next(ctx, task)
			}
		}
	}
	enqueue := func(name string) morningai.EnqueueMiddleware {
		return func(next morningai.EnqueueFunc) morningai.EnqueueFunc {
			return func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
				note(name)
				for i := range specs {
					morningai.Metadata(name, "seen")(&specs[i])
				}
				return next(ctx, specs)
			}
		}
	}
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { note("handler"); return 1, nil }, around("c"), around("d"))
	app.Use(around("a"), around("b")) // also around handlers declared before
	app.UseEnqueue(enqueue("x"), enqueue("y"))
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0))(t)
	if _, err := job.Result(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	want := "x y +a +b +c +d handler -d -c -b -a"
	if got := strings.Join(seen, " "); got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if task.Metadata["x"] != "seen" || task.Metadata["y"] != "seen" {
		t.Errorf("metadata %v", task.Metadata)
	}
}

func TestEnqueueMiddlewareMayRefuse(t *testing.T) {
	refused := errors.New("not today")
	client := morningai.NewClient(openEngine(t), morningai.WithEnqueueMiddleware(func(morningai.EnqueueFunc) morningai.EnqueueFunc {
		return func(context.Context, []morningai.TaskSpec) ([]morningai.Receipt, error) { return nil, refused }
	}))
	defer client.Close()
	if _, err := client.Enqueue(t.Context(), morningai.NewTaskSpec("job", nil)); !errors.Is(err, refused) {
		t.Errorf("Enqueue: %v", err)
	}
	if page := must(client.List(t.Context(), morningai.Filter{}))(t); len(page.Tasks) != 0 {
		t.Errorf("accepted %d tasks", len(page.Tasks))
	}
}

func TestBatchIsCheckedAsAWhole(t *testing.T) {
	client := morningai.NewClient(openEngine(t))
	defer client.Close()
	specs := make([]morningai.TaskSpec, 4)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("job", raw(`1`))
	}
	specs[1].Priority, specs[3].Queue, specs[3].Timeout = 10, "a b", 0
	check := func(err error, want ...string) {
		t.Helper()
		e, _ := errors.AsType[*morningai.Error](err)
		if e == nil || e.Code != morningai.CodeInvalidInput {
			t.Fatalf("the batch was answered with %v", err)
		}
		var got []string
		for _, f := range e.Fields {
			got = append(got, f.Location)
		}
		if !slices.Equal(got, want) {
			t.Errorf("wrong fields %v, want %v", got, want)
		}
	}
	_, err := client.EnqueueBatch(t.Context(), specs)
	check(err, "tasks[1].priority", "tasks[3].queue", "tasks[3].timeout")
	_, err = client.EnqueueBatch(t.Context(), specs[1:2])
	check(err, "tasks[0].priority")
	_, err = client.EnqueueBatch(t.Context(), make([]morningai.TaskSpec, morningai.MaxBatch+1))
	check(err, "tasks")
	if specs[0].ID != (morningai.ID{}) {
		t.Error("the caller's specs were changed")
	}
	large := slices.Clone(specs[:1])
	large[0].Payload = raw(`"` + strings.Repeat("x", morningai.MaxPayload) + `"`)
	if _, err := client.EnqueueBatch(t.Context(), large); !errors.Is(err, morningai.ErrTooLarge) || !strings.Contains(err.Error(), "tasks[0]") {
		t.Errorf("a payload over the limit: %v", err)
	}
	if page := must(client.List(t.Context(), morningai.Filter{}))(t); len(page.Tasks) != 0 {
		t.Errorf("%d tasks of refused batches were accepted", len(page.Tasks))
	}
	if receipts, err := client.EnqueueBatch(t.Context(), nil); err != nil || len(receipts) != 0 {
		t.Errorf("an empty batch: %v, %v", receipts, err)
	}
	specs[1].Priority, specs[3] = 1, specs[0]
	receipts := must(client.EnqueueBatch(t.Context(), specs))(t)
	ids := map[morningai.ID]bool{}
	for _, r := range receipts {
		if r.Err != nil {
			t.Error(r.Err)
		}
		ids[r.Task.ID] = true
	}
	if len(ids) != 4 {
		t.Errorf("4 tasks have %d ids", len(ids))
	}
}

func TestTypedBatchReportsSingleConflicts(t *testing.T) {
	app := newApp(t)
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { return 0, nil })
	id := must(morningai.NewID())(t)
	tasks, err := job.EnqueueBatch(t.Context(), []int{1, 2}, morningai.TaskID(id))
	if len(tasks) != 2 || tasks[0] == nil || tasks[1] != nil || !errors.Is(err, morningai.ErrConflict) || !strings.Contains(err.Error(), "tasks[1]") {
		t.Errorf("two payloads under one id: %v, %v", tasks, err)
	}
	unique := must(job.EnqueueBatch(t.Context(), []int{1, 2}, morningai.UniqueKey("k")))(t)
	if unique[0].Duplicate || !unique[1].Duplicate || unique[0].ID != unique[1].ID {
		t.Errorf("one unique key: %+v", unique)
	}
}

func TestUnknownTasks(t *testing.T) {
	client := morningai.NewClient(openEngine(t))
	defer client.Close()
	id, ctx := must(morningai.NewID())(t), t.Context()
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := client.Get(ctx, id); return err },
		"Wait":    func() error { _, err := client.Wait(ctx, id); return err },
		"History": func() error { _, err := client.History(ctx, id); return err },
		"Cancel":  func() error { _, err := client.Cancel(ctx, id); return err },
		"Retry":   func() error { _, err := client.Retry(ctx, id); return err },
		"RunNow":  func() error { _, err := client.RunNow(ctx, id); return err },
		"Why":     func() error { _, err := client.Why(ctx, id); return err },
		"Queue":   func() error { _, err := client.Queue(ctx, "nowhere"); return err },
	} {
		if err := call(); !errors.Is(err, morningai.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQueueSettings(t *testing.T) {
	client := morningai.NewClient(openEngine(t))
	defer client.Close()
	paused, two := true, 2
	if _, err := client.SetQueue(t.Context(), "a b", morningai.QueueChange{}); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("a wrong name: %v", err)
	}
	info := must(client.SetQueue(t.Context(), "mail", morningai.QueueChange{Paused: &paused, Concurrency: &two}))(t)
	if !info.Paused || info.Concurrency != 2 || info.Counts == nil {
		t.Errorf("set to %+v", info)
	}
	if got := must(client.Queue(t.Context(), "mail"))(t); !got.Paused || got.Concurrency != 2 {
		t.Errorf("read back %+v", got)
	}
}

func TestWhy(t *testing.T) {
	app := newApp(t)
	release, started := make(chan struct{}), make(chan struct{})
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { close(started); <-release; return 1, nil })
	why := func(id morningai.ID, want ...string) {
		t.Helper()
		e := must(app.Why(t.Context(), id))(t)
		var codes []string
		for _, r := range e.Reasons {
			codes = append(codes, r.Code)
		}
		if e.ID != id || !slices.Equal(codes, want) {
			t.Errorf("%s because of %v, want %v", e.State, codes, want)
		}
	}
	paused, running := true, false
	must(app.SetQueue(t.Context(), "default", morningai.QueueChange{Paused: &paused}))(t)
	later := must(job.Enqueue(t.Context(), 0, morningai.Delay(time.Hour)))(t)
	why(later.ID, morningai.ReasonWaitingUntil, morningai.ReasonQueuePaused, morningai.ReasonNoLiveHandler)
	task := must(job.Enqueue(t.Context(), 0))(t)
	why(task.ID, morningai.ReasonQueuePaused, morningai.ReasonNoLiveHandler)
	start(t, app)
	why(task.ID, morningai.ReasonQueuePaused)
	must(app.SetQueue(t.Context(), "default", morningai.QueueChange{Paused: &running}))(t)
	<-started
	why(task.ID, morningai.ReasonRunning)
	must(app.Cancel(t.Context(), task.ID))(t)
	why(task.ID, morningai.ReasonRunning, morningai.ReasonCancelRequested)
	close(release)
	must(app.Wait(t.Context(), task.ID))(t)
	why(task.ID, morningai.ReasonEnded)
}

func TestManyWaitersShareOneReader(t *testing.T) {
	var reading, most atomic.Int32
	engine := &hooks{Engine: openEngine(t), events: func(ctx context.Context, req morningai.EventsRequest, next morningai.Engine) (morningai.EventsPage, error) {
		most.Store(max(most.Load(), reading.Add(1)))
		defer reading.Add(-1)
		return next.Events(ctx, req)
	}}
	app := morningai.New(engine, quiet)
	release := make(chan struct{})
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { <-release; return 1, nil })
	start(t, app)
	tasks := must(job.EnqueueBatch(t.Context(), make([]int, 20), morningai.Retention(0)))(t)
	var waiters, waiting sync.WaitGroup
	for i := range 100 {
		waiting.Add(1)
		waiters.Go(func() {
			waiting.Done()
			if v, err := job.Result(t.Context(), tasks[i%20].ID); err != nil || v != 1 {
				t.Errorf("result %d, %v", v, err)
			}
		})
	}
	waiting.Wait()
	close(release)
	waiters.Wait()
	if most.Load() != 1 {
		t.Errorf("%d readers at once", most.Load())
	}
}

func TestWaitEnds(t *testing.T) {
	client := morningai.NewClient(openEngine(t))
	task := must(client.Enqueue(t.Context(), morningai.NewTaskSpec("nobody", nil)))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := client.Wait(ctx, task.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context ended: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := client.Wait(t.Context(), task.ID)
		ended <- err
	}()
	must(client.Delete(t.Context(), task.ID))(t)
	if err := <-ended; !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("the task was deleted: %v", err)
	}
	task = must(client.Enqueue(t.Context(), morningai.NewTaskSpec("nobody", nil)))(t)
	go func() {
		_, err := client.Wait(t.Context(), task.ID)
		ended <- err
	}()
	client.Close()
	if err := <-ended; !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("the client was closed: %v", err)
	}
	client.Close()
	if _, err := client.Get(t.Context(), task.ID); err != nil {
		t.Errorf("Get after Close: %v", err)
	}
}

// When events were missed, waiters read their tasks again.
func TestWaitSurvivesLostEvents(t *testing.T) {
	var calls atomic.Int32
	release := make(chan struct{})
	broken := errors.New("broken pipe")
	engine := &hooks{Engine: openEngine(t), events: func(ctx context.Context, req morningai.EventsRequest, next morningai.Engine) (morningai.EventsPage, error) {
		switch calls.Add(1) {
		case 2: // misses the event of the end
			close(release)
			for {
				page, err := next.Events(ctx, morningai.EventsRequest{Cursor: req.Cursor, Wait: time.Second})
				if err != nil {
					return page, err
				}
				for _, e := range page.Events {
					if e.Kind == morningai.EventSucceeded {
						return morningai.EventsPage{}, &morningai.Error{Code: morningai.CodeCursorExpired}
					}
				}
			}
		case 3:
			return morningai.EventsPage{}, broken
		}
		return next.Events(ctx, req)
	}}
	app := morningai.New(engine, quiet)
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) { <-release; return 1, nil })
	start(t, app)
	task := must(job.Enqueue(t.Context(), 0))(t)
	if v, err := job.Result(t.Context(), task.ID); err != nil || v != 1 {
		t.Errorf("result %d, %v", v, err)
	}
}

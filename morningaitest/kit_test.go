package morningaitest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/morningaitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type order struct {
	ID string `json:"id"`
}

func work(t *testing.T, kit *morningaitest.Kit) int {
	t.Helper()
	n, err := kit.Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func state(t *testing.T, kit *morningaitest.Kit, id morningai.ID) morningai.State {
	t.Helper()
	task, err := kit.App.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return task.State
}

func TestNothingRunsOutsideWork(t *testing.T) {
	kit := morningaitest.New(t)
	var ran []string
	def := morningai.Handle(kit.App, "order", func(_ context.Context, o order) (string, error) {
		ran = append(ran, o.ID)
		return o.ID, nil
	})
	if n := work(t, kit); n != 0 {
		t.Fatalf("%d attempts of nothing", n)
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := def.Enqueue(t.Context(), order{id}); err != nil {
			t.Fatal(err)
		}
	}
	task := morningaitest.RequireCount(t, kit.App, 3, "order", morningaitest.InState(morningai.StateQueued))[0]
	if len(ran) != 0 {
		t.Fatalf("%v ran before Work", ran)
	}
	if n := work(t, kit); n != 3 || !slices.Equal(ran, []string{"a", "b", "c"}) {
		t.Fatalf("%d attempts, ran %v", n, ran)
	}
	if s := state(t, kit, task.ID); s != morningai.StateSucceeded {
		t.Fatalf("state %s", s)
	}
}

func TestWorkFollowsWhatTasksEnqueue(t *testing.T) {
	kit := morningaitest.New(t)
	var child *morningai.Definition[order, any]
	parent := morningai.Handle(kit.App, "parent", func(ctx context.Context, o order) (any, error) {
		_, err := child.Enqueue(ctx, o, morningai.Queue("children"))
		return nil, err
	})
	child = morningai.Handle(kit.App, "child", func(context.Context, order) (any, error) { return nil, nil })
	for range 20 {
		if _, err := parent.Enqueue(t.Context(), order{"x"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := work(t, kit); n != 40 {
		t.Fatalf("%d attempts, want 40", n)
	}
	morningaitest.RequireCount(t, kit.App, 20, "child", morningaitest.InQueue("children"), morningaitest.InState(morningai.StateSucceeded))
}

func TestAdvance(t *testing.T) {
	kit := morningaitest.New(t)
	attempts := 0
	def := morningai.Handle(kit.App, "order", func(context.Context, order) (any, error) {
		attempts++
		if attempts == 1 {
			return nil, errors.New("not yet")
		}
		return nil, nil
	})
	begin := kit.Now()
	task, err := def.Enqueue(t.Context(), order{"x"}, morningai.Delay(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	morningaitest.RequireEnqueued(t, kit.App, "order", morningaitest.DelayedBy(24*time.Hour))
	if n := work(t, kit); n != 0 {
		t.Fatalf("%d attempts before the time", n)
	}
	kit.Advance(24*time.Hour - time.Second)
	kit.Advance(-time.Hour) // nothing
	if n := work(t, kit); n != 0 {
		t.Fatalf("%d attempts a second too early", n)
	}
	kit.Advance(time.Second)
	if n := work(t, kit); n != 1 {
		t.Fatalf("%d attempts when due, want 1", n)
	}
	if got := kit.Now().Sub(begin); got != 24*time.Hour {
		t.Fatalf("the clock moved by %v", got)
	}
	// The retry waits for 2 s ± 20 %, by the same clock.
	retry := morningaitest.RequireEnqueued(t, kit.App, "order", morningaitest.InState(morningai.StateScheduled))
	if wait := retry.RunAt.Sub(kit.Now()); wait < 1600*time.Millisecond || wait > 2400*time.Millisecond {
		t.Fatalf("the retry waits for %v", wait)
	}
	kit.Advance(1500 * time.Millisecond)
	if n := work(t, kit); n != 0 {
		t.Fatalf("%d attempts before the retry is due", n)
	}
	kit.Advance(900 * time.Millisecond)
	if n := work(t, kit); n != 1 {
		t.Fatalf("%d attempts of the retry, want 1", n)
	}
	got, err := kit.App.Get(t.Context(), task.ID)
	if err != nil || got.State != morningai.StateSucceeded || got.Attempt != 2 || !got.FinishedAt.Equal(kit.Now()) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestManyTasksDueAtOnce(t *testing.T) {
	kit := morningaitest.New(t, morningai.WithConcurrency(8))
	def := morningai.Handle(kit.App, "order", func(context.Context, order) (any, error) { return nil, nil })
	if _, err := def.EnqueueBatch(t.Context(), make([]order, 1000), morningai.Delay(time.Minute)); err != nil {
		t.Fatal(err)
	}
	kit.Advance(time.Minute)
	if n := work(t, kit); n != 1000 {
		t.Fatalf("%d attempts, want 1000", n)
	}
}

func TestPausedQueuesAndUnknownTypesAreLeft(t *testing.T) {
	kit := morningaitest.New(t)
	def := morningai.Handle(kit.App, "order", func(context.Context, order) (any, error) { return nil, nil })
	yes, no := true, false
	if _, err := kit.App.SetQueue(t.Context(), "held", morningai.QueueChange{Paused: &yes}); err != nil {
		t.Fatal(err)
	}
	for _, delay := range []time.Duration{0, time.Minute} {
		if _, err := def.Enqueue(t.Context(), order{"x"}, morningai.Queue("held"), morningai.Delay(delay)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kit.App.Enqueue(t.Context(), morningai.NewTaskSpec("unknown", nil)); err != nil {
		t.Fatal(err)
	}
	kit.Advance(time.Hour)
	if n := work(t, kit); n != 0 {
		t.Fatalf("%d attempts, want none", n)
	}
	if _, err := kit.App.SetQueue(t.Context(), "held", morningai.QueueChange{Paused: &no}); err != nil {
		t.Fatal(err)
	}
	if n := work(t, kit); n != 2 {
		t.Fatalf("%d attempts, want 2", n)
	}
	morningaitest.RequireEnqueued(t, kit.App, "unknown", morningaitest.InState(morningai.StateQueued))
}

func TestRun(t *testing.T) {
	kit := morningaitest.New(t)
	def := morningai.Handle(kit.App, "order", func(_ context.Context, o order) (order, error) {
		switch o.ID {
		case "again":
			return order{}, errors.New("try again")
		case "bad":
			return order{}, &morningai.TaskError{Code: "no_stock", Message: "sold out"}
		}
		return order{o.ID + "!"}, nil
	})
	ctx := t.Context()
	for _, opts := range [][]morningai.Option{nil, {morningai.Retention(0)}} {
		if out, err := morningaitest.Run(ctx, kit, def, order{"x"}, opts...); err != nil || out.ID != "x!" {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	for id, code := range map[string]string{"again": morningai.ErrorCodeHandler, "bad": "no_stock"} {
		_, err := morningaitest.Run(ctx, kit, def, order{id})
		if te, ok := errors.AsType[*morningai.TaskError](err); !ok || te.Code != code {
			t.Fatalf("%s: %v, want %s", id, err, code)
		}
	}
	if _, err := morningaitest.Run(ctx, kit, def, order{"x"}, morningai.Delay(time.Minute)); !errors.Is(err, morningai.ErrWrongState) {
		t.Fatalf("a delayed task: %v", err)
	}
	if _, err := morningaitest.Run(ctx, kit, def, order{"x"}, morningai.Priority(99)); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Fatalf("a wrong option: %v", err)
	}
}

// TestWorkEndsWithItsContext also cancels a task from inside another while the
// kit works.
func TestWorkEndsWithItsContext(t *testing.T) {
	kit := morningaitest.New(t, morningai.WithConcurrency(2))
	started := make(chan struct{})
	def := morningai.Handle(kit.App, "hang", func(ctx context.Context, _ order) (any, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	task, err := def.Enqueue(t.Context(), order{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if n, err := kit.Work(ctx); n != 1 || !errors.Is(err, context.Canceled) {
		t.Fatalf("%d attempts, %v", n, err)
	}
	if _, err := kit.App.Cancel(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	work(t, kit)
	if s := state(t, kit, task.ID); s != morningai.StateCanceled {
		t.Fatalf("state %s", s)
	}
}

func TestWorkReportsConfiguration(t *testing.T) {
	kit := morningaitest.New(t)
	for range 2 {
		kit.App.HandleFunc("twice", nil)
	}
	if _, err := kit.Work(t.Context()); err == nil {
		t.Fatal("a type declared twice is no error")
	}
	if err := kit.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := kit.Work(t.Context()); !errors.Is(err, morningai.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

// failing records what an assertion says instead of ending the test.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = strings.TrimSpace(strings.Join([]string{f.said, format}, " "))
	panic(f)
}

func fails(t *testing.T, check func(t testing.TB)) (failed bool) {
	t.Helper()
	f := &failing{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			panic(r)
		}
		failed = f.said != ""
	}()
	check(f)
	return false
}

func TestMatchers(t *testing.T) {
	kit := morningaitest.New(t)
	spec := morningai.NewTaskSpec("mail", []byte(`{ "to":"ada", "n":1.50, "tags":["a","b"] }`))
	spec.Queue, spec.Priority, spec.Metadata = "fast", 2, map[string]string{"k": "v"}
	if _, err := kit.App.Enqueue(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	type mail struct{ To string }
	toAda := func(m mail) bool { return m.To == "ada" }
	for _, tt := range []struct {
		name string
		m    morningaitest.Matcher
		want bool
	}{
		{"payload", morningaitest.Payload(jsonText(`{"tags":["a","b"],"n":1.50,"to":"ada"}`)), true},
		{"part of the payload", morningaitest.Payload(map[string]any{"to": "ada"}), false},
		{"other digits", morningaitest.Payload(jsonText(`{"tags":["a","b"],"n":1.5,"to":"ada"}`)), false},
		{"impossible payload", morningaitest.Payload(make(chan int)), false},
		{"typed payload", morningaitest.PayloadWhere("to ada", toAda), true},
		{"other type", morningaitest.PayloadWhere("is a list", func([]string) bool { return true }), false},
		{"queue", morningaitest.InQueue("fast"), true},
		{"other queue", morningaitest.InQueue("slow"), false},
		{"priority", morningaitest.WithPriority(2), true},
		{"other priority", morningaitest.WithPriority(3), false},
		{"metadata", morningaitest.WithMetadata("k", "v"), true},
		{"other metadata", morningaitest.WithMetadata("k2", ""), false},
		{"state", morningaitest.InState(morningai.StateQueued), true},
		{"no delay", morningaitest.DelayedBy(0), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := !fails(t, func(t testing.TB) { morningaitest.RequireEnqueued(t, kit.App, "mail", tt.m) }); got != tt.want {
				t.Errorf("RequireEnqueued holds: %v, want %v", got, tt.want)
			}
			if got := fails(t, func(t testing.TB) { morningaitest.RequireNotEnqueued(t, kit.App, "mail", tt.m) }); got != tt.want {
				t.Errorf("RequireNotEnqueued fails: %v, want %v", got, tt.want)
			}
		})
	}
	if !fails(t, func(t testing.TB) { morningaitest.RequireEnqueued(t, kit.App, "letter") }) {
		t.Error("a type of which there is none was found")
	}
	if !fails(t, func(t testing.TB) { morningaitest.RequireCount(t, kit.App, 2, "mail") }) {
		t.Error("RequireCount found two of one")
	}
}

type jsonText string

func (j jsonText) MarshalJSON() ([]byte, error) { return []byte(j), nil }

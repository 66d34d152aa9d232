package resilient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/fault"
	"github.com/RC918/morningai/sqlite"
)

// watched is an engine between two that fail by script.
type watched struct {
	*Engine
	shared  *fault.Engine
	journal *fault.Journal
}

func openWatched(t *testing.T, wrap func(morningai.Engine) morningai.Engine, opts ...Option) *watched {
	t.Helper()
	dir := t.TempDir()
	open := func(name string) *sqlite.Engine {
		e, err := sqlite.Open(t.Context(), filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	w := &watched{shared: fault.NewEngine(open("shared.db")), journal: fault.NewJournal(open("journal.db"))}
	var err error
	if w.Engine, err = Open(t.Context(), wrap(w.shared), w.journal, append(opts, WithLogger(slog.New(slog.DiscardHandler)))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func asItIs(e morningai.Engine) morningai.Engine { return e }

// sizes notes how many items each call of a method brings.
func sizes[T any](s *fault.Script, m fault.Method) func() []int {
	var mu sync.Mutex
	var list []int
	s.Add(m, fault.Fault{Times: -1, When: func(request any) bool {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, len(request.([]T)))
		return false
	}})
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// inOneTurn enqueues n tasks whose events the core finds together.
func (w *watched) inOneTurn(t *testing.T, n int) ([]morningai.Receipt, []error) {
	t.Helper()
	receipts, errs := make([]morningai.Receipt, n), make([]error, n)
	var callers sync.WaitGroup
	busy, release := make(chan struct{}), make(chan struct{})
	if err := w.inbox.put(func() { close(busy); <-release }); err != nil {
		t.Fatal(err)
	}
	<-busy
	for i := range n {
		callers.Go(func() {
			some, err := w.Enqueue(t.Context(), []morningai.TaskSpec{morningai.NewTaskSpec("work", fmt.Appendf(nil, "%d", i))})
			if errs[i] = err; err == nil {
				receipts[i] = some[0]
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waiting := 0; waiting < n; <-tick.C {
		w.inbox.mu.Lock()
		waiting = len(w.inbox.events)
		w.inbox.mu.Unlock()
	}
	close(release)
	callers.Wait()
	return receipts, errs
}

func TestWhatComesTogetherTravelsTogether(t *testing.T) {
	w := openWatched(t, asItIs)
	noted, sent := sizes[morningai.Note](&w.journal.Script, "Note"), sizes[morningai.TaskSpec](&w.shared.Script, "Enqueue")
	const n = 100
	receipts, errs := w.inOneTurn(t, n)
	for i := range receipts {
		if errs[i] != nil || receipts[i].Err != nil || string(receipts[i].Task.Payload) != fmt.Sprint(i) || receipts[i].Task.Durable != string(morningai.DurabilityBoth) {
			t.Fatalf("task %d: %+v, %v", i, receipts[i], errs[i])
		}
	}
	if got := sent(); len(got) > 3 || slices.Max(got) < n-2 {
		t.Errorf("the shared engine was called with %v tasks", got)
	}
	if got := noted(); slices.Max(got) < n-2 {
		t.Errorf("the journal was called with %v notes", got)
	}
}

func TestACallHoldsNoMoreThanItMay(t *testing.T) {
	w := openWatched(t, asItIs)
	sent := sizes[morningai.TaskSpec](&w.shared.Script, "Enqueue")
	if _, errs := w.inOneTurn(t, 2*gatherItems); errors.Join(errs...) != nil {
		t.Fatal(errors.Join(errs...))
	}
	if most := slices.Max(sent()); most > gatherItems {
		t.Errorf("one call had %d tasks", most)
	}
}

// What is wrong with one of the tasks that travel together concerns that one.
func TestOneOfManyIsRefused(t *testing.T) {
	w := openWatched(t, asItIs)
	refusal := morningai.InvalidInput("enqueue", morningai.FieldError{Location: "payload", Message: "must be another"})
	w.shared.Script.Add("Enqueue", fault.Fault{Times: -1, Err: refusal, When: func(request any) bool {
		return slices.ContainsFunc(request.([]morningai.TaskSpec), func(s morningai.TaskSpec) bool { return string(s.Payload) == "7" })
	}})
	receipts, errs := w.inOneTurn(t, 20)
	for i := range receipts {
		if refused := errs[i] != nil; refused != (i == 7) || refused && !errors.Is(errs[i], morningai.ErrInvalidInput) {
			t.Errorf("task %d: %+v, %v", i, receipts[i], errs[i])
		}
	}
}

// deaf does not look at its contexts.
type deaf struct {
	morningai.Engine
	freed chan struct{}
}

func (d *deaf) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	<-d.freed
	return d.Engine.Enqueue(context.WithoutCancel(ctx), specs)
}

// A call that does not end is given up, and what it says in the end is dropped.
func TestACallIsGivenUp(t *testing.T) {
	d := &deaf{freed: make(chan struct{})}
	w := openWatched(t, func(e morningai.Engine) morningai.Engine { d.Engine = e; return d })
	free := sync.OnceFunc(func() { close(d.freed) })
	t.Cleanup(free) // before Close, which waits for the call
	// Notes of other things are let through: one that failed earlier would refuse the task before it is sent.
	w.journal.Script.Add("Note", fault.Fault{Times: -1, Err: &morningai.Error{Code: morningai.CodeStorageFailed, Op: "write"}, When: func(request any) bool {
		return slices.ContainsFunc(request.([]morningai.Note), func(n morningai.Note) bool { return n.Kind == noteTask })
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := w.Enqueue(ctx, []morningai.TaskSpec{morningai.NewTaskSpec("work", nil)})
	if !errors.Is(err, morningai.ErrAcceptUnknown) {
		t.Errorf("got %v", err)
	}
	free()
}

package sqlite

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// wheel is a clock that tests turn.
type wheel struct {
	mu sync.Mutex
	at time.Time
}

func (w *wheel) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *wheel) turn(d time.Duration) {
	w.mu.Lock()
	w.at = w.at.Add(d)
	w.mu.Unlock()
}

// stored waits until the table holds n tasks.
func stored(t *testing.T, e *Engine, n int64) {
	t.Helper()
	for {
		page, err := e.Export(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(page.Records)) == n {
			return
		}
		// Waits for the writer's turn; a file at its limit says that it is full.
		if err := e.Probe(t.Context()); err != nil && !errors.Is(err, morningai.ErrStorageFull) {
			t.Fatal(err)
		}
	}
}

func TestRetentionAndTombstones(t *testing.T) {
	clock := &wheel{at: time.Now()}
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"), WithClock(clock.now), WithRetention(2*time.Hour, 3*time.Hour))
	defer func() { shut(t, f.e) }()
	zero := time.Duration(0)
	tasks := f.enqueue(4, func(i int, s *morningai.TaskSpec) {
		if i == 0 {
			s.Retention = &zero
		}
	})
	for i, g := range f.claim(3) {
		o := morningai.OutcomeSucceeded
		if i == 2 {
			o = morningai.OutcomeFailed
		}
		if err := f.finish(g, o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandDelete, ID: tasks[3].ID}}); err != nil {
		t.Fatal(err)
	}
	shown := func(lingering bool, want ...bool) {
		t.Helper()
		for i, w := range want {
			if got := !f.get(tasks[i].ID, lingering).ID.IsZero(); got != w {
				t.Errorf("task %d is shown: %v, want %v (lingering %v)", i, got, w, lingering)
			}
		}
	}
	again := func(i int) (morningai.Receipt, error) {
		spec := morningai.NewTaskSpec("work", tasks[i].Payload)
		spec.ID = tasks[i].ID
		r, err := f.e.Enqueue(t.Context(), []morningai.TaskSpec{spec})
		if err != nil {
			t.Fatal(err)
		}
		return r[0], r[0].Err
	}
	shown(false, false, true, true, false)
	shown(true, true, true, true, false)
	checkCounts(t, f.e, "with retention 0")
	clock.turn(59 * time.Minute)
	shown(true, false, true, true, false)
	if r, err := again(0); err != nil || !r.Existing || r.Task.State != morningai.StateSucceeded {
		t.Errorf("a repeat within the hour: %+v %v", r, err)
	}
	if _, err := again(3); !errors.Is(err, morningai.ErrConflict) {
		t.Errorf("the id of a deleted task: %v", err)
	}
	clock.turn(61*time.Minute + 2*time.Second)
	shown(false, false, false, true, false)
	stored(t, f.e, 1)
	checkCounts(t, f.e, "after two hours")
	if r, err := again(0); err != nil || r.Existing {
		t.Errorf("after its tombstone is gone: %+v %v", r, err)
	}
	clock.turn(time.Hour)
	shown(false, true, false, false, false)
	stored(t, f.e, 1)
	checkCounts(t, f.e, "after three hours")
}

func TestEndedTasksAreBounded(t *testing.T) {
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"), WithMaxEnded(5))
	defer func() { shut(t, f.e) }()
	tasks := f.enqueue(20, nil)
	for _, g := range f.claim(20) {
		if err := f.finish(g, morningai.OutcomeSucceeded); err != nil {
			t.Fatal(err)
		}
	}
	for {
		stats, err := f.e.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if stats.States[morningai.StateSucceeded] == 5 {
			break
		}
	}
	checkCounts(t, f.e, "trimmed")
	if !f.get(tasks[14].ID, false).ID.IsZero() || f.get(tasks[15].ID, false).ID.IsZero() {
		t.Error("not the oldest were removed")
	}
}

// The size limit refuses new tasks and nothing else, and yields once ended
// tasks have gone.
func TestSizeLimit(t *testing.T) {
	clock := &wheel{at: time.Now()}
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"), WithClock(clock.now), WithMaxBytes(minBytes), WithRetention(time.Hour, time.Hour))
	defer func() { shut(t, f.e) }()
	big := make([]byte, 8<<10)
	for i := range big {
		big[i] = 'x'
	}
	accepted := 0
	var full error
	for full == nil {
		spec := morningai.NewTaskSpec("work", append(append([]byte{'"'}, big...), '"'))
		if _, full = f.e.Enqueue(t.Context(), []morningai.TaskSpec{spec}); full == nil {
			accepted++
		}
	}
	if !errors.Is(full, morningai.ErrStorageFull) || accepted < 30 {
		t.Fatalf("%v after %d tasks", full, accepted)
	}
	done := 0
	for done < accepted {
		for _, g := range f.claim(10) {
			if err := f.finish(g, morningai.OutcomeSucceeded); err != nil {
				t.Fatalf("a running task cannot end: %v", err)
			}
			done++
		}
	}
	checkCounts(t, f.e, "full")
	clock.turn(2 * time.Hour)
	stored(t, f.e, 0)
	f.enqueue(1, nil)
}

package resilient

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/fault"
)

// A node that was started during an outage has accepted tasks before anybody has
// heard of it: just after the outage nobody may say that they do not exist.
func TestTasksOfStrangersAreNotDenied(t *testing.T) {
	w := openWatched(t, asItIs)
	settle := func(what string, open bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(30 * time.Second); w.isOpen() != open; <-tick.C {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	code := func(id morningai.ID) morningai.Code {
		t.Helper()
		tasks, err := w.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{id}})
		if err == nil && !tasks[0].ID.IsZero() {
			t.Fatal("it is there")
		}
		return morningai.CodeOf(err)
	}
	id := func() morningai.ID {
		t.Helper()
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if _, err := w.Stats(t.Context()); err != nil { // they have met
		t.Fatal(err)
	}
	w.shared.Add(fault.Any, fault.Fault{Times: -1, Err: errSilent})
	settle("the outage is not noticed", true)
	stranger := id()
	w.shared.Clear()
	settle("the end of the outage is not noticed", false)
	if got := code(stranger); got != morningai.CodeStatusUnknown {
		t.Errorf("an id from the outage is answered with %q", got)
	}
	old := id()
	for i := range 6 {
		old[i] = 0
	}
	if got := code(old); got != "" {
		t.Errorf("an id from long before the outage is answered with %q", got)
	}
}

func (e *Engine) isOpen() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.contact.open()
}

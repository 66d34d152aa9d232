package enginetest

import (
	"context"
	"testing"

	"github.com/RC918/morningai"
)

// RunRestorer runs what engines promise that are a [morningai.Restorer] too.
func RunRestorer(t *testing.T, h Harness) {
	storage := h.New(t)
	e := storage(t)
	set := func(s, want morningai.RestoreState) {
		t.Helper()
		if err := e.(morningai.Restorer).SetRestoreState(t.Context(), s); err != nil {
			t.Fatalf("set %+v: %v", s, err)
		}
		told(t, e, want)
	}
	told(t, e, morningai.RestoreState{})
	set(morningai.RestoreState{Generation: 3, Unfinished: 1<<62 + 1}, morningai.RestoreState{Generation: 3, Unfinished: 1<<62 + 1})
	set(morningai.RestoreState{Generation: 2, Unfinished: -5}, morningai.RestoreState{Generation: 3, Unfinished: -5})
	set(morningai.RestoreState{}, morningai.RestoreState{Generation: 3})
	set(morningai.RestoreState{Generation: 11}, morningai.RestoreState{Generation: 11})
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	e = storage(t)
	told(t, e, morningai.RestoreState{Generation: 11})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.(morningai.Restorer).SetRestoreState(over, morningai.RestoreState{Generation: 12}); err == nil {
		t.Error("a call whose context has ended succeeds")
	}
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := e.(morningai.Restorer).RestoreState(t.Context()); morningai.CodeOf(err) != morningai.CodeClosed {
		t.Errorf("after Close: %v", err)
	}
}

func told(t *testing.T, e morningai.Engine, want morningai.RestoreState) {
	t.Helper()
	if got, err := e.(morningai.Restorer).RestoreState(t.Context()); err != nil || got != want {
		t.Fatalf("it remembers %+v, %v; want %+v", got, err, want)
	}
}

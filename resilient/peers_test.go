package resilient

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/RC918/morningai"
)

// A peer that could not reach the shared engine since it was started is known to nobody,
// and may have accepted tasks all the same.
func TestPeersThatNobodyHasHeardOfAreAsked(t *testing.T) {
	newID := func() morningai.ID {
		t.Helper()
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	theirs := newID()
	var down atomic.Bool
	down.Store(true)
	w := openWatched(t, asItIs, WithPeers("http://mate:8080/"), WithAsker(func(_ context.Context, url string, id morningai.ID) (morningai.Task, error) {
		switch {
		case url != "http://mate:8080":
			return morningai.Task{}, errors.New("nobody lives there")
		case down.Load():
			return morningai.Task{}, errSilent
		case id == theirs:
			return morningai.Task{ID: id, State: morningai.StateQueued, Life: 1, Version: 1, Fresh: morningai.FreshLocal}, nil
		}
		return morningai.Task{}, &morningai.Error{Code: morningai.CodeNotFound, Op: "get"}
	}))
	get := func(id morningai.ID) (there bool, code morningai.Code) {
		t.Helper()
		tasks, err := w.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{id}})
		return err == nil && !tasks[0].ID.IsZero(), morningai.CodeOf(err)
	}
	old, none := newID(), newID()
	for i := range 6 {
		old[i] = 0
	}
	for name, id := range map[string]morningai.ID{"theirs": theirs, "an old one": old} {
		if there, code := get(id); there || code != morningai.CodeStatusUnknown {
			t.Errorf("%s while it was never heard of: there %v, %q", name, there, code)
		}
	}
	down.Store(false)
	if there, code := get(theirs); !there || code != "" {
		t.Errorf("what it has: there %v, %q", there, code)
	}
	if there, code := get(none); there || code != "" {
		t.Errorf("what it has not: there %v, %q", there, code)
	}
	down.Store(true)
	if there, code := get(newID()); there || code != morningai.CodeStatusUnknown {
		t.Errorf("a new one while it is away: there %v, %q", there, code)
	}
	if there, code := get(old); there || code != "" {
		t.Errorf("one from before it was last heard of: there %v, %q", there, code)
	}
}

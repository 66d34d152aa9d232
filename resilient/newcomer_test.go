package resilient

import (
	"errors"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// An id that was made since the last beat may be of a node that has come since:
// before it is "not found" the fleet is looked at again.
func TestNewcomersAreMetBeforeNotFound(t *testing.T) {
	w := openWatched(t, asItIs)
	ctx := t.Context()
	beat := func() {
		t.Helper()
		if _, err := w.Beat(ctx, morningai.BeatRequest{Session: morningai.SessionID{1}, LeaseTime: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	newID := func() morningai.ID {
		t.Helper()
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	look := func(id morningai.ID) (found bool, err error) {
		t.Helper()
		answered := make(chan error, 1)
		go func() {
			tasks, err := w.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{id}})
			found = err == nil && !tasks[0].ID.IsZero()
			answered <- err
		}()
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case err = <-answered:
				return found, err
			case <-ticker.C:
				beat()
			}
		}
	}
	for range 3 { // the second knows that the journal is compared
		beat()
	}
	if found, err := look(newID()); found || err != nil {
		t.Errorf("with nobody else it is %v, %v", found, err)
	}
	id := newID()
	if _, err := w.shared.Beat(ctx, morningai.BeatRequest{Session: morningai.SessionID{2}, LeaseTime: time.Minute,
		Member: &morningai.Member{Journal: newID(), Node: "b", Session: morningai.SessionID{2}, ContactAt: id.Time()}}); err != nil {
		t.Fatal(err)
	}
	if found, err := look(id); found || !errors.Is(err, morningai.ErrStatusUnknown) {
		t.Errorf("with a node that has come since it is %v, %v", found, err)
	}
}

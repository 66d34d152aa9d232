package morningai_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/RC918/morningai"
)

// More handlers run once they may, and fewer.
func TestSetConcurrency(t *testing.T) {
	app := newApp(t, morningai.WithConcurrency(1))
	started, finish := make(chan struct{}, 8), make(chan struct{})
	var now, most atomic.Int32
	morningai.Handle(app, "held", func(ctx context.Context, _ int) (int, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		started <- struct{}{}
		select {
		case <-finish:
			return 1, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	start(t, app)
	var ids []morningai.ID
	add := func(n int) {
		t.Helper()
		for range n {
			ids = append(ids, must(app.Enqueue(t.Context(), morningai.NewTaskSpec("held", []byte("1"))))(t).ID)
		}
	}
	add(3)
	<-started
	if err := app.SetConcurrency(3); err != nil {
		t.Fatal(err)
	}
	<-started
	<-started
	if err := app.SetConcurrency(1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		finish <- struct{}{}
	}
	for _, id := range ids {
		must(app.Wait(t.Context(), id))(t)
	}
	most.Store(0)
	add(4)
	for range 4 {
		<-started
		finish <- struct{}{}
	}
	if n := most.Load(); n != 1 {
		t.Errorf("%d handlers ran at once, one may", n)
	}
	for _, n := range []int{0, morningai.MaxConcurrency + 1} {
		if err := app.SetConcurrency(n); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

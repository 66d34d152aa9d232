package morningai

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// crew is the workers of an app: one for each engine that it takes tasks from.
// They share its slots.
type crew struct {
	app     *App
	busy    atomic.Int32 // slots taken
	workers []*worker    // the app's own engine first; fixed before one starts
}

// hire registers a worker with each engine, and starts them once all are.
func hire(ctx context.Context, app *App, handlers map[string]HandlerFunc) (*crew, error) {
	c := &crew{app: app}
	for _, engine := range append([]Engine{app.engine}, app.sources...) {
		w, err := newWorker(app, engine, handlers)
		if err == nil {
			err = w.beat(ctx)
		}
		if err != nil {
			for _, registered := range c.workers {
				err = errors.Join(err, registered.leave(ctx))
			}
			return nil, err
		}
		w.crew = c
		c.workers = append(c.workers, w)
	}
	for _, w := range c.workers {
		w.start()
	}
	return c, nil
}

// take takes a slot. It is false if claims of several engines have together
// brought more than there are slots.
func (c *crew) take() bool {
	if c.busy.Add(1) <= c.app.slots.Load() || len(c.workers) == 1 {
		return true
	}
	c.busy.Add(-1)
	return false
}

// free gives a slot back.
func (c *crew) free() {
	c.busy.Add(-1)
	for _, w := range c.workers {
		w.notify()
	}
}

// tighten ends the claims of the other workers that ask for more than there is
// room at this moment.
func (c *crew) tighten(but *worker) {
	for _, w := range c.workers {
		if w != but {
			w.tighten()
		}
	}
}

// stop drains all workers at once and returns what went wrong.
func (c *crew) stop(ctx context.Context) error {
	errs := make([][]error, len(c.workers))
	var all sync.WaitGroup
	for i, w := range c.workers {
		all.Go(func() { errs[i] = w.stop(ctx) })
	}
	all.Wait()
	var flat []error
	for _, list := range errs {
		flat = append(flat, list...)
	}
	return errors.Join(flat...)
}

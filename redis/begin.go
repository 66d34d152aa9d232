package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// tryEvery is the time between two attempts to begin.
const tryEvery = 200 * time.Millisecond

// starter is where an engine stands that has not begun yet.
type starter struct {
	ready atomic.Bool

	mu   sync.Mutex
	last *attempt
}

type attempt struct {
	done  chan struct{}
	err   error
	ended time.Time
}

// begun returns nil once the server has been found to be one that can be used.
// Before, it waits for the attempt under way, or starts one, one at a time.
func (e *Engine) begun(ctx context.Context) error {
	if e.start.ready.Load() {
		return nil
	}
	try := e.attempt()
	wait, cancel := context.WithTimeout(ctx, e.opt.timeout/2) // the rest is for the call
	defer cancel()
	select {
	case <-try.done:
		if try.err != nil && e.ctx.Err() != nil {
			return morningai.ErrClosed
		}
		return try.err
	case <-wait.Done():
		return e.failed(ctx, "open redis", wait.Err())
	}
}

// attempt is the one under way, the last if it is not long ago, or a new one.
// It goes on when its caller has left.
func (e *Engine) attempt() *attempt {
	e.start.mu.Lock()
	defer e.start.mu.Unlock()
	if last := e.start.last; last != nil {
		select {
		case <-last.done:
			if last.err == nil || time.Since(last.ended) < tryEvery {
				return last
			}
		default:
			return last
		}
	}
	t := &attempt{done: make(chan struct{})}
	e.start.last = t
	e.loops.Go(func() {
		t.err = e.begin(e.ctx)
		t.ended = time.Now()
		close(t.done)
	})
	return t
}

// begin connects, checks the server and the partitions, and starts what runs in
// the background. After an error nothing of it is left.
func (e *Engine) begin(ctx context.Context) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	if err := e.check(ctx); err != nil {
		e.disconnect()
		return err
	}
	for _, p := range e.parts {
		p.run()
	}
	e.start.ready.Store(true)
	return nil
}

// connect makes the client. A server that is only slow is tried again for as
// long as a call may take.
func (e *Engine) connect(ctx context.Context) error {
	ctx, cancel := e.bounded(ctx)
	defer cancel()
	for {
		err := e.connectOnce(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !timedOut(err) {
			return notConnected(e.where, err)
		}
	}
}

func (e *Engine) connectOnce(ctx context.Context) error {
	type made struct {
		client rueidis.Client
		err    error
	}
	done := make(chan made)
	e.calls.Go(func() { // the dial timeout bounds it
		c, err := rueidis.NewClient(e.option)
		if err != nil && c != nil {
			c.Close()
		}
		select {
		case done <- made{c, err}:
		case <-ctx.Done():
			if err == nil {
				c.Close()
			}
		}
	})
	select {
	case m := <-done:
		if m.err == nil {
			e.client = m.client
		}
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) check(ctx context.Context) error {
	if err := e.checkServers(ctx); err != nil {
		return err
	}
	for _, p := range e.parts {
		call, cancel := e.bounded(ctx)
		err := p.open(call, p.dataSet(), toWork)
		if err == nil {
			err = p.recall(call)
		}
		cancel()
		if err != nil {
			return unavailable("open redis", err)
		}
		for _, l := range p.lanes() {
			l.renew()
		}
	}
	if err := e.lookUp(ctx); err != nil {
		return unavailable("open redis", err)
	}
	return nil
}

// disconnect ends the client. One that still waits for a frozen server is not
// waited for: its connections are taken away.
func (e *Engine) disconnect() {
	const patience = 100 * time.Millisecond
	cut := time.AfterFunc(patience, e.link.drop)
	e.client.Close()
	cut.Stop()
	e.client = nil
}

// Prepare completes a spec as Enqueue would, without Redis: it normalizes it and
// gives it an id that fits its unique key. Enqueue accepts it as it stands, so
// that a caller may know the id before the task is sent. A refused spec is
// unchanged.
func (e *Engine) Prepare(spec *morningai.TaskSpec) error {
	s := *spec
	if err := e.settle(&s); err != nil {
		return err
	}
	*spec = s
	return nil
}

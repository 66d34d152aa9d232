package resilient

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
)

// crew are the goroutines that make calls. A few are kept: one that has made
// calls before has the stack for the next.
type crew struct {
	work  chan *call
	under sync.WaitGroup // calls that run, and answers that the core has not seen
	hands sync.WaitGroup
	idle  atomic.Int32
}

const keptIdle = 32

// call is one call of an engine, on behalf of one effect or of several that do
// the same.
type call struct {
	e      *Engine
	parts  []effect
	ctx    context.Context
	cancel context.CancelFunc
	ended  atomic.Bool // its answer was handed back, or it was given up
}

// overtime is how long a call may take to notice that its time is over.
const overtime = 100 * time.Millisecond

// start makes a call; mu is held.
func (e *Engine) start(parts []effect) {
	c := &call{e: e, parts: parts}
	c.ctx, c.cancel = context.WithCancel(e.ctx)
	if waits := parts[0].waits; waits != 0 {
		e.waiting[waits] = c.cancel
	}
	e.crew.under.Add(2) // the call, and its answer
	select {
	case e.crew.work <- c:
	default:
		e.crew.hands.Go(func() { e.crew.serve(c) })
	}
}

func (w *crew) serve(c *call) {
	for ok := true; ok; {
		c.make()
		w.under.Done()
		if w.idle.Add(1) > keptIdle {
			w.idle.Add(-1)
			return
		}
		c, ok = <-w.work
		w.idle.Add(-1)
	}
}

// make makes the call and hands what came of it back. One that does not end in
// time is given up; its result is dropped.
func (c *call) make() {
	limit := c.parts[0].limit
	if limit == 0 {
		c.end(c.run(c.ctx))
		return
	}
	limited, stop := context.WithTimeout(c.ctx, limit)
	defer stop()
	late := time.AfterFunc(limit+overtime, func() { c.end(nil, context.DeadlineExceeded) })
	defer late.Stop()
	result, err := c.run(limited)
	if err != nil && limited.Err() != nil && c.ctx.Err() == nil {
		err = errors.Join(context.DeadlineExceeded, err)
	}
	c.end(result, err)
}

func (c *call) run(ctx context.Context) (any, error) {
	if len(c.parts) == 1 {
		return c.parts[0].call(ctx, c.e.remote, c.e.journal)
	}
	result, err := c.e.together(ctx, c.parts)
	if err == nil || outage(err) || errors.Is(err, morningai.ErrClosed) || ctx.Err() != nil {
		return result, err
	}
	// Something is wrong with one of them: the others do not suffer for it.
	each := make(apart, len(c.parts))
	for i := range c.parts {
		each[i].value, each[i].err = c.parts[i].call(ctx, c.e.remote, c.e.journal)
	}
	return each, nil
}

// apart is what came of parts that were called one by one in the end.
type apart []answer[any]

// end hands the answer back, once.
func (c *call) end(result any, err error) {
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	c.cancel()
	c.e.inbox.putBack(func() { c.answer(result, err) })
}

// answer is the event of a call that has ended; mu is held.
func (c *call) answer(result any, err error) {
	e := c.e
	if waits := c.parts[0].waits; waits != 0 {
		delete(e.waiting, waits)
	}
	each, _ := result.(apart)
	receipts, _ := result.([]morningai.Receipt)
	for i := range c.parts {
		p := &c.parts[i]
		switch n := len(p.tasks); {
		case each != nil:
			result, err = each[i].value, each[i].err
		case n > 0 && len(c.parts) > 1 && err == nil:
			result, receipts = receipts[:n:n], receipts[n:]
		}
		p.then(result, err)
	}
	e.answered++
}

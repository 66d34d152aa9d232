package morningai

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	claimWait = 5 * time.Second
	// A full worker asks for more once half its slots are free or this long
	// has passed since there was one: one call for many tasks instead of one
	// call for each.
	gatherTime = 100 * time.Microsecond
	// A worker that stays full for this long asks for cancels meanwhile.
	saturatedTime = 10 * time.Millisecond
	// With fewer slots than this a second claim under way would only make both
	// smaller.
	helpedSlots = 64
)

// claimer is a loop that claims. The first waits for tasks; the second rests until
// a claim was filled and then takes turns with it, each for half of the slots: an
// engine has the next claim at hand while the handlers run the tasks of the last.
type claimer struct {
	asked  atomic.Int32  // tasks that its claim is for, until they have slots
	hungry atomic.Int32  // the capacity that it waits for
	wake   chan struct{} // a token when there is as much

	// Guarded by worker.mu. The Seq of the last reply that was accepted: what this
	// loop gets later has larger ones.
	through int64
	resting bool
}

func newClaimer() *claimer { return &claimer{wake: make(chan struct{}, 1)} }

// helped says whether the app's worker has two claim loops: several engines share
// the slots as they get tasks, one after the other.
func (a *App) helped() bool { return a.concurrency >= helpedSlots && len(a.sources) == 0 }

// through returns the Seq up to which all replies have been accepted. It is called
// with mu held.
func (w *worker) through() int64 {
	seq := w.claimers[0].through
	if c := w.claimers[1]; !c.resting {
		seq = min(seq, c.through)
	}
	return seq
}

// capacity is how many tasks may be claimed now.
func (w *worker) capacity() int {
	slots := int(w.app.slots.Load())
	free := slots - int(w.crew.busy.Load())
	if w.reporter.bytes.Load() > maxUnrecordedBytes {
		return 0
	}
	return max(0, min(free, slots+maxUnrecorded-int(w.reporter.open.Load())))
}

// available is how many tasks one claimer may ask for.
func (w *worker) available(c *claimer) int {
	n := w.capacity()
	for _, other := range w.claimers {
		if other != c {
			n -= int(other.asked.Load())
		}
	}
	return max(0, n)
}

// notify tells whoever waits that there is capacity.
func (w *worker) notify() {
	for _, c := range w.claimers {
		h := int(c.hungry.Load())
		if h == 0 || w.available(c) < h {
			continue
		}
		select {
		case c.wake <- struct{}{}:
		default:
		}
		if cancel := w.interrupt.Load(); cancel != nil && c == w.claimers[0] {
			(*cancel)()
		}
	}
}

// tighten ends the claim under way if it is for more tasks than fit at
// this moment; the next one asks for less.
func (w *worker) tighten() {
	if cancel := w.preempt.Load(); cancel != nil && w.capacity() < int(w.claimers[0].asked.Load()) {
		(*cancel)()
	}
}

// awaitCapacity returns when a claimer may ask for n tasks, after d, or when ctx ends.
func (w *worker) awaitCapacity(ctx context.Context, c *claimer, n int, d time.Duration) {
	c.hungry.Store(int32(n))
	defer c.hungry.Store(0)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for w.available(c) < n {
		select {
		case <-c.wake:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// gather returns how many tasks a claimer is to ask for, and how the queues share
// them. If its last claim was filled it waits a moment for more slots.
func (w *worker) gather(ctx context.Context, c *claimer, full bool) (int, []QueueShare) {
	most := int(w.app.slots.Load())
	half := max(1, most/2)
	if n := w.available(c); n == 0 || full && n < half {
		w.awaitCapacity(ctx, c, 1, saturatedTime)
		if w.available(c) > 0 {
			w.awaitCapacity(ctx, c, half, gatherTime)
		}
	}
	w.mu.Lock()
	if !w.claimers[1].resting {
		most = half
	}
	w.mu.Unlock()
	w.claimMu.Lock()
	defer w.claimMu.Unlock()
	n := min(w.available(c), most)
	c.asked.Store(int32(n))
	return n, w.shares.next(n)
}

// claimLoop keeps one claim outstanding until the worker stops.
func (w *worker) claimLoop() {
	ctx, c := w.claimCtx, w.claimers[0]
	full := false // the last claim was filled: there may be more
	for tries := 0; ctx.Err() == nil; {
		n, shares := w.gather(ctx, c, full)
		reply, err := w.claim(ctx, n, shares)
		full = n == 0 || len(reply.Grants) == n
		w.accept(c, &reply)
		if n > 0 && len(reply.Grants) >= helpedSlots/2 {
			select {
			case w.plenty <- struct{}{}:
			default:
			}
		}
		switch {
		case err == nil:
			tries = 0
		case ctx.Err() != nil:
		case errors.Is(err, ErrClosed):
			w.app.logger.Error("the engine has been closed under a running worker, which claims nothing more", "error", err)
			return
		case errors.Is(err, ErrNotFound):
			// Others have called this session dead; a beat brings it back.
			w.app.logger.Warn("the worker's session was unknown to the engine and is registered again")
			if err := w.beat(ctx); err != nil && ctx.Err() == nil {
				w.app.logger.Warn("register the session again", "error", err)
				pause(ctx, repeatDelay(tries))
				tries++
			}
		default:
			if tries == 0 {
				w.app.logger.Warn("tasks cannot be claimed, trying again", "error", err)
			}
			pause(ctx, repeatDelay(tries))
			tries++
		}
	}
}

// helpLoop claims beside the claim loop as long as its claims are filled. What
// goes wrong is the claim loop's to tell: it makes the same calls.
func (w *worker) helpLoop() {
	ctx, c := w.claimCtx, w.claimers[1]
	for {
		select {
		case <-w.plenty:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		c.through, c.resting = w.claimers[0].through, false
		w.mu.Unlock()
		for full := true; full && ctx.Err() == nil; {
			n, shares := w.gather(ctx, c, true)
			if n == 0 { // all slots are taken: the claim loop asks for cancels meanwhile
				break
			}
			reply, _ := w.engine.Claim(ctx, ClaimRequest{Session: w.session, Queues: shares, Types: w.types, N: n})
			full = len(reply.Grants) == n
			w.accept(c, &reply)
		}
		w.mu.Lock()
		c.resting = true
		w.mu.Unlock()
	}
}

// claim asks for n tasks. With none it only waits for cancels. It returns early
// without an error when capacity has changed so that it should ask anew.
func (w *worker) claim(ctx context.Context, n int, shares []QueueShare) (ClaimReply, error) {
	req := ClaimRequest{Session: w.session, Queues: shares, Types: w.types, N: n, Wait: claimWait}
	if n > 0 && len(w.crew.workers) == 1 {
		return w.engine.Claim(ctx, req)
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	c := w.claimers[0]
	if n > 0 {
		w.preempt.Store(&cancel)
		w.tighten() // for slots that were taken just before
	} else {
		w.interrupt.Store(&cancel)
		c.hungry.Store(1)
		w.notify() // for capacity that came just before
	}
	reply, err := w.engine.Claim(waiting, req)
	c.hungry.Store(0)
	w.interrupt.Store(nil)
	w.preempt.Store(nil)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		err = nil
	}
	return reply, err
}

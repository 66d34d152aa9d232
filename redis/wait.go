package redis

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// waiter blocks on the lists that wake a session, once for all of its claims,
// and lets the claims know.
type waiter struct {
	mu    sync.Mutex
	subs  int
	alive bool
	woken chan struct{} // closed and replaced by every token
}

// dues tells a claim when the first of the tasks becomes due that this engine has
// put off since the claim last looked. Redis needs no token for that: whoever puts
// a task off mostly waits for work itself.
type dues struct {
	mu    sync.Mutex
	first time.Time
	moved chan struct{} // of one: the first has changed
}

func (d *dues) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = time.Time{}
}

func (d *dues) add(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.first.IsZero() && !at.Before(d.first) {
		return
	}
	d.first = at
	select {
	case d.moved <- struct{}{}:
	default:
	}
}

// soonest is what is left of a wait that ends at end.
func (d *dues) soonest(end time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.first.IsZero() && d.first.Before(end) {
		end = d.first.Add(time.Millisecond) // Redis counts in whole ones
	}
	return time.Until(end)
}

// watchDues joins a claim to those that are told of tasks put off.
func (e *Engine) watchDues() (d *dues, leave func()) {
	d = &dues{moved: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.putOff == nil {
		e.putOff = make(map[*dues]struct{})
	}
	e.putOff[d] = struct{}{}
	return d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.putOff, d)
	}
}

// tellDue lets the claims under way know that a task becomes due.
func (e *Engine) tellDue(at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for d := range e.putOff {
		d.add(at)
	}
}

// waitWork returns when a token says that there may be work, when a task that was
// put off meanwhile becomes due, or after d.
func (e *Engine) waitWork(ctx context.Context, id morningai.SessionID, types []string, queues []morningai.QueueShare, d time.Duration, due *dues) error {
	name := waiterName(id, types, queues)
	w := e.waiter(name)
	w.mu.Lock()
	w.subs++
	woken := w.woken
	if !w.alive {
		w.alive = true
		e.loops.Go(func() { e.block(w, name, id, types, queues) })
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.subs--
		w.mu.Unlock()
	}()
	end := time.Now().Add(d)
	for {
		timer := time.NewTimer(due.soonest(end))
		select {
		case <-due.moved:
			timer.Stop()
			continue
		case <-woken:
			timer.Stop()
			return nil
		case <-timer.C:
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-e.ctx.Done():
			timer.Stop()
			return morningai.ErrClosed
		}
	}
}

// waiterName tells waiters apart: those of one name wait for the same.
func waiterName(id morningai.SessionID, types []string, queues []morningai.QueueShare) string {
	var b strings.Builder
	b.Write(id[:])
	b.WriteString(strings.Join(types, " "))
	for _, q := range queues {
		b.WriteString("@" + q.Name)
	}
	return b.String()
}

func (e *Engine) waiter(name string) *waiter {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiters == nil {
		e.waiters = make(map[string]*waiter)
	}
	w := e.waiters[name]
	if w == nil {
		w = &waiter{woken: make(chan struct{})}
		e.waiters[name] = w
	}
	return w
}

// block pops tokens as long as claims wait. Several partitions are watched one
// by one: their lists are in different slots.
func (e *Engine) block(w *waiter, name string, id morningai.SessionID, types []string, queues []morningai.QueueShare) {
	var all sync.WaitGroup
	for _, p := range e.parts {
		keys := append([]string{p.controlKey(id)}, p.wakeKeys(types, queues)...)
		all.Go(func() {
			for e.ctx.Err() == nil && w.wanted() {
				e.pop(w, p, keys)
			}
		})
	}
	all.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive = false
	if w.subs == 0 {
		delete(e.waiters, name)
		return
	}
	// A claim came between: it looks again and starts the next round.
	close(w.woken)
	w.woken = make(chan struct{})
}

// wake lets the claims that wait look again.
func (w *waiter) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.woken)
	w.woken = make(chan struct{})
}

func (w *waiter) wanted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.subs > 0
}

// pop waits for one token. A token that comes when no claim waits any more goes
// back, for another node.
func (e *Engine) pop(w *waiter, p *partition, keys []string) {
	ctx, cancel := context.WithTimeout(e.ctx, e.opt.blockFor+e.opt.timeout)
	defer cancel()
	result, err := e.do(ctx, e.client.B().Blpop().Key(keys...).Timeout(e.opt.blockFor.Seconds()).Build())
	if err == nil {
		err = result.Error()
	}
	if rueidis.IsRedisNil(err) {
		return // nothing came
	}
	if err != nil { // a refusal comes at once: a replica, a slot on its way
		timer := time.NewTimer(e.opt.pauseOnFailure)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-e.ctx.Done():
		}
		return
	}
	got, err := result.AsStrSlice()
	if err != nil || len(got) == 0 {
		return
	}
	w.mu.Lock()
	wanted := w.subs > 0
	if wanted {
		close(w.woken)
		w.woken = make(chan struct{})
	}
	w.mu.Unlock()
	if !wanted {
		p.leaveTokens(got[:1])
	}
}

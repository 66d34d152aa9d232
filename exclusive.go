package morningai

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrContactLost is the cause of the context of an exclusive task's handler
// ([context.Cause]) that was stopped because its worker has heard nothing from the
// engine for so long that another worker may be given the task soon.
var ErrContactLost = errors.New("the engine has not answered for so long that another worker may be given the exclusive task")

// exclusiveMargin is how long before the others may call a worker dead its
// exclusive handlers are stopped: the time that they have to return.
func exclusiveMargin(lease time.Duration) time.Duration { return lease / 4 }

// contact is when the last beats were sent that were answered. Nobody can call the
// session dead before its lease time has passed since then.
type contact struct {
	mu     sync.Mutex
	local  time.Time         // by the node's own journal at least
	shared time.Time         // by whoever watches the session
	missed map[int]time.Time // the same in parts of the engine that have not seen the last beat
}

func (c *contact) heard(sent time.Time, reply *BeatReply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.local = sent
	if reply.Alone {
		return
	}
	missed := make(map[int]time.Time, len(reply.Missed))
	for _, part := range reply.Missed {
		if missed[part] = c.shared; !c.missed[part].IsZero() {
			missed[part] = c.missed[part]
		}
	}
	c.shared, c.missed = sent, missed
}

// left is for how long exclusive tasks of either kind may go on, if each beat is
// good for a time.
func (c *contact) left(good time.Duration) (local, shared time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return good - time.Since(c.local), good - time.Since(c.shared)
}

// leftIn is left for a task that is not the journal's own, in the part of the engine
// that it belongs to.
func (c *contact) leftIn(part int, good time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.missed[part]; !at.IsZero() {
		return good - time.Since(at)
	}
	return good - time.Since(c.shared)
}

// soonest is when the first of the parts that miss beats is over.
func (c *contact) soonest(good time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := good
	for _, at := range c.missed {
		if left := good - time.Since(at); left > 0 {
			next = min(next, left)
		}
	}
	return next
}

// exclusiveTime is for how long a beat lets exclusive tasks run.
func (w *worker) exclusiveTime() time.Duration { return w.app.lease - exclusiveMargin(w.app.lease) }

// left is for how long an exclusive execution may go on.
func (w *worker) left(e *execution) time.Duration {
	if e.own {
		local, _ := w.contact.left(w.exclusiveTime())
		return local
	}
	return w.contact.leftIn(e.task.ID.Part(w.engine.Capabilities().Parts), w.exclusiveTime())
}

// surelyAlive reports whether an exclusive task may start. After a time without
// contact the others may be about to call the session dead, so that it beats first.
func (w *worker) surelyAlive(e *execution) bool {
	if w.left(e) > 0 {
		return true
	}
	if err := w.beat(w.claimCtx); err != nil && w.claimCtx.Err() == nil {
		w.app.logger.LogAttrs(context.Background(), slog.LevelWarn, "an exclusive task is handed back, because the worker's beat failed",
			append(e.attrs(), slog.Any("error", err))...)
	}
	return w.left(e) > 0
}

// guardExclusive stops exclusive handlers in time, until the worker has stopped.
func (w *worker) guardExclusive() {
	timer := time.NewTimer(w.interval)
	defer timer.Stop()
	for {
		select {
		case <-w.beatCtx.Done():
			return
		case <-timer.C:
		}
		local, shared := w.contact.left(w.exclusiveTime())
		next := w.contact.soonest(w.exclusiveTime())
		for _, left := range [...]time.Duration{local, shared} {
			if left > 0 { // else nothing starts before another beat was answered
				next = min(next, left)
			}
		}
		w.stopExclusive()
		timer.Reset(next)
	}
}

func (w *worker) stopExclusive() {
	for _, e := range w.openExecutions() {
		if !e.exclusive || e.ctx.Err() != nil || w.left(e) > 0 {
			continue
		}
		e.interrupt(interruptAlone)
		w.app.logger.LogAttrs(context.Background(), slog.LevelWarn,
			"an exclusive handler is stopped: the engine has not answered for so long that the task may soon be handed to another worker", e.attrs()...)
	}
}

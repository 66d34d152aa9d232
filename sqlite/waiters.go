package sqlite

import (
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// waiter is a claim that waits for work.
type waiter struct {
	req      *morningai.ClaimRequest
	wake     chan struct{}
	signaled bool
}

// waiterList wakes as many waiting claims as there may be work for, the
// longest waiting first. One that leaves passes its wake-up on. Engine.mu
// guards it.
type waiterList struct{ list []*waiter }

func (l *waiterList) remove(w *waiter) {
	if i := slices.Index(l.list, w); i >= 0 {
		l.list = slices.Delete(l.list, i, i+1)
	}
}

func (w *waiter) signal() {
	w.signaled = true
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// wake signals up to n waiters that could claim something now.
func (l *waiterList) wake(e *Engine, n int) {
	if n <= 0 || len(l.list) == 0 {
		return
	}
	now := e.now()
	for _, w := range l.list {
		if w.signaled || !e.hasWork(w.req, now) {
			continue
		}
		w.signal()
		if n--; n == 0 {
			return
		}
	}
}

func (l *waiterList) wakeSession(s *session) {
	for _, w := range l.list {
		if w.req.Session == s.id {
			w.signal()
			return
		}
	}
}

func (l *waiterList) wakeAll() {
	for _, w := range l.list {
		w.signal()
	}
}

// hasWork reports whether a claim might get a task.
func (e *Engine) hasWork(req *morningai.ClaimRequest, now time.Time) bool {
	if req.N <= 0 {
		return false
	}
	p := picker{e: e, now: now}
	has := func(q *queue) bool {
		for prio := range q.runs {
			for _, k := range q.runs[prio] {
				if (k.len() > 0 || k.more) && slices.Contains(req.Types, k.line.typ) {
					return p.open(q)
				}
			}
		}
		return false
	}
	if len(req.Queues) == 0 {
		for _, q := range e.queues {
			if has(q) {
				return true
			}
		}
		return false
	}
	for _, share := range req.Queues {
		if q := e.queues[share.Name]; q != nil && has(q) {
			return true
		}
	}
	return false
}

// wakeForRate has the clock wake waiting claims when a queue's rate allows
// another start. Engine.mu is held.
func (e *Engine) wakeForRate(q *queue, at time.Time) {
	if e.rateWake.IsZero() || at.Before(e.rateWake) {
		e.rateWake = at
		e.look()
	}
}

package morningai

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// beatLoop keeps the session alive, and looks for handlers that ignore their
// timeouts, until the worker has stopped.
func (w *worker) beatLoop() {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-w.beatCtx.Done():
			return
		case <-ticker.C:
		}
		w.failOverdue(time.Now())
		err := w.beat(w.beatCtx)
		switch {
		case err == nil:
			failing = false
		case w.beatCtx.Err() != nil:
		case errors.Is(err, ErrClosed):
			w.app.logger.Error("the engine has been closed under a running worker", "error", err)
			// Nobody is left to beat for; overdue handlers still count.
			w.watchOverdue(ticker)
			return
		case !failing:
			failing = true
			w.app.logger.Warn("the worker's beat failed, trying again", "error", err)
		}
	}
}

func (w *worker) watchOverdue(ticker *time.Ticker) {
	for {
		select {
		case <-w.beatCtx.Done():
			return
		case now := <-ticker.C:
			w.failOverdue(now)
		}
	}
}

// beat makes one beat and acts on what it brings.
func (w *worker) beat(ctx context.Context) error {
	w.beatMu.Lock()
	defer w.beatMu.Unlock()
	req := w.beatRequest()
	w.mu.Lock()
	req.Through = w.through()
	req.Holding = make([]Lease, len(w.held))
	for i, e := range w.held {
		req.Holding[i] = e.lease
	}
	w.mu.Unlock()

	// A beat that takes longer than the lease has missed its purpose.
	ctx, cancel := context.WithTimeout(ctx, w.app.lease)
	defer cancel()
	sent := time.Now()
	reply, err := w.engine.Beat(ctx, req)
	if err != nil {
		return err
	}
	w.contact.heard(sent, &reply)
	if len(reply.Cancels) > 0 {
		w.cancelHeld(reply.Cancels)
	}
	if len(reply.Lost) > 0 {
		w.dropLost(reply.Lost)
	}
	dead := w.observer.Observe(sent, time.Now(), reply.Sessions)
	if len(dead) == 0 {
		return nil
	}
	reaped, err := w.engine.Reap(ctx, dead)
	if err != nil {
		return fmt.Errorf("declare sessions dead: %w", err)
	}
	if len(reaped) > 0 {
		w.app.logger.Warn("workers have died, their running tasks go back to their queues", "sessions", len(reaped))
	}
	return nil
}

func (w *worker) beatRequest() BeatRequest {
	return BeatRequest{
		Session: w.session, Node: w.app.node, Types: w.types, Queues: w.shares.names(),
		Concurrency: int(w.app.slots.Load()), LeaseTime: w.app.lease,
	}
}

// cancelHeld cancels the contexts of running handlers whose tasks are to be
// canceled.
func (w *worker) cancelHeld(ids []ID) {
	wanted := make(map[ID]struct{}, len(ids))
	for _, id := range ids {
		wanted[id] = struct{}{}
	}
	for _, e := range w.openExecutions() {
		if _, ok := wanted[e.task.ID]; ok {
			e.interrupt(interruptCancel)
		}
	}
}

// dropLost stops handlers whose claims were superseded. Those that have
// returned learn it from their own reports.
func (w *worker) dropLost(leases []Lease) {
	lost := make(map[Lease]struct{}, len(leases))
	for _, l := range leases {
		lost[l] = struct{}{}
	}
	for _, e := range w.openExecutions() {
		if _, ok := lost[e.lease]; !ok {
			continue
		}
		w.abandoned.Add(1) // before the handler's return can be counted
		if !e.settled.CompareAndSwap(false, true) {
			w.abandoned.Add(-1)
			continue
		}
		w.countDecided()
		e.interrupt(interruptLost)
		w.forget([]*execution{e})
		w.app.logger.LogAttrs(context.Background(), slog.LevelWarn,
			"the claim of a running task was superseded, its handler is cancelled and its outcome dropped", e.attrs()...)
	}
}

// failOverdue fails attempts whose handlers have ignored their timeout for a
// grace time. Such a handler keeps its slot, because it still runs.
func (w *worker) failOverdue(now time.Time) {
	for _, e := range w.openExecutions() {
		limit := e.task.Timeout + w.app.grace
		if now.Sub(e.started) < limit {
			continue
		}
		gaveUp := w.abandon(e, &attemptEnd{timedOut: true, cut: interruption(e.cut.Load()), err: &TaskError{
			Code: ErrorCodeTimeout, Message: fmt.Sprintf("the handler ignored its timeout of %v and is still running", e.task.Timeout)}})
		if gaveUp {
			w.app.logger.LogAttrs(context.Background(), slog.LevelError,
				"a handler ignores its timeout, its attempt is failed and its slot stays taken until it returns", e.attrs()...)
		}
	}
}

// abandon gives up on an execution whose handler still runs.
func (w *worker) abandon(e *execution, end *attemptEnd) bool {
	w.abandoned.Add(1) // before the handler's return can be counted
	end.at = time.Now()
	if !w.conclude(e, end) {
		w.abandoned.Add(-1)
		return false
	}
	return true
}

// stop drains the worker and returns what went wrong; see [App.Stop].
func (w *worker) stop(ctx context.Context) []error {
	w.stopClaims()
	w.claims.Wait()

	// Grace for running handlers, then cancelled contexts, then no waiting.
	w.awaitDecided(ctx, w.app.grace)
	for _, e := range w.openExecutions() {
		e.interrupt(interruptDrain)
	}
	w.awaitDecided(context.Background(), windDown)
	var errs []error
	ignored := 0
	for _, e := range w.openExecutions() {
		if w.abandon(e, &attemptEnd{err: context.Canceled, cut: interruptDrain}) {
			ignored++
		}
	}
	if ignored > 0 {
		errs = append(errs, fmt.Errorf("stop: handlers that ignored their cancelled contexts and still run, their tasks back in their queues: %d", ignored))
	}
	close(w.work)
	if w.abandoned.Load() == 0 {
		w.slots.Wait()
	}

	// What is unrecorded when this ends is not held any more as the session
	// leaves, and goes back to its queue.
	if n := w.reporter.stop(ctx, max(w.app.grace, windDown)); n > 0 {
		errs = append(errs, fmt.Errorf("stop: outcomes that could not be recorded, so that their tasks will run again: %d", n))
	}
	w.stopBeats()
	w.beats.Wait()
	if err := w.leave(ctx); err != nil {
		errs = append(errs, fmt.Errorf("stop: end the session: %w", err))
	}
	return errs
}

// awaitDecided returns when every outcome is decided, after d, or when ctx ends.
func (w *worker) awaitDecided(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for w.undecided.Load() > 0 {
		select {
		case <-w.decided:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// leave ends the session, also when ctx has ended: it is one short call.
func (w *worker) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), windDown)
	defer cancel()
	req := w.beatRequest()
	w.mu.Lock()
	req.Through, req.Leaving = w.through(), true
	w.mu.Unlock()
	_, err := w.engine.Beat(ctx, req)
	return err
}

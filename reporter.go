package morningai

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// reporter records outcomes in batches: while one call is under way, the
// outcomes for the next gather. Attempts that wrote to their task's log pass
// through another loop first, which sends their lines.
type reporter struct {
	w      *worker
	ctx    context.Context
	cancel context.CancelFunc
	loops  sync.WaitGroup

	open  atomic.Int64  // outcomes decided and not recorded
	bytes atomic.Int64  // of their results
	batch int           // outcomes for one Finish
	empty chan struct{} // holds a token when open has become 0

	mu        sync.Mutex
	ready     []*execution // decided, their lines sent
	moreReady sync.Cond
	logged    []loggedEntry // in order
	moreLines sync.Cond
	closing   bool
}

// loggedEntry stands for unsent lines of an execution; last marks that its
// outcome follows them.
type loggedEntry struct {
	e    *execution
	last bool
}

const (
	finishBatch = 128 // unless the engine prefers another number
	finishLoops = 4   // calls under way at once; an engine may join them into one commit
	linesBatch  = 512
)

func startReporter(w *worker) *reporter {
	r := &reporter{w: w, batch: finishBatch, empty: make(chan struct{}, 1)}
	if n := w.engine.Capabilities().Reports; n > 0 {
		r.batch = n
	}
	r.moreReady.L, r.moreLines.L = &r.mu, &r.mu
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for range finishLoops {
		r.loops.Go(r.finishLoop)
	}
	r.loops.Go(r.linesLoop)
	return r
}

// add takes over a decided execution. It never blocks: the worker bounds how
// many there are by claiming no more.
func (r *reporter) add(e *execution) {
	r.open.Add(1)
	r.bytes.Add(int64(len(e.final.Result)))
	if e.hasLog() {
		r.addLines(loggedEntry{e, true})
		return
	}
	r.mu.Lock()
	r.ready = append(r.ready, e)
	r.mu.Unlock()
	r.moreReady.Signal()
}

func (r *reporter) addLines(entry loggedEntry) {
	r.mu.Lock()
	r.logged = append(r.logged, entry)
	r.mu.Unlock()
	r.moreLines.Signal()
}

func (r *reporter) finishLoop() {
	for {
		r.mu.Lock()
		for len(r.ready) == 0 && !r.closing {
			r.moreReady.Wait()
		}
		if r.closing {
			r.mu.Unlock()
			return
		}
		n := min(len(r.ready), r.batch)
		batch := make([]*execution, n)
		copy(batch, r.ready)
		rest := copy(r.ready, r.ready[n:])
		clear(r.ready[rest:])
		r.ready = r.ready[:rest]
		r.mu.Unlock()
		r.record(batch)
	}
}

// record repeats a batch until every outcome is recorded or refused for good,
// or the reporter ends.
func (r *reporter) record(batch []*execution) {
	for tries := 0; ; tries++ {
		reports := make([]Report, len(batch)) // anew: a cancelled call may still read the last
		for i, e := range batch {
			reports[i] = e.final
		}
		verdicts, err := r.w.engine.Finish(r.ctx, reports)
		switch {
		case err == nil:
			if batch, err = r.settle(batch, verdicts); len(batch) == 0 {
				return
			}
		case r.ctx.Err() != nil:
			return
		case errors.Is(err, ErrClosed):
			for _, e := range batch {
				e.logError("the outcome of a task could not be recorded, because the engine is closed", err)
			}
			r.done(batch)
			return
		case !transient(err):
			// Refused as a whole: the one that is wrong must not hold up the rest.
			if len(batch) == 1 {
				if r.amend(batch[0], err) {
					continue
				}
				r.done(batch)
				return
			}
			for _, e := range batch {
				r.record([]*execution{e})
			}
			return
		}
		if tries == 0 {
			r.w.app.logger.Warn("outcomes cannot be recorded, trying again", "outcomes", len(batch), "error", err)
		}
		if pause(r.ctx, repeatDelay(tries)); r.ctx.Err() != nil {
			return
		}
	}
}

// settle acts on the verdicts and returns the executions to report again, with
// one of the reasons.
func (r *reporter) settle(batch []*execution, verdicts []Verdict) ([]*execution, error) {
	var again []*execution
	var reason error
	done := batch[:0]
	for i, e := range batch {
		err := verdicts[i].Err
		switch {
		case err == nil:
			e.app.ended.add(e.final.Outcome)
			e.describe(verdicts[i].State)
			for _, f := range e.app.watchers {
				f(Attempted{&e.task, &e.final, verdicts[i].State})
			}
		case errors.Is(err, ErrStale), errors.Is(err, ErrNotFound):
			e.logError("the outcome of a task was refused: it was handed to another worker, or removed", err)
		case transient(err) || r.amend(e, err):
			again, reason = append(again, e), err
			continue
		}
		done = append(done, e)
	}
	r.done(done)
	return again, reason
}

// amend turns an outcome whose result the engine refuses into a failure that
// says so. It returns false if there is nothing left to change; that is logged.
func (r *reporter) amend(e *execution, err error) bool {
	if e.final.Result == nil {
		e.logError("the engine refuses the outcome of a task", err)
		return false
	}
	r.bytes.Add(-int64(len(e.final.Result)))
	e.final.Result, e.final.Outcome = nil, OutcomeFailed
	e.final.Error = &TaskError{Code: ErrorCodeResult, Message: cutText("the engine refuses the result: "+err.Error(), maxErrorMessage)}
	return true
}

// done takes executions off the books.
func (r *reporter) done(batch []*execution) {
	if len(batch) == 0 {
		return
	}
	size := 0
	for _, e := range batch {
		size += len(e.final.Result)
	}
	r.w.forget(batch)
	r.bytes.Add(-int64(size))
	if r.open.Add(-int64(len(batch))) == 0 {
		select {
		case r.empty <- struct{}{}:
		default:
		}
	}
	r.w.notify()
}

func (r *reporter) linesLoop() {
	for {
		r.mu.Lock()
		for len(r.logged) == 0 && !r.closing {
			r.moreLines.Wait()
		}
		if r.closing {
			r.mu.Unlock()
			return
		}
		entries := r.logged
		r.logged = nil
		r.mu.Unlock()

		var points []Checkpoint
		var ended []*execution
		for _, entry := range entries {
			points = append(points, entry.e.takeLines()...)
			if entry.last {
				ended = append(ended, entry.e)
			}
		}
		for len(points) > 0 {
			n := min(len(points), linesBatch)
			r.send(points[:n])
			points = points[n:]
		}
		if len(ended) > 0 {
			r.mu.Lock()
			r.ready = append(r.ready, ended...)
			r.mu.Unlock()
			r.moreReady.Broadcast()
		}
	}
}

// send repeats until the engine has the lines or refuses them.
func (r *reporter) send(points []Checkpoint) {
	for tries := 0; len(points) > 0; tries++ {
		errs, err := r.w.engine.Checkpoint(r.ctx, points)
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil:
			if points, err = unsentLines(points, errs); len(points) == 0 {
				if err != nil {
					r.w.app.logger.Warn("log lines of tasks could not be kept", "error", err)
				}
				return
			}
		case !transient(err):
			r.w.app.logger.Warn("log lines of tasks could not be kept", "lines", len(points), "error", err)
			return
		}
		if tries == 0 {
			r.w.app.logger.Warn("log lines of tasks cannot be kept, trying again", "lines", len(points), "error", err)
		}
		pause(r.ctx, repeatDelay(tries))
	}
}

// unsentLines returns the points to send again, and one of the reasons why
// points were not taken. Lines of a superseded claim are nobody's loss: the
// outcome's own report says that it was superseded.
func unsentLines(points []Checkpoint, errs []error) ([]Checkpoint, error) {
	var again []Checkpoint
	var reason error
	for i, err := range errs {
		if err == nil || errors.Is(err, ErrStale) || errors.Is(err, ErrNotFound) {
			continue
		}
		reason = err
		if transient(err) {
			again = append(again, points[i])
		}
	}
	return again, reason
}

// stop waits until every outcome is recorded, until ctx ends, or for d, ends
// the loops and returns how many outcomes are unrecorded.
func (r *reporter) stop(ctx context.Context, d time.Duration) int {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for waiting := true; waiting && r.open.Load() > 0; {
		select {
		case <-r.empty:
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			// The caller is in a hurry, but a working engine needs only a moment.
			ctx = context.WithoutCancel(ctx)
			timer.Reset(min(d, windDown))
		}
	}
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.cancel()
	r.moreReady.Broadcast()
	r.moreLines.Broadcast()
	r.loops.Wait()
	return int(r.open.Load())
}

// logError reports what went wrong with recording an execution.
func (e *execution) logError(text string, err error) {
	attrs := append(e.attrs(), slog.String("outcome", string(e.final.Outcome)), slog.Any("error", err))
	e.app.logger.LogAttrs(context.Background(), slog.LevelError, text, attrs...)
}

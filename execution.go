package morningai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// execution is one attempt under way: what a handler's context leads to.
type execution struct {
	app       *App
	engine    Engine // that handed the task out
	handler   HandlerFunc
	task      Task
	lease     Lease
	exclusive bool
	own       bool // handed out by the node's own journal
	ctx       context.Context
	cancel    context.CancelFunc
	started   time.Time
	cut       atomic.Int32            // an interruption; the first one stays
	stop      context.CancelCauseFunc // nil for a task that is not exclusive
	// settled is set by whoever decides what is reported: the handler's return,
	// or the worker that gives up waiting for it. Exactly one does.
	settled atomic.Bool
	final   Report  // written by the one who set settled
	worker  *worker // nil for one that runs inline
	index   int     // in the worker's list; guarded by the worker's mutex

	mu    sync.Mutex
	steps map[string]json.RawMessage // results known
	names map[string]stepState       // steps of this attempt
	log   *taskLog                   // nil until the handler asks for its logger
}

var errTimedOut = fmt.Errorf("the task's timeout is over: %w", context.DeadlineExceeded)

func newExecution(app *App, handler HandlerFunc, g *Grant) *execution {
	return &execution{app: app, engine: app.engine, handler: handler, task: g.Task, lease: g.Lease, steps: g.Steps,
		own: g.Own, exclusive: g.Task.Exclusive || slices.Contains(app.exclusive, g.Task.Type)}
}

// begin gives the execution its context. Nothing else is derived from a common
// parent: interrupt reaches each execution by itself, without a lock that all
// attempts would share.
func (e *execution) begin(parent context.Context) {
	e.started = time.Now()
	ctx := context.WithValue(parent, executionKey{}, e)
	if e.exclusive {
		ctx, e.stop = context.WithCancelCause(ctx)
	}
	e.ctx, e.cancel = context.WithDeadlineCause(ctx, e.started.Add(e.task.Timeout), errTimedOut)
}

// interrupt cancels the handler's context for a reason other than its timeout.
func (e *execution) interrupt(why interruption) {
	e.cut.CompareAndSwap(int32(interruptNone), int32(why))
	if e.stop != nil && why == interruptAlone {
		e.stop(ErrContactLost)
	}
	e.cancel()
}

// invoke calls the handler and hands to end what came of it, whether the
// handler returned, panicked, or left its goroutine for good.
func (e *execution) invoke(end func(*execution, *attemptEnd)) {
	var out attemptEnd
	returned := false
	defer func() {
		if !returned {
			out.stack = string(debug.Stack())
			if v := recover(); v != nil {
				out.err = panicError(v)
			} else {
				out.err = &TaskError{Code: ErrorCodePanic, Message: "the handler ended its goroutine with runtime.Goexit"}
			}
			out.stack = cutText(out.stack, maxStack)
		}
		out.at = time.Now()
		out.timedOut = errors.Is(e.ctx.Err(), context.DeadlineExceeded)
		out.cut = interruption(e.cut.Load())
		e.cancel()
		end(e, &out)
	}()
	out.result, out.err = e.handler(e.ctx, &e.task)
	returned = true
}

const maxStack = 16 << 10

// panicError keeps the text of a panic. A sentinel among panic values does not
// decide over the task, so it is not wrapped.
func panicError(v any) error {
	text := "a value that has no text"
	if err, ok := v.(error); ok {
		text = errorText(err)
	} else {
		func() {
			defer func() { _ = recover() }() // a String method that panics: the text above stays
			text = fmt.Sprint(v)
		}()
	}
	return &TaskError{Code: ErrorCodePanic, Message: "panic: " + text}
}

// report builds what the engine is told about the attempt.
func (e *execution) report(end *attemptEnd) Report {
	r := Report{Lease: e.lease, Node: e.app.node, Attempt: e.task.Attempt, StartedAt: e.started, FinishedAt: end.at}
	end.judge(&e.task, &r)
	return r
}

// describe logs what was recorded, at a level that fits. state is what the
// task has become, which a cancel request may have decided otherwise.
func (e *execution) describe(state State) {
	r := &e.final
	level, text := slog.LevelDebug, "task attempt ended"
	switch r.Outcome {
	case OutcomeSucceeded:
		level, text = e.app.successes, "task succeeded"
	case OutcomeRetry:
		level, text = slog.LevelWarn, "task attempt failed, it will be tried again"
	case OutcomeFailed:
		level, text = slog.LevelError, "task failed"
	case OutcomeCanceled, OutcomeReleased:
		level = slog.LevelInfo
	}
	if !e.app.logger.Enabled(context.Background(), level) {
		return
	}
	attrs := append(e.attrs(), slog.String("outcome", string(r.Outcome)), slog.String("state", string(state)),
		slog.Duration("took", r.FinishedAt.Sub(r.StartedAt)))
	if r.Error != nil {
		attrs = append(attrs, slog.String("code", r.Error.Code), slog.String("error", r.Error.Message))
	}
	if !r.RunAt.IsZero() {
		attrs = append(attrs, slog.Time("run_at", r.RunAt))
	}
	e.app.logger.LogAttrs(context.Background(), level, text, attrs...)
}

// attrs name the attempt in every line about it.
func (e *execution) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("task_id", e.task.ID.String()),
		slog.String("trace_id", e.task.TraceID.String()),
		slog.String("type", e.task.Type),
		slog.Int("attempt", e.task.Attempt),
	}
}

// checkpoint records one point. A claim that was superseded interrupts the
// handler.
func (e *execution) checkpoint(ctx context.Context, point Checkpoint) error {
	errs, err := e.engine.Checkpoint(ctx, []Checkpoint{point})
	if err == nil {
		err = errs[0]
	}
	if errors.Is(err, ErrStale) {
		e.interrupt(interruptLost)
	}
	return err
}

// transient reports whether calling the engine again may help.
func transient(err error) bool {
	switch CodeOf(err) {
	case CodeClosed, CodeStale, CodeNotFound, CodeInvalidInput, CodeTooLarge, CodeConflict, CodeWrongState:
		return false
	}
	return true
}

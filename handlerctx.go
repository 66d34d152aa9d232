package morningai

import (
	"context"
	"fmt"
	"log/slog"
)

type executionKey struct{}

// executionOf returns the attempt that ctx belongs to, or nil.
func executionOf(ctx context.Context) *execution {
	e, _ := ctx.Value(executionKey{}).(*execution)
	return e
}

func errOutsideHandler(op string) error {
	return &Error{Code: CodeInvalidInput, Op: op, Detail: "the context does not come from a handler",
		Hint: "pass on the context that the handler was called with"}
}

// CurrentTask returns the task whose handler was called with ctx, as it was
// when the attempt started; false outside a handler.
func CurrentTask(ctx context.Context) (Task, bool) {
	e := executionOf(ctx)
	if e == nil {
		return Task{}, false
	}
	return e.task, true
}

// ReportProgress shows v, as JSON, as the task's progress. It returns when the
// engine has it. [ErrStale] means that the task has been handed to another
// worker; the handler's context is cancelled then. Progress is for readers: a
// handler may ignore the error.
func ReportProgress(ctx context.Context, v any) error {
	e := executionOf(ctx)
	if e == nil {
		return errOutsideHandler("report progress")
	}
	data, err := encodeJSON(v)
	if err != nil {
		return &Error{Code: CodeInvalidInput, Op: "report progress", Detail: "the value cannot be written as JSON", Err: err}
	}
	if len(data) > MaxPayload {
		return &Error{Code: CodeTooLarge, Op: "report progress", Detail: fmt.Sprintf("the progress is over %d bytes", MaxPayload)}
	}
	return e.checkpoint(ctx, Checkpoint{Lease: e.lease, Kind: CheckpointProgress, Data: data})
}

// Logger returns a logger whose lines go to the task's log, where readers of
// [Client.History] find them, and to the app's logger with the attributes
// task_id, trace_id, type and attempt. Lines below the info level are kept with
// the task only if the app's logger takes them. Lines reach the task's log in
// batches, soon after they are written and always before the attempt ends; a
// line over [MaxLogLine] bytes is cut. Outside a handler it returns
// [slog.Default].
func Logger(ctx context.Context) *slog.Logger {
	e := executionOf(ctx)
	if e == nil {
		return slog.Default()
	}
	return e.logger()
}

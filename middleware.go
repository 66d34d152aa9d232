package morningai

import (
	"context"
	"encoding/json"
)

// EnqueueFunc hands tasks to the engine. There is one receipt per spec, in
// order; the error stands for the call as a whole.
type EnqueueFunc func(ctx context.Context, specs []TaskSpec) ([]Receipt, error)

// EnqueueMiddleware wraps every enqueue of a [Client]. It may change the specs,
// refuse them by returning an error without calling next, or look at the
// receipts.
type EnqueueMiddleware func(next EnqueueFunc) EnqueueFunc

// HandlerFunc runs one attempt of a task and returns its result, one JSON value
// or nil. What an error means is described at [Handle]. The task must not be
// changed.
type HandlerFunc func(ctx context.Context, task *Task) (json.RawMessage, error)

// Middleware wraps handlers. The one given first is outermost; those of
// [App.Use] are outside those of a single handler.
type Middleware func(next HandlerFunc) HandlerFunc

// StepMiddleware is called before a step runs, and returns the context that the
// step gets and what is called with its error once it has run; a panic is a
// [*TaskError] of the code [ErrorCodePanic] there.
type StepMiddleware func(ctx context.Context, name string) (context.Context, func(error))

// chain wraps a function with middleware, first one outermost.
func chain[F any, M ~func(F) F](fn F, mws []M) F {
	for i := len(mws) - 1; i >= 0; i-- {
		fn = mws[i](fn)
	}
	return fn
}

package morningai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

type stepState uint8

const (
	stepRunning stepState = iota + 1
	stepDone
)

// Step runs fn once per task, however often the task is retried, and returns
// its result. The first result recorded under a name is what every later
// attempt gets, without running fn; it survives restarts and hand-overs.
//
// If fn returns an error, nothing is recorded and the error is returned: a
// later call, in this attempt or the next, runs fn again. If the process dies
// between fn's return and the recording, fn runs again too, so fn should be
// safe to repeat. While the engine cannot record the result, Step keeps trying
// until ctx ends.
//
// Each step of a task has a name of its own: a name used again after it has
// succeeded in the same attempt is an error that fails the task for good. In a
// loop, put the item into the name. The result is kept as JSON of at most
// [MaxPayload] bytes.
func Step[T any](ctx context.Context, name string, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	e := executionOf(ctx)
	if e == nil {
		return zero, errOutsideHandler("step")
	}
	known, err := e.beginStep(name)
	if err != nil {
		return zero, err
	}
	if known != nil {
		var out T
		if err := json.Unmarshal(known, &out); err != nil {
			return zero, skipRetry(fmt.Errorf("step %s: its recorded result does not fit the type asked for: %w", name, err))
		}
		return out, nil
	}
	var data json.RawMessage // nil: failed
	defer func() { e.endStep(name, data) }()
	out, err := runStep(ctx, e.app.around, name, fn)
	if err != nil {
		return zero, err
	}
	encoded, err := encodeJSON(out)
	if err != nil {
		return zero, skipRetry(fmt.Errorf("step %s: its result cannot be written as JSON: %w", name, err))
	}
	if len(encoded) > MaxPayload {
		return zero, skipRetry(fmt.Errorf("step %s: its result is over %d bytes: keep it elsewhere and return its address", name, MaxPayload))
	}
	if err := e.recordStep(ctx, name, encoded); err != nil {
		return zero, fmt.Errorf("step %s: record its result: %w", name, err)
	}
	data = encoded
	return out, nil
}

func runStep[T any](ctx context.Context, around StepMiddleware, name string, fn func(context.Context) (T, error)) (out T, err error) {
	if around == nil {
		return fn(ctx)
	}
	ctx, end := around(ctx, name)
	err = &TaskError{Code: ErrorCodePanic, Message: "the step panicked"} // unless it returns
	defer func() { end(err) }()
	out, err = fn(ctx)
	return out, err
}

// beginStep returns the recorded result of a step, or marks it as running.
func (e *execution) beginStep(name string) (json.RawMessage, error) {
	if !ValidName(name) {
		return nil, skipRetry(InvalidInput("step", FieldError{"name", NameRule}))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch e.names[name] {
	case stepDone:
		return nil, errStepRepeated(name, "was used before in this attempt")
	case stepRunning:
		return nil, errStepRepeated(name, "is running already")
	}
	if e.names == nil {
		e.names = map[string]stepState{}
	}
	if known, ok := e.steps[name]; ok {
		e.names[name] = stepDone
		if len(known) == 0 {
			known = json.RawMessage("null")
		}
		return known, nil
	}
	e.names[name] = stepRunning
	return nil, nil
}

func errStepRepeated(name, how string) error {
	return skipRetry(&Error{Code: CodeInvalidInput, Op: "step", Detail: fmt.Sprintf("the name %s %s", name, how),
		Hint: "give each step of a task its own name; in a loop, put the item into the name"})
}

func (e *execution) endStep(name string, data json.RawMessage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if data == nil {
		delete(e.names, name)
		return
	}
	e.names[name] = stepDone
}

// recordStep repeats until the engine has the result: what fn did cannot be
// undone, so giving up early would make it happen twice.
func (e *execution) recordStep(ctx context.Context, name string, data json.RawMessage) error {
	for tries := 0; ; tries++ {
		err := e.checkpoint(ctx, Checkpoint{Lease: e.lease, Kind: CheckpointStep, Name: name, Data: data})
		if err == nil || !transient(err) || ctx.Err() != nil {
			return err
		}
		if pause(ctx, repeatDelay(tries)); ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

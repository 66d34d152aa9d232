package morningai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
)

// Definition ties a task type to the Go types of its payload and result. It is
// what [Handle] returns, and is safe for use from any number of goroutines.
type Definition[In, Out any] struct {
	taskType string
	client   *Client
}

// Handle declares the handler of a task type. The payload is read into an In
// and the result is written from the Out, both as JSON.
//
// What the handler returns decides what becomes of the task:
//
//   - nil: it has succeeded.
//   - an error: the attempt has failed. The task is tried again after
//     [Backoff], until it has failed MaxAttempts times.
//   - [RetryAfter]: as an error, but the handler chooses the wait.
//   - [ErrSkipRetry] in the error's chain: it has failed for good.
//   - [ErrCancel] in the chain: it ends as canceled.
//   - [Snooze]: it runs again later, which is not a failure.
//   - a [*TaskError] in the chain chooses the code and message that readers see.
//
// A panic is an error, kept with its stack. So is running longer than the
// task's timeout, or leaving the goroutine with runtime.Goexit. A payload that
// does not fit In, and a result that cannot be written as JSON or is over
// [MaxPayload] bytes, fail for good.
//
// The context is cancelled when the timeout is over, when the task is canceled,
// when the app stops and its grace time is over, when another worker has taken
// the task over, and for an [Exclusive] task before one can. A handler should
// return soon then. One that ignores its timeout for another grace time has its
// attempt failed without it, and keeps its slot until it returns.
//
// Handlers are declared before [App.Start]; a type declared twice makes Start
// fail.
func Handle[In, Out any](app *App, taskType string, fn func(context.Context, In) (Out, error), mw ...Middleware) *Definition[In, Out] {
	var handler HandlerFunc
	if fn != nil {
		handler = typedHandler(fn)
	}
	app.HandleFunc(taskType, handler, mw...)
	return &Definition[In, Out]{taskType: taskType, client: app.Client}
}

func typedHandler[In, Out any](fn func(context.Context, In) (Out, error)) HandlerFunc {
	return func(ctx context.Context, task *Task) (json.RawMessage, error) {
		var in In
		if err := json.Unmarshal(task.Payload, &in); err != nil {
			return nil, skipRetry(&TaskError{Code: ErrorCodePayload, Message: describePayloadError(err)})
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		result, err := encodeJSON(out)
		if err != nil {
			return nil, skipRetry(&TaskError{Code: ErrorCodeResult,
				Message: "the result cannot be written as JSON: " + err.Error()})
		}
		return result, nil
	}
}

// describePayloadError says what is wrong with a payload without repeating
// what it holds.
func describePayloadError(err error) string {
	const text = "the payload does not fit the handler's type"
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		want := jsonName(e.Type)
		if e.Field == "" {
			return text + ": it must be " + want
		}
		return fmt.Sprintf("%s: field %s must be %s", text, e.Field, want)
	}
	return text
}

// jsonName says which JSON a Go type is read from.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Pointer:
		return jsonName(t.Elem())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number that fits " + t.Kind().String()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, not negative, that fits " + t.Kind().String()
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "what " + t.String() + " is read from"
}

// Type returns the task type.
func (d *Definition[In, Out]) Type() string { return d.taskType }

// Enqueue accepts one task with this payload; see [Client.Enqueue].
func (d *Definition[In, Out]) Enqueue(ctx context.Context, in In, opts ...Option) (*Task, error) {
	spec, err := d.spec(in, opts)
	if err != nil {
		return nil, err
	}
	return d.client.Enqueue(ctx, spec)
}

// EnqueueBatch accepts one task per payload in one durable write, with the same
// options; see [Client.EnqueueBatch]. If the engine refuses single tasks, their
// places in the slice are nil and the error joins what was wrong with each.
func (d *Definition[In, Out]) EnqueueBatch(ctx context.Context, in []In, opts ...Option) ([]*Task, error) {
	specs := make([]TaskSpec, len(in))
	for i := range in {
		var err error
		if specs[i], err = d.spec(in[i], opts); err != nil {
			return nil, fmt.Errorf("tasks[%d]: %w", i, err)
		}
	}
	receipts, err := d.client.EnqueueBatch(ctx, specs)
	if err != nil {
		return nil, err
	}
	tasks := make([]*Task, len(receipts))
	var errs []error
	for i := range receipts {
		if receipts[i].Err != nil {
			errs = append(errs, fmt.Errorf("tasks[%d]: %w", i, receipts[i].Err))
			continue
		}
		tasks[i] = &receipts[i].Task
	}
	return tasks, errors.Join(errs...)
}

func (d *Definition[In, Out]) spec(in In, opts []Option) (TaskSpec, error) {
	payload, err := encodeJSON(in)
	if err != nil {
		return TaskSpec{}, &Error{Code: CodeInvalidInput, Op: "enqueue", Detail: "the payload cannot be written as JSON", Err: err}
	}
	spec := NewTaskSpec(d.taskType, payload)
	if validStrings(payload) { // it is JSON, or encodeJSON had refused it
		spec.checked = checkedPayload{&payload[0], len(payload)}
	}
	for _, opt := range opts {
		opt(&spec)
	}
	return spec, nil
}

// Result waits until the task has ended and returns its result. If it has
// failed or was canceled, the error is a [*TaskError].
func (d *Definition[In, Out]) Result(ctx context.Context, id ID) (Out, error) {
	var out Out
	task, err := d.client.Wait(ctx, id)
	if err != nil {
		return out, err
	}
	switch {
	case task.State != StateSucceeded:
		return out, endError(task)
	case task.Result == nil:
		return out, nil
	}
	if err := json.Unmarshal(task.Result, &out); err != nil {
		return out, fmt.Errorf("read the task's result: %w", err)
	}
	return out, nil
}

// endError says why an ended task has no result to return.
func endError(task *Task) error {
	switch {
	case task.Error != nil:
		return task.Error
	case task.State == StateCanceled:
		return &TaskError{Code: ErrorCodeCanceled, Message: "the task was canceled"}
	}
	return &TaskError{Code: ErrorCodeHandler, Message: "the task has failed"}
}

// encodeJSON writes v as it is meant to be read again: without the escapes that
// protect HTML pages.
func encodeJSON(v any) (json.RawMessage, error) {
	e, ok := encoders.Get().(*encoder)
	if !ok {
		e = &encoder{}
		e.json = json.NewEncoder(&e.buf)
		e.json.SetEscapeHTML(false)
	}
	if err := e.json.Encode(v); err != nil {
		return nil, err // an encoder that has failed is not used again
	}
	out := bytes.Clone(bytes.TrimSuffix(e.buf.Bytes(), []byte{'\n'}))
	if e.buf.Cap() <= 64<<10 {
		e.buf.Reset()
		encoders.Put(e)
	}
	return out, nil
}

type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

var encoders sync.Pool // of *encoder

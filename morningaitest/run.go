package morningaitest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/RC918/morningai"
)

// Run enqueues one task, calls [Kit.Work] and returns what the handler
// returned. If the handler's last attempt failed, or the task was canceled, the
// error is the [*morningai.TaskError] that readers see, and the task is as that
// attempt left it: it may wait for its retry. If the task has not run, because
// the options delay it or its queue is paused, the error is a
// [morningai.ErrWrongState].
func Run[In, Out any](ctx context.Context, k *Kit, task *morningai.Definition[In, Out], in In, opts ...morningai.Option) (Out, error) {
	var out Out
	receipt, err := task.Enqueue(ctx, in, opts...)
	if err != nil {
		return out, err
	}
	if _, err := k.Work(ctx); err != nil {
		return out, err
	}
	// With retention 0 an ended task is not listed any more, but still stored.
	tasks, err := k.engine.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{receipt.ID}, Lingering: true})
	if err != nil {
		return out, err
	}
	switch got := tasks[0]; {
	case got.ID.IsZero():
		return out, &morningai.Error{Code: morningai.CodeNotFound, Op: "run", Detail: "the task has been removed"}
	case got.State == morningai.StateSucceeded:
		if err := json.Unmarshal(got.Result, &out); err != nil {
			return out, fmt.Errorf("read the result: %w", err)
		}
		return out, nil
	case got.Error != nil:
		return out, got.Error
	default:
		return out, &morningai.Error{Code: morningai.CodeWrongState, Op: "run", Detail: "the task is " + string(got.State) + " and has not ended",
			Hint: "move the clock with Advance, or see why with App.Why"}
	}
}

package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/RC918/morningai"
)

// echo succeeds with its payload, digit for digit.
func echo(_ context.Context, task *morningai.Task) (json.RawMessage, error) {
	return task.Payload, nil
}

var maxSleep = morningai.MaxTimeout.Milliseconds()

// sleep waits for ms milliseconds and succeeds with the same number. If its
// context ends first it returns at once with the context's error.
func sleep(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
	var in struct {
		MS *int64 `json:"ms"`
	}
	rule := fmt.Sprintf(`the payload of sleep must be like {"ms": 500}, with 0 to %d milliseconds`, maxSleep)
	if err := decode(task.Payload, &in, rule); err != nil {
		return nil, err
	}
	if in.MS == nil || *in.MS < 0 || *in.MS > maxSleep {
		return nil, badPayload(rule)
	}
	timer := time.NewTimer(time.Duration(*in.MS) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return json.RawMessage(`{"ms":` + strconv.FormatInt(*in.MS, 10) + `}`), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flaky fails the attempts numbered 1 to fail_times and then succeeds. The
// number comes from the task's record, so restarts of the server and an
// operator's retry do not start the count again.
func flaky(_ context.Context, task *morningai.Task) (json.RawMessage, error) {
	var in struct {
		FailTimes *int `json:"fail_times"`
	}
	rule := fmt.Sprintf(`the payload of flaky must be like {"fail_times": 2}, with 0 to %d times`, morningai.MaxAttemptsCap)
	if err := decode(task.Payload, &in, rule); err != nil {
		return nil, err
	}
	if in.FailTimes == nil || *in.FailTimes < 0 || *in.FailTimes > morningai.MaxAttemptsCap {
		return nil, badPayload(rule)
	}
	if task.Attempt <= *in.FailTimes {
		return nil, &morningai.TaskError{
			Code:    "flaky",
			Message: fmt.Sprintf("attempt %d of %d that fail on purpose", task.Attempt, *in.FailTimes),
		}
	}
	return json.RawMessage(`{"attempt":` + strconv.Itoa(task.Attempt) + `}`), nil
}

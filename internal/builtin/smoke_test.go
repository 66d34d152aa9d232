package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/RC918/morningai"
)

func TestEcho(t *testing.T) {
	for _, payload := range []string{"null", `{"n":1.50, "big":123456789012345678901234567890}`, `"x"`, "[ 1 ]"} {
		out, err := echo(t.Context(), &morningai.Task{Payload: json.RawMessage(payload)})
		if err != nil || string(out) != payload {
			t.Errorf("echo of %s: %s, %v", payload, out, err)
		}
	}
}

func TestSleep(t *testing.T) {
	out, err := sleep(t.Context(), &morningai.Task{Payload: json.RawMessage(`{"ms":1}`)})
	if err != nil || string(out) != `{"ms":1}` {
		t.Errorf("sleep: %s, %v", out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sleep(ctx, &morningai.Task{Payload: json.RawMessage(`{"ms":2592000000}`)}); err != context.Canceled {
		t.Errorf("canceled sleep: %v", err)
	}
	for _, payload := range []string{"null", "500", `{}`, `{"ms":null}`, `{"ms":-1}`, `{"ms":1.5}`, `{"ms":"1"}`, `{"ms":2592000001}`,
		`{"ms":99999999999999999999}`, `{"ms":1,"x":2}`, `{"ms":1,"ms":1}`, `{"MS":1}`} {
		_, err := sleep(t.Context(), &morningai.Task{Payload: json.RawMessage(payload)})
		requireCode(t, err, morningai.ErrorCodePayload, true)
	}
}

func TestFlaky(t *testing.T) {
	task := &morningai.Task{Payload: json.RawMessage(`{"fail_times":2}`)}
	for task.Attempt = 1; task.Attempt <= 2; task.Attempt++ {
		_, err := flaky(t.Context(), task)
		if errors.Is(err, morningai.ErrSkipRetry) {
			t.Errorf("attempt %d is the last", task.Attempt)
		}
		requireCode(t, err, "flaky", false)
	}
	out, err := flaky(t.Context(), task)
	if err != nil || string(out) != `{"attempt":3}` {
		t.Errorf("attempt 3: %s, %v", out, err)
	}
	for _, payload := range []string{"null", `{}`, `{"fail_times":-1}`, `{"fail_times":10001}`, `{"fail_times":1,"x":2}`} {
		_, err := flaky(t.Context(), &morningai.Task{Payload: json.RawMessage(payload)})
		requireCode(t, err, morningai.ErrorCodePayload, true)
	}
}

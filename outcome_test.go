package morningai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

type brokenError struct{ text *string }

func (e *brokenError) Error() string { return *e.text }

func TestCancelSaysSoInPlainWords(t *testing.T) {
	for err, want := range map[error]string{
		context.Canceled: "the task was canceled while it ran",
		fmt.Errorf("upload: %w", context.Canceled):    "upload: context canceled",
		&TaskError{Code: "quota", Message: "no more"}: "no more",
	} {
		var r Report
		(&attemptEnd{err: err, cut: interruptCancel}).judge(&Task{}, &r)
		if r.Outcome != OutcomeCanceled || r.Error.Message != want {
			t.Errorf("%v: %s, %q, want %q", err, r.Outcome, r.Error.Message, want)
		}
	}
}

func TestJudge(t *testing.T) {
	now := time.Now()
	boom := errors.New("boom")
	var noTaskError *TaskError
	for _, c := range []struct {
		name    string
		end     attemptEnd
		last    bool // no attempt is left after this
		outcome Outcome
		code    string
		wait    time.Duration // of RunAt, ± 20 %
	}{
		{name: "success", end: attemptEnd{result: json.RawMessage(`1`)}, outcome: OutcomeSucceeded},
		{name: "success without result", outcome: OutcomeSucceeded},
		{name: "success after a cancel", end: attemptEnd{cut: interruptCancel}, outcome: OutcomeSucceeded},
		{name: "success after the timeout", end: attemptEnd{timedOut: true}, outcome: OutcomeSucceeded},
		{name: "result is not JSON", end: attemptEnd{result: json.RawMessage(`{`)}, outcome: OutcomeFailed, code: ErrorCodeResult},
		{name: "result too large", end: attemptEnd{result: json.RawMessage(`"` + strings.Repeat("x", MaxPayload) + `"`)}, outcome: OutcomeFailed, code: ErrorCodeResult},
		{name: "error", end: attemptEnd{err: boom}, outcome: OutcomeRetry, code: ErrorCodeHandler, wait: 4 * time.Second},
		{name: "last error", end: attemptEnd{err: boom}, last: true, outcome: OutcomeFailed, code: ErrorCodeHandler},
		{name: "timeout", end: attemptEnd{err: context.DeadlineExceeded, timedOut: true}, outcome: OutcomeRetry, code: ErrorCodeTimeout, wait: 4 * time.Second},
		{name: "panic", end: attemptEnd{err: boom, stack: "goroutine 1"}, outcome: OutcomeRetry, code: ErrorCodePanic, wait: 4 * time.Second},
		{name: "chosen code", end: attemptEnd{err: fmt.Errorf("w: %w", &TaskError{"quota", "empty"})}, outcome: OutcomeRetry, code: "quota", wait: 4 * time.Second},
		{name: "chosen code is no name", end: attemptEnd{err: &TaskError{"a b", "empty"}}, outcome: OutcomeRetry, code: ErrorCodeHandler, wait: 4 * time.Second},
		{name: "nil behind an error", end: attemptEnd{err: noTaskError}, outcome: OutcomeRetry, code: ErrorCodeHandler, wait: 4 * time.Second},
		{name: "error whose text panics", end: attemptEnd{err: &brokenError{}}, outcome: OutcomeRetry, code: ErrorCodeHandler, wait: 4 * time.Second},
		{name: "retry after", end: attemptEnd{err: fmt.Errorf("w: %w", RetryAfter(time.Minute, boom))}, outcome: OutcomeRetry, code: ErrorCodeHandler, wait: time.Minute},
		{name: "last retry after", end: attemptEnd{err: RetryAfter(time.Minute, boom)}, last: true, outcome: OutcomeFailed, code: ErrorCodeHandler},
		{name: "skip retry", end: attemptEnd{err: fmt.Errorf("%w: %w", ErrSkipRetry, boom)}, outcome: OutcomeFailed, code: ErrorCodeHandler},
		{name: "snooze", end: attemptEnd{err: Snooze(time.Minute)}, last: true, outcome: OutcomeSnoozed, wait: time.Minute},
		{name: "snooze while stopping", end: attemptEnd{err: Snooze(time.Minute), cut: interruptDrain}, outcome: OutcomeSnoozed, wait: time.Minute},
		{name: "cancel by the handler", end: attemptEnd{err: ErrCancel}, outcome: OutcomeCanceled, code: ErrorCodeCanceled},
		{name: "cancel by command", end: attemptEnd{err: context.Canceled, cut: interruptCancel}, outcome: OutcomeCanceled, code: ErrorCodeCanceled},
		{name: "stopping", end: attemptEnd{err: context.Canceled, cut: interruptDrain}, last: true, outcome: OutcomeReleased},
		{name: "final error while stopping", end: attemptEnd{err: ErrSkipRetry, cut: interruptDrain}, outcome: OutcomeFailed, code: ErrorCodeHandler},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := Task{Failures: 1, MaxAttempts: 3}
			if c.last {
				task.MaxAttempts = 2
			}
			c.end.at = now
			var r Report
			c.end.judge(&task, &r)
			if r.Outcome != c.outcome {
				t.Fatalf("outcome %s, want %s", r.Outcome, c.outcome)
			}
			if (r.Error == nil) != (c.code == "") || r.Error != nil && (r.Error.Code != c.code || r.Error.Message == "") {
				t.Errorf("error %v, want code %q", r.Error, c.code)
			}
			if got := r.RunAt.Sub(now); c.wait == 0 != r.RunAt.IsZero() ||
				c.wait > 0 && (got < c.wait*8/10 || got > c.wait*12/10) {
				t.Errorf("runs again at %v, which is after %v, want %v", r.RunAt, got, c.wait)
			}
		})
	}
}

func TestDueTimesStayInsideTheCalendar(t *testing.T) {
	now := time.Now()
	if at := dueAfter(now, -time.Hour); !at.Equal(now) {
		t.Errorf("a negative wait leads to %v", at)
	}
	late := time.Date(9998, 12, 1, 0, 0, 0, 0, time.UTC)
	spec := NewTaskSpec("mail", nil)
	spec.RunAt = dueAfter(late, math.MaxInt64)
	if err := spec.Normalize(); err != nil {
		t.Errorf("the longest wait: %v", err)
	}
}

func TestErrorTextIsCut(t *testing.T) {
	e := describeError(errors.New(strings.Repeat("é", maxErrorMessage)+"\xff"), ErrorCodeHandler)
	if len(e.Message) > maxErrorMessage || !utf8.ValidString(e.Message) {
		t.Errorf("kept %d bytes, valid: %v", len(e.Message), utf8.ValidString(e.Message))
	}
	if got := cutText("a\x00b\xffc", 100); got != "a\uFFFDb\uFFFDc" {
		t.Errorf("made %q", got)
	}
}

func TestPayloadErrorsRepeatNothing(t *testing.T) {
	type in struct {
		Age  int8   `json:"age"`
		Name string `json:"name"`
	}
	for payload, want := range map[string]string{
		`{"age":4711}`:      "field age must be a whole number that fits int8",
		`{"name":4711}`:     "field name must be a string",
		`"4711"`:            "it must be an object",
		`{"name":["4711"]}`: "field name must be a string",
	} {
		err := json.Unmarshal([]byte(payload), &in{})
		text := describePayloadError(err)
		if !strings.Contains(text, want) || strings.Contains(text, "4711") {
			t.Errorf("payload %s: %q, want %q", payload, text, want)
		}
	}
}

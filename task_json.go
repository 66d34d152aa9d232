package morningai

import (
	"encoding/json"
	"fmt"
	"time"
)

// taskJSON is the wire form of a Task, in the order that readers see.
type taskJSON struct {
	ID              ID                `json:"id"`
	TraceID         ID                `json:"trace_id"`
	Type            string            `json:"type"`
	Queue           string            `json:"queue"`
	Priority        int               `json:"priority"`
	State           State             `json:"state"`
	Attempt         int               `json:"attempt"`
	Failures        int               `json:"failures"`
	MaxAttempts     int               `json:"max_attempts"`
	Timeout         string            `json:"timeout"`
	Payload         json.RawMessage   `json:"payload"`
	Result          json.RawMessage   `json:"result"`
	Error           *TaskError        `json:"error"`
	Progress        json.RawMessage   `json:"progress"`
	Metadata        map[string]string `json:"metadata"`
	CreatedAt       *time.Time        `json:"created_at"`
	RunAt           *time.Time        `json:"run_at"`
	StartedAt       *time.Time        `json:"started_at"`
	FinishedAt      *time.Time        `json:"finished_at"`
	Life            int64             `json:"life"`
	Version         int64             `json:"version"`
	Fresh           Freshness         `json:"fresh"`
	AsOf            *time.Time        `json:"as_of"`
	Exclusive       bool              `json:"exclusive,omitempty"`
	Durable         string            `json:"durable,omitempty"`
	Runs            string            `json:"runs,omitempty"`
	Duplicate       bool              `json:"duplicate,omitempty"`
	MaybeRepeated   bool              `json:"maybe_repeated,omitempty"`
	CancelRequested bool              `json:"cancel_requested,omitempty"`
	Pending         bool              `json:"pending,omitempty"`
}

// MarshalJSON writes the task as the HTTP API shows it: times in RFC 3339 UTC,
// null for what is not set, payload and result digit for digit. It escapes
// nothing for HTML; encoding/json does so again unless its encoder is told not
// to (SetEscapeHTML).
func (t Task) MarshalJSON() ([]byte, error) {
	metadata := t.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	return encodeJSON(taskJSON{
		ID: t.ID, TraceID: t.TraceID, Type: t.Type, Queue: t.Queue, Priority: t.Priority,
		State: t.State, Attempt: t.Attempt, Failures: t.Failures, MaxAttempts: t.MaxAttempts,
		Timeout: t.Timeout.String(),
		Payload: t.Payload, Result: t.Result, Error: t.Error, Progress: t.Progress, Metadata: metadata,
		CreatedAt: timeOrNil(t.CreatedAt), RunAt: timeOrNil(t.RunAt),
		StartedAt: timeOrNil(t.StartedAt), FinishedAt: timeOrNil(t.FinishedAt),
		Life: t.Life, Version: t.Version, Fresh: t.Fresh, AsOf: timeOrNil(t.AsOf),
		Exclusive: t.Exclusive, Durable: t.Durable, Runs: t.Runs, Duplicate: t.Duplicate, MaybeRepeated: t.MaybeRepeated, CancelRequested: t.CancelRequested, Pending: t.Pending,
	})
}

// UnmarshalJSON reads what MarshalJSON writes. Fields it does not know are
// passed over, so that an older client reads a newer server.
func (t *Task) UnmarshalJSON(data []byte) error {
	var w taskJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	timeout, err := time.ParseDuration(w.Timeout)
	if err != nil {
		return fmt.Errorf("read task: timeout: %w", err)
	}
	*t = Task{
		ID: w.ID, TraceID: w.TraceID, Type: w.Type, Queue: w.Queue, Priority: w.Priority,
		State: w.State, Attempt: w.Attempt, Failures: w.Failures, MaxAttempts: w.MaxAttempts,
		Timeout: timeout,
		Payload: w.Payload, Result: notNull(w.Result), Error: w.Error, Progress: notNull(w.Progress), Metadata: w.Metadata,
		CreatedAt: timeOrZero(w.CreatedAt), RunAt: timeOrZero(w.RunAt),
		StartedAt: timeOrZero(w.StartedAt), FinishedAt: timeOrZero(w.FinishedAt),
		Life: w.Life, Version: w.Version, Fresh: w.Fresh, AsOf: timeOrZero(w.AsOf),
		Exclusive: w.Exclusive, Durable: w.Durable, Runs: w.Runs, Duplicate: w.Duplicate, MaybeRepeated: w.MaybeRepeated, CancelRequested: w.CancelRequested, Pending: w.Pending,
	}
	return nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// notNull keeps "no result" and the absence of one apart from a JSON value.
func notNull(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

package wire

import (
	"encoding/json"
	"time"

	"github.com/RC918/morningai"
)

// Attempt is one execution of a task.
type Attempt struct {
	Number     int                  `json:"number" doc:"from 1; grows over all lives"`
	Life       int64                `json:"life"`
	Node       string               `json:"node" doc:"the node that ran it"`
	StartedAt  time.Time            `json:"started_at"`
	FinishedAt *time.Time           `json:"finished_at" doc:"null while it runs"`
	Outcome    *morningai.Outcome   `json:"outcome" enum:"succeeded,retry,failed,snoozed,canceled,released,lost" doc:"null while it runs"`
	Error      *morningai.TaskError `json:"error"`
	Stack      string               `json:"stack" doc:"of a panic; else empty"`
}

// Attempts answers GET /v1/tasks/{id}/attempts, oldest first.
type Attempts struct {
	Attempts []Attempt `json:"attempts"`
}

// NewAttempts is the JSON form of attempts.
func NewAttempts(attempts []morningai.Attempt) Attempts {
	out := make([]Attempt, len(attempts))
	for i, a := range attempts {
		out[i] = Attempt{Number: a.Number, Life: a.Life, Node: a.Node, StartedAt: a.StartedAt.UTC(),
			FinishedAt: timeOrNil(a.FinishedAt), Error: a.Error, Stack: a.Stack}
		if a.Outcome != "" {
			out[i].Outcome = &a.Outcome
		}
	}
	return Attempts{out}
}

// Model is the way back.
func (w Attempts) Model() []morningai.Attempt {
	out := make([]morningai.Attempt, len(w.Attempts))
	for i, a := range w.Attempts {
		out[i] = morningai.Attempt{Number: a.Number, Life: a.Life, Node: a.Node, StartedAt: a.StartedAt,
			FinishedAt: timeOrZero(a.FinishedAt), Error: a.Error, Stack: a.Stack}
		set(&out[i].Outcome, a.Outcome)
	}
	return out
}

// LogLine is one line that a handler wrote.
type LogLine struct {
	Attempt int             `json:"attempt"`
	At      time.Time       `json:"at"`
	Level   string          `json:"level" enum:"debug,info,warn,error"`
	Message string          `json:"message"`
	Attrs   json.RawMessage `json:"attrs" doc:"an object, or null"`
}

// Logs answers GET /v1/tasks/{id}/logs, oldest first.
type Logs struct {
	Logs []LogLine `json:"logs"`
}

// NewLogs is the JSON form of log lines.
func NewLogs(lines []morningai.LogLine) Logs {
	out := make([]LogLine, len(lines))
	for i, l := range lines {
		l.At = l.At.UTC()
		out[i] = LogLine(l)
	}
	return Logs{out}
}

// Model is the way back.
func (w Logs) Model() []morningai.LogLine {
	out := make([]morningai.LogLine, len(w.Logs))
	for i, l := range w.Logs {
		if string(l.Attrs) == "null" {
			l.Attrs = nil
		}
		out[i] = morningai.LogLine(l)
	}
	return out
}

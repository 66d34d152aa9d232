package morningai

import (
	"encoding/json"
	"time"
)

// Task is a unit of work and what is known of it. A Task is a snapshot: it does
// not change when the stored record does.
type Task struct {
	ID       ID
	TraceID  ID // goes through logs, events and documents; the task's id unless given
	Type     string
	Queue    string
	Priority int // 0 runs first, 9 last

	State       State
	Attempt     int // executions so far; only grows
	Failures    int // executions that failed in this life; bounded by MaxAttempts
	MaxAttempts int
	Timeout     time.Duration // of one attempt, by the running node's monotonic clock

	Payload  json.RawMessage
	Result   json.RawMessage // nil until there is one
	Error    *TaskError      // of the last failure; nil after a success
	Progress json.RawMessage // what the handler reported last; nil if nothing
	Metadata map[string]string

	// Exclusive: a handler that may have been given up by the others is stopped
	// before they can hand the task to another one; see [Exclusive].
	Exclusive bool

	CreatedAt  time.Time
	RunAt      time.Time // when a scheduled task is due; else zero
	StartedAt  time.Time // of the last attempt
	FinishedAt time.Time // when a terminal state was reached

	Life    int64 // starts at 1; raised only by an operator's retry of an ended task
	Version int64 // grows with every visible change

	// MaybeRepeated: the shared engine had lost data, and a node that may have run
	// the task could not be asked before it was handed out again.
	MaybeRepeated   bool
	CancelRequested bool // a cancel waits for the running handler to return
	Pending         bool // a command was journaled here, and the shared engine has still to apply it

	Fresh Freshness // how current this snapshot is
	AsOf  time.Time // the moment it describes

	// Receipts of Enqueue carry the next three; Runs is also on a task that
	// waits for the shared engine to come back.
	Durable   string // where the task is durable: "sqlite", …
	Runs      string // RunsHere or RunsLater
	Duplicate bool   // a live task held the unique key, and this is it
}

// When an accepted task can run.
const (
	RunsHere  = "here"               // without waiting for anything else
	RunsLater = "when_redis_returns" // not before the shared engine is back
)

// Freshness says how far a read can be trusted.
type Freshness string

// How current an answer is.
const (
	FreshLive  Freshness = "live"  // from where the task lives
	FreshLocal Freshness = "local" // from the only node that can know it, while the shared engine is away
	FreshStale Freshness = "stale" // as it was known at AsOf; it may have moved on
)

// TaskError says why an attempt did not succeed. A handler may return one
// (wrapped or not) to choose the code that readers see.
type TaskError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error returns the message after the code.
func (e *TaskError) Error() string { return e.Code + ": " + e.Message }

// Codes of task errors that the library itself records.
const (
	ErrorCodeHandler    = "handler_error"   // the handler returned a plain error
	ErrorCodePanic      = "panic"           // the handler panicked; the attempt has the stack
	ErrorCodeTimeout    = "timeout"         // the attempt took longer than the task's timeout
	ErrorCodeCanceled   = "canceled"        // canceled by a command or by the handler
	ErrorCodeSuperseded = "superseded"      // another task held its unique key when the shared engine came back
	ErrorCodePayload    = "invalid_payload" // the payload does not fit the handler's type
	ErrorCodeResult     = "invalid_result"  // the result cannot be written as JSON, or is too large
)

// Outcome names what became of one attempt.
type Outcome string

// The outcomes of an attempt. All but OutcomeLost are reported by the worker;
// an engine records OutcomeLost itself when a session is gone.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeRetry     Outcome = "retry"    // failed, and will be tried again at RunAt
	OutcomeFailed    Outcome = "failed"   // failed for good
	OutcomeSnoozed   Outcome = "snoozed"  // asked to run again at RunAt; not a failure
	OutcomeCanceled  Outcome = "canceled" // the handler gave up because of a cancel, or asked for one
	OutcomeReleased  Outcome = "released" // handed back unfinished by a draining worker; not a failure
	OutcomeLost      Outcome = "lost"     // its process or session died; not a failure
)

// Attempt is one execution of a task.
type Attempt struct {
	Number     int // from 1; grows over all lives
	Life       int64
	Node       string // the node that ran it
	StartedAt  time.Time
	FinishedAt time.Time // zero while it runs
	Outcome    Outcome   // "" while it runs
	Error      *TaskError
	Stack      string // of a panic; else empty
}

// LogLine is one line that a handler wrote to its task's log.
type LogLine struct {
	Attempt int
	At      time.Time
	Level   string // "debug", "info", "warn" or "error"
	Message string
	Attrs   json.RawMessage // an object; nil if there are no attributes
}

// History is what is kept of a task beside its record.
type History struct {
	Attempts []Attempt // oldest first; the running one last
	Logs     []LogLine // oldest first; the newest MaxLogLines of them
}

package morningai

// State is where a task stands. The graph is
//
//	blocked, scheduled → queued → running → succeeded | failed | canceled
//
// with running → scheduled or queued for a retry, a snooze or a hand-back, and
// any state before the end → canceled. The last three are terminal: a task
// reaches at most one of them in each of its lives, and only an operator's
// retry of an ended task starts another life.
type State string

// The states of a task.
const (
	StateScheduled State = "scheduled" // due later; retries included
	StateBlocked   State = "blocked"   // waits for other tasks or an approval
	StateQueued    State = "queued"    // ready to run
	StateRunning   State = "running"   // handed to a worker
	StateSucceeded State = "succeeded"
	StateFailed    State = "failed" // no attempt is left: a dead letter
	StateCanceled  State = "canceled"
)

// StateRetrying selects, in filters and counts only, the scheduled tasks that
// have failed before. No task carries it as its state.
const StateRetrying State = "retrying"

// States lists the states a task can carry, in the order of its life.
func States() []State {
	return []State{StateScheduled, StateBlocked, StateQueued, StateRunning, StateSucceeded, StateFailed, StateCanceled}
}

// Terminal reports whether a task in this state has ended.
func (s State) Terminal() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCanceled
}

// Valid reports whether a task can carry this state.
func (s State) Valid() bool { return s.Terminal() || s.rank() > 0 }

// rank orders the states before the end by how far a task has come; the order
// decides between two records of one claim at import.
func (s State) rank() int {
	switch s {
	case StateBlocked:
		return 1
	case StateScheduled:
		return 2
	case StateQueued:
		return 3
	case StateRunning:
		return 4
	}
	return 0
}

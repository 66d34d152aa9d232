package drill

import (
	"time"

	"github.com/RC918/morningai"
)

// Final is what every node answers after all faults are over and nothing moves
// any more.
type Final struct {
	At    time.Duration // when it was read, by the history's clock
	Nodes []NodeFinal
}

// NodeFinal is the answer of one node.
type NodeFinal struct {
	Node   string
	Tasks  map[morningai.ID]TaskFinal
	Queues map[string]QueueFinal // those without an entry have no settings
	// Lost is how many acknowledged tasks the node's incidents say are lost;
	// SetAside are those that they say could not be delivered.
	Lost     int64
	SetAside []morningai.ID
	// Repeated are those that they say ran, or may have run, more than once.
	Repeated []morningai.ID
}

// TaskFinal is a task at the end.
type TaskFinal struct {
	State   morningai.State
	Life    int64
	Version int64
	Code    string // of the task's error
	Payload Digest
	Result  Digest
	// Attempts are all that are on record, oldest first; nil if not read.
	Attempts []AttemptFinal
	// Marks of the task.
	CancelRequested bool
	Pending         bool
	MaybeRepeated   bool
	Superseded      bool // it ran although another holds its unique key
	// Waits is why a task that has not ended is right not to run, such as
	// "paused" or "nobody handles its type"; "" if there is no reason.
	Waits string
}

// AttemptFinal is one recorded attempt.
type AttemptFinal struct {
	Number  int64
	Life    int64
	Node    string
	Outcome morningai.Outcome // "" while it runs
}

// QueueFinal is a queue's settings.
type QueueFinal struct {
	Paused   bool
	Settings map[string]string // by the names that Set uses; a missing one is ""
}

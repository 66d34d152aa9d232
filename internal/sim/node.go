package sim

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// Node is one process of a node: from its start to its crash. It is a state
// machine: all its calls are made within Step, and whatever takes time it hands
// out as an effect. Answers are given by effects too.
type Node interface {
	// Step lets the node handle one event, in which its other methods may be
	// called, and returns what is to be done outside of it.
	Step(now time.Time, event func()) []Effect
	// Wake is when it wants to be stepped if nothing happens before; zero: never.
	Wake() time.Time
	// Open reports whether its circuit is open.
	Open() bool

	// The calls of a morningai.Engine, answered through done, once. The specs of
	// an Enqueue are normalized.
	Enqueue(specs []morningai.TaskSpec, done func([]morningai.Receipt, error))
	Claim(req morningai.ClaimRequest, done func(morningai.ClaimReply, error))
	Finish(reports []morningai.Report, done func([]morningai.Verdict, error))
	Checkpoint(points []morningai.Checkpoint, done func([]error, error))
	Beat(req morningai.BeatRequest, done func(morningai.BeatReply, error))
	Reap(observed []morningai.Observation, done func([]morningai.SessionID, error))
	Command(cmds []morningai.Command, done func([]morningai.CommandResult, error))
	// Get is about what the node itself knows if here is set.
	Get(req morningai.GetRequest, here bool, done func([]morningai.Task, error))
	List(filter morningai.Filter, done func(morningai.Page, error))
	Stats(done func(morningai.Stats, error))
	SetQueue(name string, change morningai.QueueChange, done func(morningai.QueueConfig, error))
	// Status and Incidents are those of a morningai.Fleet.
	Status(done func(morningai.FleetStatus, error))
	Incidents(done func([]morningai.Incident, error))
}

// Effect is something to be done outside of a node.
type Effect struct {
	To   Target
	Name string
	// Limit is when a call is given up, with context.DeadlineExceeded; 0: never.
	Limit time.Duration
	// Waits numbers a call that stands still by design, and names the one that a
	// ToCancel ends with context.Canceled; 0 for others.
	Waits int64
	// Run makes the call. What it does takes effect at one moment, chosen by the
	// simulation, or never.
	Run func(context.Context) (any, error)
	// Then is the event that its answer is.
	Then func(any, error)
	Text string // of a ToLog
}

// Target is where an effect goes.
type Target uint8

// The targets.
const (
	ToReply   Target = iota // Run answers a caller; there is no Then
	ToShared                // a call of Env.Shared
	ToJournal               // a call of Env.Journal
	ToPeer                  // a call of Env.Ask, which only takes the question
	ToLog                   // a line for people
	ToCancel                // the end of a call that waits
)

// Env is what a node gets at its start.
type Env struct {
	Name    string
	Now     time.Time // by its own clock
	Shared  morningai.Engine
	Journal morningai.Journal
	// Ask asks the node at a URL, which is its name, for a task. The answer goes
	// to Then of the effect that has called it.
	Ask    func(ctx context.Context, url string, id morningai.ID) (morningai.Task, error)
	Random func() float64 // in [0, 1)
	Run    int64          // counts the starts of this node, from 1
}

// Open starts a node: it may call the journal at once, and its first Step comes
// directly afterwards.
type Open func(Env) Node

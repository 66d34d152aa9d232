package morningai

import (
	"context"
	"encoding/json"
	"time"
)

// Engine is where tasks live. All engines pass the same contract suite (package
// enginetest), which is the precise form of what these comments promise.
//
// What holds for every method:
//
//   - It is safe to repeat. A call that returned an error, or whose answer was
//     lost, may have been applied; calling it again with the same arguments
//     leads to the same state as calling it once.
//   - It works on batches. The error of the call as a whole means that nothing
//     is known about any item. What is wrong with one item is in that item's
//     result and does not touch the others.
//   - When a write returns without error, it is as durable as the engine's
//     Capabilities say. When it returns an error whose code is
//     [CodeStorageFull], [CodeInvalidInput] or [CodeTooLarge], nothing of it
//     was or will be applied.
//   - A cancelled context makes the call return soon with the context's error.
//     It does not undo what was already under way.
//   - Methods may be called from any number of goroutines. After Close all of
//     them return [ErrClosed].
type Engine interface {
	// Capabilities describes the engine. It never blocks.
	Capabilities() Capabilities

	// Enqueue accepts tasks, in order. It is idempotent by id: a spec whose id
	// is known returns the stored task if it asks for the same work
	// ([TaskSpec.SameRequest]) and [ErrConflict] if not; this holds for an
	// hour after the task has ended, or for its retention if that is longer,
	// and for deleted tasks, whose ids are an ErrConflict. A spec whose unique
	// key is held by a live task returns that task, marked Duplicate. Specs
	// are normalized first; those refused by that leave no trace.
	Enqueue(ctx context.Context, specs []TaskSpec) ([]Receipt, error)

	// Claim hands ready tasks to a session: lowest Priority number first, then
	// by order of acceptance, a retried task keeping its place. Tasks of
	// paused queues, and those over their queue's concurrency or rate, are
	// passed over. If nothing is ready it waits up to req.Wait. Each grant is
	// handed to one session only; if the answer is lost, the grant is
	// recovered through Beat. Unknown sessions are an [ErrNotFound]: Beat
	// first.
	Claim(ctx context.Context, req ClaimRequest) (ClaimReply, error)

	// Finish records outcomes. Each is accepted if it passes the fence
	// ([Record.Fence]); a repeat of the accepted outcome is acknowledged again,
	// anything else is [ErrStale], and an unknown task is [ErrNotFound]. A
	// task whose cancel was requested ends as canceled whatever the outcome
	// says; a result that came with it is kept.
	Finish(ctx context.Context, reports []Report) ([]Verdict, error)

	// Checkpoint records what a running handler has reached: the result of a
	// step, progress, or a log line, under the same fence as Finish. The first
	// result recorded under a step's name stays for the whole task, retries
	// included.
	Checkpoint(ctx context.Context, points []Checkpoint) ([]error, error)

	// Beat registers a session or keeps it alive, reports what it holds and
	// brings back what it has to know. Grants that the session does not list
	// in Holding, although it has seen every reply up to theirs
	// (BeatRequest.Through), were lost on the way and never started: they go
	// back to their queues.
	Beat(ctx context.Context, req BeatRequest) (BeatReply, error)

	// Reap declares sessions dead. An engine does so only if the session's
	// counter still has the observed value; otherwise the session is alive and
	// nothing happens. Running tasks of a dead session go back to their queues
	// with the attempt recorded as lost. It returns the sessions that were
	// reaped.
	Reap(ctx context.Context, observed []Observation) ([]SessionID, error)

	// Command carries out what an operator asks for. Repeating a command that
	// has taken effect succeeds and changes nothing. One that the task's state
	// does not allow is [ErrWrongState].
	Command(ctx context.Context, cmds []Command) ([]CommandResult, error)

	// Get returns the tasks it finds, in the order asked; a missing one has a
	// zero ID in its place.
	Get(ctx context.Context, req GetRequest) ([]Task, error)

	// History returns attempts and log lines of one task, or [ErrNotFound].
	History(ctx context.Context, id ID) (History, error)

	// List returns tasks, newest first, a page at a time. State, queue and
	// type are indexed. Filtering by trace id looks at up to 10,000 records a
	// page, so that a page may be short, or empty, and still have a next one.
	List(ctx context.Context, filter Filter) (Page, error)

	// Stats returns counts by state and queue and the live sessions. Counts
	// are maintained, never scanned.
	Stats(ctx context.Context) (Stats, error)

	// Events returns what happened after the cursor, in order for each task,
	// waiting up to req.Wait for the first. An empty cursor means from this
	// moment on. A cursor whose events are no longer kept is
	// [ErrCursorExpired], a malformed one [ErrInvalidInput].
	Events(ctx context.Context, req EventsRequest) (EventsPage, error)

	// SetQueue creates a queue or changes its settings; what the change leaves
	// nil stays. Settings outlive restarts.
	SetQueue(ctx context.Context, name string, change QueueChange) (QueueConfig, error)

	// Export returns whole records in a fixed order, a page at a time,
	// starting after the cursor. Tasks that change meanwhile may appear with
	// either state; a task that exists throughout appears once.
	Export(ctx context.Context, cursor string, limit int) (ExportPage, error)

	// Import merges records: each replaces the stored record only if it is
	// further on ([Record.Newer]), so that importing in any order, any number
	// of times, leads to the same state and never moves a task backwards. A
	// running task is installed without a session and goes back to its queue
	// unless its session beats with it. Counts, unique keys and ready order
	// follow.
	Import(ctx context.Context, records []Record) ([]ImportResult, error)

	// Probe makes a real write through the path that Enqueue takes, and
	// returns why it could not.
	Probe(ctx context.Context) error

	// Close finishes the writes under way, refuses the rest, and releases the
	// storage. It may be called more than once.
	Close() error
}

// Capabilities describes an engine as data.
type Capabilities struct {
	Name    string // "sqlite"
	Durable string // what a receipt says, such as "sqlite"
	// Reports is how many outcomes a worker should hand to one Finish, if that
	// many wait; 0 leaves it to the worker.
	Reports int
	// Data is what the engine keeps its tasks in, as its last call has found it.
	// It is zero for an engine that cannot lose what it has acknowledged without
	// saying so, and for one that has not reached its storage yet.
	Data DataSet
	// Edition is what these data had on record of the journal of this engine's node
	// ([Member]) when the engine began; 0 if nothing, or if it was not asked for.
	Edition int64
	// Parts is of how many parts the engine's storage is that may fail one by one,
	// such as the primaries of a Redis Cluster; a task is in [ID.Part]. 0: of one.
	Parts int
	// Away are the parts that cannot be reached now while others can, in order.
	// Calls leave them out, and what concerns a task in one is an ErrUnavailable. The
	// list is never changed, it is replaced.
	Away []AwayPart
}

// AwayPart is a part of an engine's storage that cannot be reached.
type AwayPart struct {
	Part   int
	Server string // that holds it; "" if that is not known
	Cause  error
}

// Receipt is the answer to one spec of an Enqueue.
type Receipt struct {
	Task Task
	// Existing is set if the id, or the unique key, was known before.
	Existing bool
	Err      error
}

// SessionID names one run of a worker: random, made anew at every start.
type SessionID [16]byte

// Lease identifies one hand-out of a task. Claim is the task's number of
// hand-outs, which only grows; Lease is random. Together they fence.
type Lease struct {
	ID    ID
	Claim int64
	Lease int64
}

// ClaimRequest asks for up to N tasks.
type ClaimRequest struct {
	Session SessionID
	// Queues to serve, tried in this order; up to Share tasks are taken from
	// each first, then whatever is free in the same order. Empty: all queues,
	// as if they were one.
	Queues []QueueShare
	Types  []string      // types the session can run; empty: none
	N      int           // 0 only waits for cancels
	Wait   time.Duration // 0 answers at once
	// Known are the data that the caller knows; zero: it cares about none. An engine
	// whose data are lost under its callers hands out nothing of others, and answers
	// with an [ErrUnavailable]: before anything runs again somebody has to tell it
	// what is finished.
	Known DataSet
}

// QueueShare is how many tasks of a claim a queue may fill before the others
// have had their turn.
type QueueShare struct {
	Name  string
	Share int
}

// ClaimReply brings grants, cancels, or neither when the wait is over.
type ClaimReply struct {
	Seq    int64 // grows with every reply to this session
	Grants []Grant
	// Cancels lists tasks this session runs whose cancel was requested. Beat
	// repeats them until they are finished.
	Cancels []ID
}

// Grant is a task handed out, with everything needed to run it.
type Grant struct {
	Task  Task // State running, Attempt counting this one
	Lease Lease
	Steps map[string]json.RawMessage // results of steps already done; nil if none
	Own   bool                       // the journal of this very node has handed it out: no beat that is Alone lets it lapse
	// What the task was asked for with and does not show, so that whoever runs it
	// can put back the whole of it.
	UniqueKey   string
	Retention   *time.Duration
	Fingerprint string
}

// Report is the outcome of one claim.
type Report struct {
	Lease   Lease
	Node    string
	Outcome Outcome         // any but OutcomeLost
	Result  json.RawMessage // of a success; may come with OutcomeCanceled too
	Error   *TaskError      // of OutcomeRetry, OutcomeFailed and OutcomeCanceled
	Stack   string          // of a panic
	RunAt   time.Time       // of OutcomeRetry and OutcomeSnoozed

	Attempt    int // the number that the grant carried
	StartedAt  time.Time
	FinishedAt time.Time
}

// Verdict is the answer to one report: the state that the task has now, or why
// the report was refused.
type Verdict struct {
	State State
	Err   error
}

// CheckpointKind says what a checkpoint carries.
type CheckpointKind uint8

// The kinds of checkpoint.
const (
	CheckpointStep     CheckpointKind = iota + 1 // Name and Data: a step's result
	CheckpointProgress                           // Data: what readers see as progress
	CheckpointLog                                // Line: one log line
	// CheckpointRepeat marks the task as one that may have run more often than is
	// on record ([Task.MaybeRepeated]).
	CheckpointRepeat
)

// Checkpoint is something a running handler leaves behind before it ends.
type Checkpoint struct {
	Lease Lease
	Kind  CheckpointKind
	Name  string
	Data  json.RawMessage
	Line  LogLine
}

// BeatRequest keeps a session alive.
type BeatRequest struct {
	Session     SessionID
	Node        string // a name for people
	Types       []string
	Queues      []string // empty: all
	Concurrency int
	LeaseTime   time.Duration // how long others wait before they call it dead
	Holding     []Lease
	// Through is the largest Seq such that the session has received, or given
	// up for lost, every claim reply up to it. Grants of later replies may
	// still be on their way and are left alone.
	Through int64
	// Member, if not nil, is recorded as it stands, in place of what was known
	// of its journal; with Leaving and no backlog it is removed instead.
	Member *Member
	// Forget lists journals whose members are removed from the record.
	Forget []ID
	// Remote says that the worker is in another process than this call. An
	// engine that ends with its process has a claim of such a session on disk
	// before Claim returns, and after a restart keeps the task running for a
	// LeaseTime, for a session that holds it to come back.
	Remote bool
	// Leaving ends the session: what it does not hold any more goes back to
	// the queues, and the session is forgotten.
	Leaving bool
}

// BeatReply is what a session has to know.
type BeatReply struct {
	Counter  int64   // of this session after the beat
	Cancels  []ID    // held tasks whose cancel was requested
	Lost     []Lease // held according to the request, but superseded or unknown here
	Sessions []Session
	Members  []Member // all on record, after what this beat has changed
	// Settings is another text whenever the settings of a queue have changed; ""
	// from an engine that does not tell.
	Settings string
	// Alone: whoever watches the session has not seen this beat, because it cannot
	// be reached now. Of what the session holds it keeps alive only what the node's
	// own journal has handed out ([Grant.Own]).
	Alone bool
	// Missed are the parts of the engine ([Capabilities.Away]) that have not seen this
	// beat: whoever watches the session there may call it dead.
	Missed []int
}

// Session is a member as the others see it.
type Session struct {
	ID          SessionID
	Node        string
	Types       []string
	Queues      []string // empty: all
	Concurrency int
	Running     int
	LeaseTime   time.Duration
	Counter     int64
}

// Observation says that an observer has seen a session's counter unchanged for
// the session's whole lease time, during its own unbroken contact.
type Observation struct {
	Session SessionID
	Counter int64
}

// CommandKind names what an operator can do to a task.
type CommandKind string

// The commands.
const (
	// CommandCancel ends a task that does not run; one that runs has its
	// handler's context cancelled and ends when the handler returns.
	CommandCancel CommandKind = "cancel"
	// CommandRetry starts another life of a failed or canceled task, without
	// its error, result and progress, and makes one that waits for a retry run
	// now. On a queued or running one it does nothing; a succeeded one, and one
	// that is scheduled but has not failed, is ErrWrongState. While another
	// live task holds the unique key it is ErrConflict.
	CommandRetry CommandKind = "retry"
	// CommandRun makes a scheduled task run now. On a queued or running one it
	// does nothing.
	CommandRun CommandKind = "run"
	// CommandDelete removes a task that does not run. Deleting a deleted task
	// succeeds.
	CommandDelete CommandKind = "delete"
)

// Command is one order of an operator.
type Command struct {
	Kind CommandKind
	ID   ID
	// Version makes the command conditional: if it is not 0 and the task has
	// moved on, the result is ErrConflict.
	Version int64
	// Error is what readers see of a task that a CommandCancel ends at once;
	// nil says that it was canceled.
	Error *TaskError
}

// CommandResult carries the task after the command; after a delete, the task
// as it was. UniqueKey and Retention are what it was asked for with that a task does
// not show.
type CommandResult struct {
	Task      Task
	UniqueKey string
	Retention *time.Duration
	Err       error
}

// GetRequest names the tasks to read.
type GetRequest struct {
	IDs []ID
	// Lingering also returns ended tasks whose retention is over but which are
	// still stored; they are for a minute. Whoever waits for a result with
	// retention 0 needs it.
	Lingering bool
}

// Filter selects tasks; zero fields select all.
type Filter struct {
	State   State // StateRetrying included
	Queue   string
	Type    string
	TraceID ID
	Limit   int    // 1 to 1,000; 0 means 50
	Cursor  string // Next of the page before; a malformed one is ErrInvalidInput
}

// Page is one page of a list.
type Page struct {
	Tasks []Task
	Next  string // "" at the end
	Fresh Freshness
	AsOf  time.Time
}

// Stats counts what an engine holds.
type Stats struct {
	States     map[State]int64 // every state has an entry
	Throughput Throughput
	Queues     []QueueInfo // by name
	Sessions   []Session
	Fresh      Freshness
	AsOf       time.Time
}

// Throughput counts attempts that ended in the last minute, by what became of
// them, and tasks accepted. It starts at zero when the engine is opened.
type Throughput struct {
	Window    time.Duration
	Enqueued  int64
	Succeeded int64
	Retried   int64
	Failed    int64
	Canceled  int64
}

// EventKind names what happened to a task.
type EventKind string

// The kinds of event.
const (
	EventQueued    EventKind = "task.queued"
	EventScheduled EventKind = "task.scheduled"
	EventStarted   EventKind = "task.started"
	EventProgress  EventKind = "task.progress"
	EventLog       EventKind = "task.log"
	EventRetrying  EventKind = "task.retrying"
	EventSucceeded EventKind = "task.succeeded"
	EventFailed    EventKind = "task.failed"
	EventCanceled  EventKind = "task.canceled"
	EventDeleted   EventKind = "task.deleted"
)

// Event says that a task has changed. It is a hint to read the task again, not
// a copy of it.
type Event struct {
	Cursor  string // of this event: Events with it returns those after
	Kind    EventKind
	ID      ID
	Type    string
	Queue   string
	State   State
	Attempt int
	Version int64
	At      time.Time
}

// EventsRequest asks for events after a cursor.
type EventsRequest struct {
	Cursor string
	Limit  int // 0 means 1,000
	Wait   time.Duration
}

// EventsPage is one page of events; Cursor continues after it.
type EventsPage struct {
	Events []Event
	Cursor string
}

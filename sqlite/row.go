package sqlite

import (
	"encoding/json"
	"time"

	"github.com/RC918/morningai"
)

// status is the state of a row. Scheduled tasks that failed before have their
// own, so that both can be counted and listed; running is not among them.
type status uint8

const (
	stQueued status = iota + 1
	stScheduled
	stRetrying
	stBlocked
	stSucceeded
	stFailed
	stCanceled
	stHidden status = 8 // added: past its retention, or deleted
)

func (s status) hidden() bool { return s&stHidden != 0 }
func (s status) base() status { return s &^ stHidden }
func (s status) ended() bool  { b := s.base(); return b >= stSucceeded && b <= stCanceled }
func (s status) due() bool    { return s == stScheduled || s == stRetrying }

// live reports whether the task has not ended and was not deleted.
func (s status) live() bool { return s >= stQueued && s <= stBlocked }

var stateNames = [...]morningai.State{
	stQueued: morningai.StateQueued, stScheduled: morningai.StateScheduled, stRetrying: morningai.StateScheduled,
	stBlocked: morningai.StateBlocked, stSucceeded: morningai.StateSucceeded, stFailed: morningai.StateFailed,
	stCanceled: morningai.StateCanceled,
}

func (s status) state() morningai.State { return stateNames[s.base()] }

// Flags of a row.
const (
	flagCancel   = 1 << iota // a cancel waits for the handler to return
	flagDeleted              // removed by a command
	flagLast                 // the row describes attempt number row.attempt
	flagAttempts             // the table attempts has rows
	flagSteps                // the table steps has rows
	flagLogs                 // the table logs has rows
	flagRepeat               // it may have run more often than is on record
)

// outcomes by the number stored; their order is part of the file format.
var outcomes = [...]morningai.Outcome{"", morningai.OutcomeSucceeded, morningai.OutcomeRetry, morningai.OutcomeFailed,
	morningai.OutcomeSnoozed, morningai.OutcomeCanceled, morningai.OutcomeReleased, morningai.OutcomeLost}

func outcomeNumber(o morningai.Outcome) (uint8, bool) {
	for i, name := range outcomes {
		if name == o {
			return uint8(i), true
		}
	}
	return 0, false
}

// row is a task as the table has it. Rows that others can see are never
// changed; a change works on a copy. Times are in microseconds.
type row struct {
	seq         int64
	id          morningai.ID
	line        *line
	status      status
	settled     uint8
	flags       uint8
	priority    int
	maxAttempts int
	exclusive   bool
	timeout     time.Duration
	retention   *time.Duration
	trace       morningai.ID
	ukey        string
	metadata    string // JSON; "" if none
	fingerprint string
	payload     []byte
	created     int64
	runAt       int64
	version     int64
	era         int64
	life        int64
	attempt     int64
	failures    int64
	claim       int64
	lease       int64
	node        *node
	started     int64
	finished    int64
	expires     int64
	result      []byte
	err         string // JSON of the TaskError; "" if none
	stack       string
	progress    []byte
}

// line is a queue and a type: what the index over tasks is ordered by.
type line struct {
	id    int64
	queue string
	typ   string
	runs  [morningai.MaxPriority + 1]*run // ready tasks; guarded by Engine.mu
}

type node struct {
	id   int64
	name string
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func (r *row) nodeName() string {
	if r.node == nil {
		return ""
	}
	return r.node.name
}

func (r *row) taskError() *morningai.TaskError {
	if r.err == "" {
		return nil
	}
	var e morningai.TaskError
	if err := json.Unmarshal([]byte(r.err), &e); err != nil {
		return &morningai.TaskError{Code: "unreadable", Message: "the stored error cannot be read"}
	}
	return &e
}

func errorText(e *morningai.TaskError) (string, error) {
	if e == nil {
		return "", nil
	}
	raw, err := json.Marshal(e)
	return string(raw), err
}

func (r *row) meta() map[string]string {
	if r.metadata == "" {
		return nil
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(r.metadata), &m); err != nil {
		return nil
	}
	return m
}

// spec returns what the producer asked for, to compare a repeat with.
func (r *row) spec() morningai.TaskSpec {
	return morningai.TaskSpec{ID: r.id, TraceID: r.trace, Type: r.line.typ, Queue: r.line.queue, Priority: r.priority,
		Payload: r.payload, MaxAttempts: r.maxAttempts, Timeout: r.timeout, UniqueKey: r.ukey, Metadata: r.meta(), Exclusive: r.exclusive, Fingerprint: r.fingerprint}
}

// shownVersion accounts for claims that a crash may have lost: readers have
// seen one version more for each era, and go on from beyond it.
func (r *row) shownVersion(era int64) int64 {
	if r.status == stQueued && era > r.era {
		return r.version + 2*(era-r.era)
	}
	return r.version
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// task returns the snapshot that readers get. Byte slices are shared.
func (r *row) task(era int64, now time.Time) morningai.Task {
	t := morningai.Task{
		ID: r.id, TraceID: r.trace, Type: r.line.typ, Queue: r.line.queue, Priority: r.priority,
		State: r.status.state(), Attempt: int(r.attempt), Failures: int(r.failures), MaxAttempts: r.maxAttempts, Timeout: r.timeout,
		Payload: r.payload, Result: r.result, Error: r.taskError(), Progress: r.progress, Metadata: r.meta(), Exclusive: r.exclusive,
		CreatedAt: timeOf(r.created), StartedAt: timeOf(r.started),
		Life: r.life, Version: r.shownVersion(era), MaybeRepeated: r.flags&flagRepeat != 0, Fresh: morningai.FreshLive, AsOf: now,
	}
	if r.status.base().due() {
		t.RunAt = timeOf(r.runAt)
	}
	if r.status.ended() {
		t.FinishedAt = timeOf(r.finished)
	}
	return t
}

// keepFor is how long the ended task stays readable.
func (r *row) keepFor(cfg *config) time.Duration {
	switch {
	case r.retention != nil:
		return *r.retention
	case r.status.base() == stFailed:
		return cfg.failed
	}
	return cfg.succeeded
}

// purgeAt is when the row may go: an hour after the end at the earliest, so
// that a repeated enqueue still finds it.
func (r *row) purgeAt(cfg *config) int64 {
	if r.flags&flagDeleted != 0 {
		return r.expires + max(r.keepFor(cfg), time.Hour).Microseconds()
	}
	return max(r.expires, r.finished+time.Hour.Microseconds())
}

// shown reports whether readers see the row at this time.
func (r *row) shown(now int64) bool {
	return !r.status.hidden() && (!r.status.ended() || r.expires > now)
}

// lingers reports whether a waiting reader may still have the row.
func (r *row) lingers(now int64) bool {
	return r.flags&flagDeleted == 0 && r.status.ended() && now < r.expires+time.Minute.Microseconds()
}

// fence applies the shared rule to the stored row, which does not run.
func (r *row) fence(l morningai.Lease, o morningai.Outcome) morningai.Fencing {
	rec := morningai.Record{Claim: r.claim, Lease: r.lease, Settled: outcomes[r.settled], Deleted: r.flags&flagDeleted != 0}
	rec.Task.State = r.status.state()
	return rec.Fence(l, o)
}

package drill

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

// Op is one operation: what was asked or done, and what came of it. Fields that
// a kind does not use, or whose value is not known, stay zero; checks that need
// them pass the operation over.
type Op struct {
	// Seq and End are the places of call and return in the order of the whole
	// history, from 1; End is 0 for a call that never returned. One operation
	// came before another if its End is smaller than the other's Seq. They are
	// given by the history.
	Seq int64 `json:"seq"`
	End int64 `json:"end,omitempty"`
	// Call and Return are monotonic, since the start of the history.
	Call   time.Duration `json:"call_ns"`
	Return time.Duration `json:"return_ns,omitempty"`

	Node   string `json:"node,omitempty"`   // where it happened
	Client string `json:"client,omitempty"` // who asked: calls of one client and node are one reader's
	Kind   Kind   `json:"kind"`

	Outcome Outcome        `json:"outcome,omitempty"`
	Code    morningai.Code `json:"code,omitempty"` // of what is not ok
	Pending bool           `json:"pending,omitempty"`

	Task morningai.ID `json:"task,omitzero"`
	// Holder is the live task that an enqueue was answered with, because it
	// holds the unique key that Task asked for.
	Holder  morningai.ID    `json:"holder,omitzero"`
	Life    int64           `json:"life,omitempty"`
	Version int64           `json:"version,omitempty"`
	State   morningai.State `json:"state,omitempty"`
	Attempt int64           `json:"attempt,omitempty"`
	Claim   int64           `json:"claim,omitempty"`
	Lease   int64           `json:"lease,omitempty"`

	// Ended is what a handler's attempt came to.
	Ended   morningai.Outcome   `json:"ended,omitempty"`
	Payload Digest              `json:"payload,omitempty"`
	Result  Digest              `json:"result,omitempty"`
	Durable string              `json:"durable,omitempty"` // what a receipt claims
	Fresh   morningai.Freshness `json:"fresh,omitempty"`
	// MaybeRepeated: the answer said of the task that it may have run more often
	// than recorded.
	MaybeRepeated bool `json:"maybe_repeated,omitempty"`

	Queue string        `json:"queue,omitempty"`
	Key   string        `json:"key,omitempty"`
	Value string        `json:"value,omitempty"`
	Count int64         `json:"count,omitempty"`
	Span  time.Duration `json:"span_ns,omitempty"`
}

// Outcome says whether an operation took effect.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Fail    Outcome = "fail"    // it had no effect and never will
	Unknown Outcome = "unknown" // nothing is known: it may have an effect, even later
)

// Kind names an operation.
type Kind string

// What clients ask for. An answer about a task fills in Life, Version, State,
// Attempt, Payload, MaybeRepeated and Fresh as far as it has them.
const (
	// Enqueue asks for Task with Payload in Queue; zero if the node makes the
	// id and no answer came. Key is the unique key. Span is how long the ended
	// task is kept: 0 longer than the history, negative not at all. The answer
	// has Durable, and Holder if the key was taken.
	Enqueue Kind = "enqueue"
	Read    Kind = "read" // also each task that a list has shown
	// List asks for all tasks of Queue, or of all queues; Count is how many the
	// answer has, Fresh what it says of itself.
	List   Kind = "list"
	Cancel Kind = "cancel"
	Retry  Kind = "retry"
	Run    Kind = "run"
	Delete Kind = "delete"
	Pause  Kind = "pause"
	Resume Kind = "resume"
	// Set changes the setting Key of Queue to Value, such as rate to 10/s.
	Set    Kind = "set"
	Forget Kind = "forget" // Value is the node that will not come back
)

// What happens to tasks on nodes.
const (
	// Grant hands Task out with Claim and Lease, by the store that owns it.
	Grant Kind = "grant"
	// Start is the beginning of a handler's run.
	Start Kind = "start"
	// End is its return, with Ended.
	End Kind = "end"
	// Finish is the decision over an outcome by the store that owns the task:
	// ok if recorded, now or before; fail with Code stale if refused.
	Finish Kind = "finish"
	// Reap declares the session Key of Node dead; Client is the observer and
	// Span the session's lease time. Key may be "" if only the node is known.
	Reap Kind = "lost-session"
	// Observe is the observer's (Client) look at the session Key of Node, whose
	// counter was Version.
	Observe Kind = "observe"
	// Synced: Task is on the disk of Node's journal. Applied: it is in Redis.
	Synced  Kind = "synced"
	Applied Kind = "applied"
	// Lane is a write that Redis applied under the number Count of the lane Key.
	Lane Kind = "lane"
	// SetAside: Node gave up delivering Task, and says so.
	SetAside Kind = "set-aside"
	// Opened and Closed are Node's circuit: it works on its own in between.
	Opened Kind = "circuit-open"
	Closed Kind = "circuit-closed"
	// Drained: Node has delivered the Count entries that it had to deliver when
	// its circuit closed.
	Drained Kind = "drained"
)

// What is done to the fleet. A fault lasts from the first word of its pair to
// the second, or to the end of the history. Each is recorded at the moment that
// makes its interval longer: before it is inflicted, after it is over.
const (
	Crash     Kind = "crash" // kill -9 of Node
	Restart   Kind = "restart"
	RedisDown Kind = "redis-down" // for all nodes: stopped, frozen, refusing
	RedisUp   Kind = "redis-up"
	Cut       Kind = "cut" // for Node alone
	Mended    Kind = "mended"
	RedisLost Kind = "redis-lost" // it came back empty or with older data
	// Split: two primaries took writes at once; the operation lasts as long.
	Split      Kind = "split"
	DiskLost   Kind = "disk-lost" // the journal of Node is gone or older
	DiskFull   Kind = "disk-full" // or over the journal's size limit
	DiskSpace  Kind = "disk-space"
	DiskFailed Kind = "disk-failed" // Node's disk does not confirm writes; until Restart
)

// Digest stands for a payload or a result; 0 is an unknown one.
type Digest uint64

// DigestOf returns the digest of a JSON value; white space between its tokens
// does not count. It is 0 for none.
func DigestOf(raw []byte) Digest {
	if len(raw) == 0 {
		return 0
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err == nil {
		raw = b.Bytes()
	}
	sum := sha256.Sum256(raw)
	return Digest(max(binary.BigEndian.Uint64(sum[:8]), 1))
}

// MarshalText writes the digest as 16 hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(d)), nil }

// UnmarshalText reads what MarshalText has written.
func (d *Digest) UnmarshalText(text []byte) error {
	var b [8]byte
	if len(text) != 16 {
		return errors.New("a digest has 16 hexadecimal digits")
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return fmt.Errorf("read a digest: %w", err)
	}
	*d = Digest(binary.BigEndian.Uint64(b[:]))
	return nil
}

// Judge says what an error means for the operation that returned it: whether it
// surely had no effect, or may have had one, and under which code.
func Judge(err error) (Outcome, morningai.Code) {
	if err == nil {
		return OK, ""
	}
	code := morningai.CodeOf(err)
	switch code {
	case morningai.CodeInvalidInput, morningai.CodeTooLarge, morningai.CodeNotFound, morningai.CodeConflict,
		morningai.CodeIdempotencyConflict, morningai.CodeWrongState, morningai.CodeStale, morningai.CodeStorageFull,
		morningai.CodeClosed, morningai.CodeLocked, morningai.CodeNewerFormat, morningai.CodeCursorExpired:
		return Fail, code
	}
	return Unknown, code
}

// Show fills in what an answer says of a task.
func (o *Op) Show(t *morningai.Task) {
	o.Task, o.Life, o.Version, o.State, o.Attempt = t.ID, t.Life, t.Version, t.State, int64(t.Attempt)
	o.Payload, o.Result, o.Fresh = DigestOf(t.Payload), DigestOf(t.Result), t.Fresh
	o.MaybeRepeated = t.MaybeRepeated
	if t.Durable != "" {
		o.Durable = t.Durable
	}
}

// Receive fills in the answer to an Enqueue. What was asked for stays.
func (o *Op) Receive(r *morningai.Receipt) {
	if o.Outcome, o.Code = Judge(r.Err); r.Err != nil {
		return
	}
	asked, payload := o.Task, o.Payload
	o.Show(&r.Task)
	o.Payload = payload
	if r.Task.Duplicate {
		o.Task, o.Holder = asked, r.Task.ID
	}
}

// before reports that o had returned when p was called.
func (o *Op) before(p *Op) bool { return o.End != 0 && o.End < p.Seq }

func (o *Op) ok() bool { return o.Outcome == OK && o.End != 0 }

// possible reports that o may have had an effect.
func (o *Op) possible() bool { return o.Outcome != Fail || o.End == 0 }

// held: the answer to an enqueue was another task, which holds the unique key.
func (o *Op) held() bool { return !o.Holder.IsZero() && o.Holder != o.Task }

// String is the operation as a line of the history.
func (o Op) String() string {
	line, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(line)
}

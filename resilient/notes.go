package resilient

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"time"

	"github.com/RC918/morningai"
)

// The kinds of note, and what each is for. The first is of the journal itself.
const (
	_ morningai.NoteKind = iota
	// noteTask: a task that the shared engine has, or may have. Key: its id;
	// Alt: its unique key; Data: the record as it was when it left this node's
	// hands. It goes when the task is known to have ended.
	noteTask
	// noteOwn: a task that the shared engine cannot have yet. Key, Alt and Data
	// as above. It becomes a noteTask before its first byte leaves.
	noteOwn
	// noteOutcome: an outcome. It is kept after the shared engine has acknowledged
	// it, for as long as that may lose it: a while if the task goes on, and if it
	// has ended for as long as there is room. Key: the task; Data: the whole record
	// after the outcome.
	noteOutcome
	// notePoint: a checkpoint that the shared engine has still to get.
	notePoint
	// noteCommand: an order that the shared engine has still to get. Alt: the task.
	noteCommand
	// noteQueue: settings that the shared engine has still to get. Key: of the name.
	noteQueue
	// noteIncident: the report of an outage.
	noteIncident
	// noteAside: a task that the shared engine refuses for good, and why.
	noteAside
	// noteMirror: what is to be known of the fleet while it cannot be asked.
	noteMirror
	// noteAgain: the outcome of this task has replaced an earlier one in the
	// journal, and has still to be delivered. Key: the task.
	noteAgain
	// noteOrdered: an order that the shared engine has carried out, kept for as
	// long as it may lose it. Key: the task.
	noteOrdered
)

func keyOf(kind morningai.NoteKind, id morningai.ID) morningai.NoteKey {
	return morningai.NoteKey{Kind: kind, Key: id}
}

// keyOfName is the key of a note about a thing with a name.
func keyOfName(name string) morningai.ID {
	h := fnv.New128a()
	h.Write([]byte(name))
	return morningai.ID(h.Sum(nil))
}

// recordOf is the record of a task that was just accepted.
func recordOf(spec *morningai.TaskSpec, at time.Time) morningai.Record {
	r := morningai.Record{UniqueKey: spec.UniqueKey, Retention: spec.Retention, Fingerprint: spec.Fingerprint,
		Task: morningai.Task{
			ID: spec.ID, TraceID: spec.TraceID, Type: spec.Type, Queue: spec.Queue, Priority: spec.Priority,
			State: morningai.StateQueued, MaxAttempts: spec.MaxAttempts, Exclusive: spec.Exclusive, Timeout: spec.Timeout,
			Payload: spec.Payload, Metadata: spec.Metadata, CreatedAt: at, Life: 1, Version: 1,
		}}
	if spec.RunAt.After(at) {
		r.Task.State, r.Task.RunAt = morningai.StateScheduled, spec.RunAt.UTC()
	}
	return r
}

func taskNote(kind morningai.NoteKind, r *morningai.Record) (morningai.Note, error) {
	data, err := r.AppendBinary(make([]byte, 0, roomFor(r)))
	return morningai.Note{NoteKey: keyOf(kind, r.Task.ID), Alt: r.UniqueKey, Data: data}, err
}

// roomFor is about how long a packed record will be.
func roomFor(r *morningai.Record) int {
	t := &r.Task
	return 160 + len(t.Type) + len(t.Queue) + len(t.Payload) + len(t.Result) + len(r.UniqueKey) + len(r.Node)
}

// outcomeNote is the whole record as an outcome leaves it, from which the
// report can be made again.
func outcomeNote(h *holding, r *morningai.Report) (morningai.Note, error) {
	record := morningai.Record{Task: h.task, Claim: r.Lease.Claim, Lease: r.Lease.Lease, Node: r.Node, Session: h.session, Settled: r.Outcome, Steps: h.steps,
		UniqueKey: h.asked.UniqueKey, Retention: h.asked.Retention, Fingerprint: h.asked.Fingerprint}
	t := &record.Task
	t.ID, t.Attempt, t.StartedAt, t.Result, t.RunAt = r.Lease.ID, r.Attempt, r.StartedAt, r.Result, r.RunAt
	t.State = stateAfter(r.Outcome)
	if t.State.Terminal() {
		t.FinishedAt = r.FinishedAt
	}
	if t.Life == 0 { // handed out in an earlier life of this process
		t.Life = 1
	}
	t.Version++
	if !t.State.Terminal() {
		t.Error = r.Error
	}
	if r.Outcome == morningai.OutcomeFailed || r.Outcome == morningai.OutcomeCanceled {
		t.Error = r.Error
	}
	record.Attempts = []morningai.Attempt{{Number: r.Attempt, Life: t.Life, Node: r.Node, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		Outcome: r.Outcome, Error: r.Error, Stack: r.Stack}}
	data, err := record.AppendBinary(make([]byte, 0, roomFor(&record)))
	return morningai.Note{NoteKey: keyOf(noteOutcome, t.ID), Data: data}, err
}

// reportOf makes the report again that outcomeNote was given.
func reportOf(r *morningai.Record) morningai.Report {
	out := morningai.Report{Lease: morningai.Lease{ID: r.Task.ID, Claim: r.Claim, Lease: r.Lease}, Node: r.Node, Outcome: r.Settled,
		Result: r.Task.Result, RunAt: r.Task.RunAt, Attempt: r.Task.Attempt, StartedAt: r.Task.StartedAt}
	if n := len(r.Attempts); n > 0 {
		a := &r.Attempts[n-1]
		out.Error, out.Stack, out.FinishedAt = a.Error, a.Stack, a.FinishedAt
	}
	return out
}

// stateAfter is the state that an outcome leads to, unless a cancel decides
// otherwise.
func stateAfter(o morningai.Outcome) morningai.State {
	switch o {
	case morningai.OutcomeSucceeded:
		return morningai.StateSucceeded
	case morningai.OutcomeFailed:
		return morningai.StateFailed
	case morningai.OutcomeCanceled:
		return morningai.StateCanceled
	case morningai.OutcomeReleased:
		return morningai.StateQueued
	}
	return morningai.StateScheduled
}

// jsonNote is a note of one of the rarer kinds.
func jsonNote(key morningai.NoteKey, alt string, value any) (morningai.Note, error) {
	data, err := json.Marshal(value)
	return morningai.Note{NoteKey: key, Alt: alt, Data: data}, err
}

// sequenceKey is a key for a note that nobody looks up by it: of the kind's
// notes in order. A number that was used before is not used again, because it
// carries the incarnation of the node.
func (c *core) sequenceKey() morningai.ID {
	c.backlog.made++
	var id morningai.ID
	copy(id[:8], c.cfg.incarnation[:])
	binary.BigEndian.PutUint64(id[8:], uint64(c.backlog.made))
	return id
}

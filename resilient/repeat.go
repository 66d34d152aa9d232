package resilient

import (
	"time"

	"github.com/RC918/morningai"
)

// lookUp finds tasks that this node has accepted before, by id or by unique
// key, and goes on with the others.
func (op *enqueueOp) lookUp() {
	ids := make([]morningai.ID, len(op.specs))
	var uniqueKeys []string
	for i := range op.specs {
		ids[i] = op.specs[i].ID
		if key := op.specs[i].UniqueKey; key != "" {
			uniqueKeys = append(uniqueKeys, key)
		}
	}
	op.c.lookUp(ids, uniqueKeys, func(f found, err error) {
		if err != nil {
			op.finish(nil, err)
			return
		}
		op.found = &f
		op.goOn(&f)
	})
}

// goOn answers for the tasks that are known and accepts the rest. A task that
// the journal owns is answered by the journal, whatever the contact. One that it
// has noted is not noted again: the note may say more than the request.
func (op *enqueueOp) goOn(f *found) {
	c := op.c
	j := &joined{op: op, receipts: make([]morningai.Receipt, len(op.specs)), open: 1}
	var rest, mine, again, remembered []int
	for i := range op.specs {
		s := &op.specs[i]
		had := f.before(s.ID)
		holder := f.holders[s.UniqueKey]
		switch {
		case f.owned[s.ID] != nil:
			mine = append(mine, i)
		case op.conflicts(s, had, had != nil && had == f.ended[s.ID]):
			// It is not even sent: it might be taken before the first is.
			j.receipts[i].Err = errOthersID
		case had != nil && (had == f.own[s.ID] || f.leaving[s.ID]): // nobody else has it, and it may have run here
			j.receipts[i] = morningai.Receipt{Task: c.acknowledged(had), Existing: true}
		case had != nil && had != f.ended[s.ID] && !c.away(s.ID):
			again = append(again, i) // the shared engine knows better
		case had != nil && had == f.ended[s.ID] && !had.Task.State.Terminal() && c.away(s.ID):
			remembered = append(remembered, i) // the outcome may have been superseded, and its note may go
		case had != nil && c.away(s.ID):
			j.receipts[i] = morningai.Receipt{Task: c.acknowledged(had), Existing: true}
		case s.UniqueKey != "" && holder != nil && holder.Task.ID != s.ID && (f.own[holder.Task.ID] != nil || c.holds(holder)):
			t := c.acknowledged(holder)
			t.Duplicate = true
			j.receipts[i] = morningai.Receipt{Task: t, Existing: true}
		case !op.fresh[i] && c.known.deleted.has(s.ID, c.now):
			j.receipts[i].Err = errDeleted
		case had == nil && !op.fresh[i] && c.away(s.ID) && c.knownElsewhere(s.ID):
			remembered = append(remembered, i)
		default:
			rest = append(rest, i)
		}
	}
	if len(rest) == len(op.specs) {
		op.begin()
		return
	}
	if len(mine) > 0 {
		j.open++
		op.own(pick(op.specs, mine), func(some []morningai.Receipt, err error) { j.part(mine, some, err) })
	}
	if len(remembered) > 0 {
		j.open++
		op.holdToo(pick(op.specs, remembered), func(some []morningai.Receipt, err error) { j.part(remembered, some, err) })
	}
	for _, part := range []struct {
		at    []int
		noted bool
	}{{rest, false}, {again, true}} {
		if len(part.at) == 0 {
			continue
		}
		j.open++
		more := &enqueueOp{c: c, inner: true, specs: pick(op.specs, part.at), fresh: pick(op.fresh, part.at), durability: op.durability, at: op.at,
			found: f, done: func(some []morningai.Receipt, err error) { j.part(part.at, some, err) }}
		more.noted.done, more.before = part.noted, part.noted
		more.begin()
	}
	j.part(nil, nil, nil)
}

// knownElsewhere reports that the shared engine was last known to have a task, or that
// another node has shown its end.
func (c *core) knownElsewhere(id morningai.ID) bool {
	t := c.known.get(id)
	return t != nil && (t.Fresh != morningai.FreshLocal || t.State.Terminal())
}

// holdToo keeps tasks that the shared engine was last known to have: whether it
// still has them nobody can say now, and the answer is to hold whatever it has lost.
func (op *enqueueOp) holdToo(specs []morningai.TaskSpec, then func([]morningai.Receipt, error)) {
	c := op.c
	notes, receipts := make([]morningai.Note, len(specs)), make([]morningai.Receipt, len(specs))
	for i := range specs {
		var shown morningai.Task
		if had := op.found.before(specs[i].ID); had != nil {
			shown = c.acknowledged(had)
		} else {
			shown = *c.known.get(specs[i].ID)
		}
		record, kind := recordOf(&specs[i], shown.CreatedAt), noteTask
		if shown.State.Terminal() {
			record.Task, record.Claim, kind = shown, int64(shown.Attempt), noteOutcome
		}
		var err error
		if notes[i], err = taskNote(kind, &record); err != nil {
			then(nil, err)
			return
		}
		shown.Fresh, shown.Durable, shown.Runs = morningai.FreshStale, string(morningai.DurabilityJournal), morningai.RunsLater
		receipts[i] = morningai.Receipt{Task: shown, Existing: true}
	}
	c.note(notes, func(err error) {
		if err != nil {
			then(nil, err)
			return
		}
		for i := range notes {
			if notes[i].Kind == noteTask {
				c.backlog.doubtful(notes[i].Key)
			}
		}
		c.backlog.again(c)
		then(receipts, nil)
	})
}

var (
	errDeleted  = &morningai.Error{Code: morningai.CodeConflict, Op: "enqueue", Detail: "the task with this id was deleted"}
	errOthersID = &morningai.Error{Code: morningai.CodeConflict, Op: "enqueue", Detail: "another task has this id"}
)

// conflicts reports whether what is known here of an id shows that it belongs to
// another request.
func (op *enqueueOp) conflicts(s *morningai.TaskSpec, had *morningai.Record, ofGrant bool) bool {
	if had != nil && had.Task.Type != "" { // of some outcomes it is not known what the task was
		return had.Deleted || !asksFor(had, s, ofGrant)
	}
	shown := op.c.known.get(s.ID)
	return shown != nil && !sameWork(shown, &morningai.Task{Type: s.Type, Queue: s.Queue, Payload: s.Payload})
}

// asking is a request for an id that is under way.
type asking struct {
	op    *enqueueOp
	later []*enqueueOp // requests for the id that wait for this one
}

// waitsForAnother reports whether another request for one of the ids is under
// way. This one begins when that one is answered: what the two leave in the
// journal is one note.
func (op *enqueueOp) waitsForAnother() bool {
	for i := range op.specs {
		if a := op.c.asked[op.specs[i].ID]; a != nil && a.op != op && !op.inner {
			a.later = append(a.later, op)
			return true
		}
	}
	return false
}

// ask takes ids for this request while it is under way. An id that was made for it
// too: whoever has read it may give it again.
func (op *enqueueOp) ask() {
	for i := range op.specs {
		if s := &op.specs[i]; op.c.asked[s.ID] == nil && !op.inner {
			op.c.asked[s.ID] = &asking{op: op}
		}
	}
}

func (op *enqueueOp) askedNoMore() {
	for i := range op.specs {
		if a := op.c.asked[op.specs[i].ID]; a != nil && a.op == op {
			delete(op.c.asked, op.specs[i].ID)
			for _, next := range a.later {
				op.c.enqueue(next)
			}
		}
	}
}

// asksFor reports whether a spec is the request that led to a record. One that
// was made of a grant does not carry everything.
func asksFor(r *morningai.Record, s *morningai.TaskSpec, ofGrant bool) bool {
	request := r.Spec()
	if ofGrant && r.UniqueKey == "" {
		request.UniqueKey, request.Retention, request.Fingerprint = s.UniqueKey, s.Retention, s.Fingerprint
	}
	return request.SameRequest(s)
}

// before is what the journal says of an earlier request for an id. An outcome whose
// task was never known here says nothing of it.
func (f *found) before(id morningai.ID) *morningai.Record {
	ended := f.ended[id]
	if ended != nil && ended.Task.Type == "" {
		ended = nil
	}
	return first(f.own[id], f.sent[id], ended)
}

func first[T any](list ...*T) *T {
	for _, x := range list {
		if x != nil {
			return x
		}
	}
	return nil
}

// holds reports whether a task certainly holds its unique key still: it has not
// reached the shared engine, or runs here. Any other may have ended elsewhere;
// whether it has turns out when the shared engine is back.
func (c *core) holds(r *morningai.Record) bool {
	if c.backlog.doubt[r.Task.ID] {
		return true
	}
	h := c.held[r.Task.ID]
	return c.away(r.Task.ID) && h != nil && h.decided == "" // else the shared engine knows better
}

// joined gathers the parts of an operation that went different ways.
type joined struct {
	op       *enqueueOp
	receipts []morningai.Receipt
	open     int
	accepted bool
	failed   error
}

// part takes in one part. Once a task is accepted the whole is not an error any
// more; what failed is said in its own receipt.
func (j *joined) part(at []int, some []morningai.Receipt, err error) {
	for k, i := range at {
		if err != nil {
			j.receipts[i].Err = err
		} else {
			j.receipts[i] = some[k]
		}
	}
	if err != nil {
		j.failed = err
	} else if len(at) > 0 {
		j.accepted = true
	}
	if j.open--; j.open > 0 {
		return
	}
	if j.failed != nil && !j.accepted {
		j.op.finish(nil, j.failed)
		return
	}
	j.op.finish(j.receipts, nil)
}

// acknowledged is the receipt of a task that was accepted before.
func (c *core) acknowledged(r *morningai.Record) morningai.Task {
	t := r.Task
	if r.Settled != "" { // to readers it runs until the shared engine has taken its outcome
		t.State, t.Result, t.Error, t.RunAt, t.FinishedAt = morningai.StateRunning, nil, nil, time.Time{}, time.Time{}
		t.Version--
	}
	if had := c.known.get(t.ID); had != nil && !laterThan(&t, had) {
		t = *had
	}
	t.Fresh, t.AsOf = morningai.FreshStale, t.CreatedAt
	t.Durable, t.Runs = string(morningai.DurabilityJournal), morningai.RunsLater
	return t
}

// fromBefore answers with what was known of a task before this request.
func (op *enqueueOp) fromBefore(receipt *morningai.Receipt, s *morningai.TaskSpec) {
	c, f := op.c, op.found
	shown := c.known.get(s.ID)
	switch had := f.before(s.ID); {
	case had != nil && c.known.deleted.has(s.ID, c.now): // meanwhile
		*receipt = morningai.Receipt{Err: errDeleted}
	case had != nil:
		*receipt = morningai.Receipt{Task: c.acknowledged(had), Existing: true}
	case shown != nil:
		*receipt = morningai.Receipt{Task: c.acknowledged(&morningai.Record{Task: *shown}), Existing: true}
	}
}

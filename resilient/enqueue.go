package resilient

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// enqueueOp is one caller's tasks on their way in, all of one durability. Specs
// are normalized and have their ids.
type enqueueOp struct {
	c          *core
	specs      []morningai.TaskSpec
	fresh      []bool // the id was made for this call: nobody can have asked for it before
	inner      bool   // part of another operation: done runs inside the core
	before     bool   // the journal has them from an earlier request, whose acknowledgement holds
	durability morningai.Durability
	done       func([]morningai.Receipt, error)

	at       time.Time // of acceptance
	replied  bool
	over     bool // the budget is used up
	budget   *budget
	noted    result
	shared   result
	receipts []morningai.Receipt // of the shared engine
	gone     []morningai.NoteKey // notes of tasks that were not accepted
	inDoubt  []int               // what the shared engine may have, or not
	found    *found              // what the journal had before; nil if nothing can be there
}

// result is what became of one half of an operation.
type result struct {
	done bool
	err  error
}

func (r result) ok() bool { return r.done && r.err == nil }

func (c *core) enqueue(op *enqueueOp) {
	op.c, op.at = c, c.now.UTC().Truncate(time.Microsecond)
	if op.durability == "" {
		op.durability = c.cfg.durability
	}
	if err := c.refusing(); err != nil {
		c.incidents.refused(len(op.specs))
		op.finish(nil, err)
		return
	}
	if op.waitsForAnother() {
		return
	}
	op.ask()
	if op.mayBeKnown() {
		if op.durability == morningai.DurabilityJournal {
			op.durability = morningai.DurabilityBoth // only the shared engine can tell
		}
		op.lookUp()
		return
	}
	op.begin()
}

// mayBeKnown reports whether the journal may hold one of the tasks, or the
// holder of its unique key. Ids that were made for this call are known to nobody.
func (op *enqueueOp) mayBeKnown() bool {
	for i := range op.specs {
		if !op.fresh[i] || op.specs[i].UniqueKey != "" {
			return true
		}
	}
	return false
}

func (op *enqueueOp) finish(receipts []morningai.Receipt, err error) {
	op.replied = true
	if op.budget != nil {
		op.budget.op = nil
	}
	op.askedNoMore()
	if err == nil {
		for i := range receipts {
			if receipts[i].Err == nil {
				receipts[i].Task = op.c.known.receipt(receipts[i].Task)
			}
		}
	}
	if op.inner {
		op.done(receipts, err)
		return
	}
	op.c.reply(func() { op.done(receipts, err) })
}

func (op *enqueueOp) begin() {
	c := op.c
	if there, gone := op.split(); len(gone) > 0 {
		if len(there) == 0 {
			op.acceptHere()
		} else {
			op.part(there, gone)
		}
		return
	}
	if op.durability != morningai.DurabilityRedis && !op.noted.done {
		op.note(op.specs)
	}
	if op.durability != morningai.DurabilityJournal {
		op.send()
		op.budget = c.budgets.begin(c, op)
	}
}

func (op *enqueueOp) note(specs []morningai.TaskSpec) {
	notes := make([]morningai.Note, len(specs))
	for i := range specs {
		record := recordOf(&specs[i], op.at)
		var err error
		if notes[i], err = taskNote(noteTask, &record); err != nil {
			op.noted = result{true, err}
			return
		}
		op.c.backlog.underWay(specs[i].ID)
		op.c.known.refused.drop(specs[i].ID)
	}
	op.c.note(notes, func(err error) { op.noted = result{true, err}; op.decide() })
}

func (op *enqueueOp) send() {
	c, specs := op.c, op.specs
	call := c.contact.began(c.now)
	c.out = append(c.out, effect{to: toShared, name: "enqueue", limit: c.cfg.limits.call, tasks: specs, then: func(result any, err error) {
		c.noteContact(call, c.contact.ended(call), err)
		receipts, _ := result.([]morningai.Receipt)
		op.sent(receipts, err)
	}})
}

func (op *enqueueOp) sent(receipts []morningai.Receipt, err error) {
	op.shared, op.receipts = result{true, err}, receipts
	if err == nil {
		op.settle()
	} else if outage(err) {
		op.leaveOpen()
	}
	op.decide()
}

// leaveOpen has the tasks sent again later: what became of them is not known.
func (op *enqueueOp) leaveOpen() {
	if op.noted.done || op.durability != morningai.DurabilityRedis {
		for i := range op.specs {
			if id := op.specs[i].ID; !op.c.known.refused.has(id, op.c.now) {
				op.c.backlog.doubtful(id)
			}
		}
		op.c.backlog.again(op.c)
	}
}

// settle takes the shared engine's answers as final, but for those that leave
// open whether it has the task.
func (op *enqueueOp) settle() {
	c := op.c
	for i := range op.specs {
		id, r := op.specs[i].ID, &op.receipts[i]
		if outage(r.Err) {
			op.inDoubt = append(op.inDoubt, i)
			c.backlog.doubtful(id)
			continue
		}
		acked := op.before || c.backlog.doubt[id] || c.backlog.promised[id] // another request for it was answered from the journal
		if r.Err != nil || r.Task.Duplicate {
			if op.replied || acked {
				// Its acknowledgement holds; what becomes of it is settled apart.
				c.backlog.doubtful(id)
				c.backlog.again(c)
				continue
			}
		}
		c.backlog.settled(id)
		if r.Err != nil || r.Task.Duplicate {
			op.gone = append(op.gone, keyOf(noteTask, id))
			c.known.refused.add(id, c.now)
		}
	}
	if len(op.inDoubt) > 0 {
		c.backlog.again(c)
	}
}

// acceptHere takes tasks while the circuit is open: those that can run here
// become the journal's own, the others wait in it.
func (op *enqueueOp) acceptHere() {
	var own, later []int
	for i := range op.specs {
		s := &op.specs[i]
		if op.c.runsType(s.Type) && s.DuringOutage != morningai.OutageHold && (op.fresh[i] || op.c.unheardOf(s.ID)) {
			own = append(own, i)
		} else {
			later = append(later, i)
		}
	}
	j := &joined{op: op, receipts: make([]morningai.Receipt, len(op.specs)), open: 1}
	part := func(at []int) func([]morningai.Receipt, error) {
		j.open++
		return func(some []morningai.Receipt, err error) {
			if err == nil {
				op.c.incidents.accepted(len(some))
			}
			j.part(at, some, err)
		}
	}
	if len(own) > 0 {
		op.own(pick(op.specs, own), part(own))
	}
	if len(later) > 0 {
		op.hold(pick(op.specs, later), part(later))
	}
	j.part(nil, nil, nil)
}

// unheardOf reports whether an id was made so lately that the shared engine
// cannot know it. Any other may name a task that was accepted, and perhaps
// finished, elsewhere: it is not run again here.
func (c *core) unheardOf(id morningai.ID) bool {
	at := id.Time()
	return !c.known.unsure.has(id, c.now) && id[6]>>4 == 7 && at.After(c.openedAt(id)) && at.Before(c.now.Add(time.Minute))
}

func pick[T any](list []T, at []int) []T {
	out := make([]T, len(at))
	for i, k := range at {
		out[i] = list[k]
	}
	return out
}

// own gives tasks to the journal as its own.
func (op *enqueueOp) own(specs []morningai.TaskSpec, then func([]morningai.Receipt, error)) {
	c := op.c
	first := !c.backlog.local // else claims look at the journal in their turn
	c.backlog.local, c.backlog.left = true, true
	c.backlog.owned += int64(len(specs))
	for i := range specs {
		c.disk.written += int64(len(specs[i].Payload))
		c.known.refused.drop(specs[i].ID)
	}
	onJournal(c, "enqueue", func(ctx context.Context) ([]morningai.Receipt, error) { return c.journal.Enqueue(ctx, specs) },
		func(receipts []morningai.Receipt, err error) {
			for i := range receipts {
				t := &receipts[i].Task
				t.Fresh, t.Durable, t.Runs = morningai.FreshLocal, string(morningai.DurabilityJournal), morningai.RunsHere
			}
			if first && c.partly() {
				c.lookHere()
			}
			then(receipts, err)
		})
}

// hold keeps tasks in the journal until the shared engine is back.
func (op *enqueueOp) hold(specs []morningai.TaskSpec, then func([]morningai.Receipt, error)) {
	notes, own, states := make([]morningai.Note, len(specs)), int64(0), make([]morningai.Task, len(specs))
	for i := range specs {
		record := recordOf(&specs[i], op.at)
		op.c.known.refused.drop(specs[i].ID)
		if record.UniqueKey != "" && op.c.hasOthers() && record.Task.State == morningai.StateQueued && op.c.known.get(specs[i].ID) == nil {
			record.Task.State, record.Task.RunAt = morningai.StateScheduled, op.at // see meetingTime
		}
		states[i] = record.Task
		var err error
		kind := noteOwn
		if op.c.known.unsure.has(specs[i].ID, op.c.now) {
			kind = noteTask // the shared engine may have it
			op.c.backlog.doubtful(specs[i].ID)
		} else {
			own++
		}
		if notes[i], err = taskNote(kind, &record); err != nil {
			then(nil, err)
			return
		}
	}
	op.c.note(notes, func(err error) {
		if err != nil {
			then(nil, err)
			return
		}
		op.c.backlog.own += own
		op.c.backlog.again(op.c)
		receipts := op.fromJournal(specs, morningai.RunsLater)
		for i := range receipts {
			if t := &receipts[i].Task; !receipts[i].Existing && receipts[i].Err == nil {
				t.State, t.RunAt = states[i].State, states[i].RunAt
			}
		}
		then(receipts, nil)
	})
}

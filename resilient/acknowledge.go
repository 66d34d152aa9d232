package resilient

import (
	"time"

	"github.com/RC918/morningai"
)

// decide answers as soon as what has happened allows an answer. Nobody is told
// no for a task that may run.
func (op *enqueueOp) decide() {
	if op.replied {
		return
	}
	c := op.c
	late := op.over || op.shared.done && op.shared.err != nil
	switch {
	case op.durability == morningai.DurabilityJournal:
		if op.noted.done {
			op.acknowledgeJournal()
			if op.noted.err == nil {
				op.send()
			}
		}
	case op.shared.ok() && len(op.inDoubt) > 0 && !op.noted.done && op.durability == morningai.DurabilityRedis:
		op.durability = morningai.DurabilityBoth // the journal takes what Redis does not
		op.note(op.specs)
		op.leaveOpen()
	case op.shared.ok():
		if op.durability == morningai.DurabilityRedis || op.noted.done {
			op.acknowledgeShared()
		}
	case op.shared.done && !outage(op.shared.err):
		// Refused, not lost: nothing of it is there.
		for i := range op.specs {
			c.backlog.settled(op.specs[i].ID)
			c.erase(keyOf(noteTask, op.specs[i].ID))
		}
		op.finish(nil, op.shared.err)
	case !late:
	case op.durability == morningai.DurabilityRedis && !op.noted.done:
		op.durability = morningai.DurabilityBoth // the journal takes what Redis does not
		op.note(op.specs)
		if op.shared.done {
			op.leaveOpen()
		}
	case !op.noted.done:
	case op.noted.err == nil:
		op.acknowledgeJournal()
	case op.shared.done:
		op.finish(nil, c.acceptUnknown(op.specs, op.noted.err))
	}
}

func (op *enqueueOp) acknowledgeShared() {
	durable := string(morningai.DurabilityBoth)
	if op.durability == morningai.DurabilityRedis || !op.noted.ok() {
		durable = string(morningai.DurabilityRedis)
	}
	for i := range op.receipts {
		if op.receipts[i].Err != nil {
			continue
		}
		t := &op.receipts[i].Task
		t.Durable, t.Runs = durable, morningai.RunsHere
		if durable == string(morningai.DurabilityRedis) && !op.receipts[i].Existing {
			op.c.backlog.unkept.add(t.ID, op.c.now)
		}
		if t.Duplicate { // the journal of another node may have it
			t.Durable = string(morningai.DurabilityRedis)
		}
	}
	if op.noted.err != nil && morningai.CodeOf(op.noted.err) != morningai.CodeStorageFull {
		op.leftBehind(op.receipts, op.noted.err)
	}
	if len(op.inDoubt) > 0 {
		here := op.fromJournal(op.specs, morningai.RunsLater)
		for _, i := range op.inDoubt {
			if op.noted.err != nil {
				op.receipts[i] = morningai.Receipt{Err: op.c.acceptUnknown(op.specs[i:i+1], op.noted.err)}
				continue
			}
			op.receipts[i] = here[i]
		}
	}
	if len(op.gone) == 0 || !op.noted.done {
		op.finish(op.receipts, nil)
		return
	}
	op.replied = true
	op.c.eraseForGood(op.gone, func(err error) {
		if err != nil {
			op.leftBehind(op.receipts, err)
		}
		op.finish(op.receipts, nil)
	})
}

// leftBehind deals with tasks that the shared engine refuses and the journal may
// have all the same, because its disk did not confirm what it has: it will show
// after a restart.
func (op *enqueueOp) leftBehind(receipts []morningai.Receipt, err error) {
	for i := range receipts {
		if r := &receipts[i]; r.Err != nil && !outage(r.Err) || r.Task.Duplicate {
			*r = morningai.Receipt{Err: op.c.acceptUnknown(op.specs[i:i+1], err)}
		}
	}
}

// acknowledgeJournal answers that the tasks are in the journal. Whether the
// shared engine has them will turn out.
func (op *enqueueOp) acknowledgeJournal() {
	if op.noted.err != nil {
		op.finish(nil, op.noted.err)
		return
	}
	runs := morningai.RunsLater
	if op.durability == morningai.DurabilityJournal && !op.c.away(op.specs[0].ID) {
		runs = morningai.RunsHere
	}
	if runs == morningai.RunsHere {
		for i := range op.specs {
			op.c.backlog.promise(op.specs[i].ID)
		}
	}
	receipts := op.fromJournal(op.specs, runs)
	gone := op.othersSeen(receipts)
	then := func() {
		op.finish(receipts, nil)
		if runs == morningai.RunsLater {
			op.c.incidents.accepted(len(op.specs) - len(gone))
			op.leaveOpen()
		}
	}
	if len(gone) == 0 {
		then()
		return
	}
	op.replied = true
	op.c.eraseForGood(gone, func(err error) {
		if err != nil {
			op.leftBehind(receipts, err)
		}
		then()
	})
}

// othersSeen refuses what belongs to another task: it was shown here while this
// request waited for its answer. It returns the notes that have to go.
func (op *enqueueOp) othersSeen(receipts []morningai.Receipt) (gone []morningai.NoteKey) {
	for i := range op.specs {
		s := &op.specs[i]
		if op.found == nil || op.before || !op.conflicts(s, nil, false) {
			continue
		}
		receipts[i] = morningai.Receipt{Err: errOthersID}
		op.c.backlog.settled(s.ID)
		op.c.known.refused.add(s.ID, op.c.now)
		gone = append(gone, keyOf(noteTask, s.ID))
	}
	return gone
}

func (op *enqueueOp) fromJournal(specs []morningai.TaskSpec, runs string) []morningai.Receipt {
	receipts := make([]morningai.Receipt, len(specs))
	for i := range specs {
		t := recordOf(&specs[i], op.at).Task
		t.Fresh, t.AsOf = morningai.FreshLocal, op.at
		t.Durable, t.Runs = string(morningai.DurabilityJournal), runs
		receipts[i].Task = t
		if op.found != nil {
			op.fromBefore(&receipts[i], &specs[i])
		}
	}
	return receipts
}

// acceptUnknown says that neither engine could say whether it has the tasks.
func (c *core) acceptUnknown(specs []morningai.TaskSpec, cause error) error {
	if morningai.CodeOf(cause) == morningai.CodeStorageFull {
		c.fill(cause)
	}
	e := &morningai.Error{Code: morningai.CodeAcceptUnknown, Op: "enqueue", Detail: "neither the journal nor Redis could confirm the task: it may run",
		Hint: "repeat the request with the same id to learn what became of it", RetryAfter: time.Second, Err: cause}
	if len(specs) == 1 {
		e.TaskID = specs[0].ID
	}
	for i := range specs {
		c.known.unsure.add(specs[i].ID, c.now)
	}
	return e
}

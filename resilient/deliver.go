package resilient

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// backlog is what the shared engine has still to get from this node, and how
// far the delivery has come. Live traffic goes first: one call of the delivery
// is under way at a time.
type backlog struct {
	due        time.Time // when the next pass, or the next call of this one, may begin; zero: none is planned
	busy       bool
	anew       bool // the next call has to be the first of a pass: what it has to do has changed
	first      bool // this pass is the first of this process
	loss       bool // this pass follows a loss of data
	lossAt     time.Time
	comparing  bool // after a loss: which tasks are gone is not known yet
	queuesBack bool // settings that were lost are there again
	// lossGoesOn: what was lost is not all there yet, so that the next one does too
	lossGoesOn bool
	reordering map[morningai.ID]bool // after a loss: tasks about which orders are to be given again once they are there
	began      time.Time             // of this pass
	calmAt     time.Time             // when everything is to be looked at again
	stage      stage
	after      int64 // the stage has dealt with the notes up to this one
	full       bool  // this pass looks at everything, not only at what is known to be undelivered
	calm       bool  // and nothing of it is urgent
	more       bool  // another pass has to follow
	page       int   // how many are sent at once
	fails      int   // calls of this stage that failed in a row

	local    bool                  // the journal may own tasks
	doubt    map[morningai.ID]bool // false while the first call about it is under way
	doubts   []morningai.ID        // in order; some are settled
	promised map[morningai.ID]bool // of doubt: acknowledged by the journal alone before the first call
	ready    int64                 // of doubt, how many are true
	unseen   map[morningai.ID]bool // see absent
	tries    map[morningai.ID]int  // of tasks that were refused in a way that may pass
	own      int64                 // tasks that wait in the journal
	edits    int                   // of them are being changed, and are not delivered meanwhile
	owned    int64                 // tasks that the journal owns
	outcomes int64
	points   int64
	commands int64
	settings int64
	kept     map[morningai.ID]time.Time // delivered outcomes that are still in the journal
	keptIn   []keptOutcome              // in order
	made     uint64
	started  bool // what an earlier process left has been looked at
}

// stage is a step of a pass. What was reached and finished goes first, so that
// nobody begins it again, after settings that nobody may overstep; orders follow the tasks they are about.
type stage uint8

const (
	stageSettings stage = iota
	stageLeases
	stagePoints
	stageAgain
	stageOutcomes
	stageOrdered
	stageReturn // after a loss: before what is newer takes their unique keys
	stageDoubt
	stageReorder // before what was ordered after it
	stageCommands
	stageOwn
	stageWithdraw
	stageVerify
	stageDone

	// What a node reports after a loss before anybody hands out tasks again.
	lastOfReport = stageOrdered
)

const (
	deliverPage = 128
	retryPass   = 100 * time.Millisecond
	calmPace    = 50 * time.Millisecond // between the calls of a pass that is not urgent
	calmEvery   = time.Minute           // between such passes
	// tombstones is for how long the shared engine at least remembers tasks that
	// have ended ([morningai.Engine.Enqueue]).
	tombstones = time.Hour
	// poisonTries is how often a single entry may fail, while the shared engine
	// takes others, before it is set aside.
	poisonTries = 5
)

func (b *backlog) doubtful(id morningai.ID) {
	b.underWay(id)
	if !b.doubt[id] {
		b.ready++
	}
	b.doubt[id] = true
}

// underWay marks a task of which the shared engine is being told.
func (b *backlog) underWay(id morningai.ID) {
	if b.doubt == nil {
		b.doubt = map[morningai.ID]bool{}
	}
	if _, has := b.doubt[id]; !has {
		b.doubt[id] = false
		b.doubts = append(b.doubts, id)
	}
}

// undecided reports whether a task's enqueue is under way and nobody was told of it.
func (b *backlog) undecided(id morningai.ID) bool {
	ready, open := b.doubt[id]
	return open && !ready && !b.promised[id]
}

func (b *backlog) promise(id morningai.ID) {
	if b.promised == nil {
		b.promised = map[morningai.ID]bool{}
	}
	b.promised[id] = true
}

func (b *backlog) forgetSettled() {
	b.doubts = slices.DeleteFunc(b.doubts, func(id morningai.ID) bool {
		_, has := b.doubt[id]
		return !has
	})
}

// oldest returns up to n ids in doubt.
func (b *backlog) oldest(n int) []morningai.ID {
	b.forgetSettled()
	var out []morningai.ID
	for _, id := range b.doubts {
		if len(out) < n && b.doubt[id] {
			out = append(out, id)
		}
	}
	return out
}

func (b *backlog) settled(id morningai.ID) {
	if b.doubt[id] {
		b.ready--
	}
	delete(b.doubt, id)
	delete(b.promised, id)
	if len(b.doubts) > 2*len(b.doubt)+deliverPage {
		b.forgetSettled()
	}
}

// again plans a pass for what has just become undelivered.
func (b *backlog) again(c *core) {
	if b.running() {
		b.more = true
		return
	}
	at := c.now.Add(retryPass)
	if b.calm { // the pass that was planned comes later
		b.full = false
	}
	if b.due.IsZero() || at.Before(b.due) || b.calm {
		b.due, b.calm = at, false
	}
}

// hurry brings the next look at everything forward.
func (b *backlog) hurry(now time.Time) {
	if at := now.Add(lookAtDisk); b.calm && !b.busy && b.due.After(at) {
		b.due, b.calmAt = at, at
	}
}

// leaves plans a pass for a task of the journal that does not run any more.
func (b *backlog) leaves(c *core) {
	b.local = true
	if !c.contact.open() {
		b.again(c)
	}
}

func (b *backlog) running() bool {
	return b.stage != stageDone && (b.busy || b.stage != stageSettings || b.after > 0)
}

func (b *backlog) wake(c *core) time.Time {
	if b.busy || c.closing || c.contact.open() && !c.reporting() {
		return time.Time{}
	}
	return b.due
}

// undelivered counts what only this node has.
func (b *backlog) undelivered() int64 { return b.unknown() + b.commands + b.settings }

// unknown counts what only this node has of tasks. Orders do not count: nodes
// that wait with them for each other's tasks would wait for ever.
// While it is not compared what data were lost, there is one more, of which it is
// not known how many they are.
func (b *backlog) unknown() int64 {
	n := b.ready + b.own + b.owned + b.outcomes + b.points
	if b.comparing {
		n++
	}
	return n
}

// recover begins a pass over everything: the circuit has closed.
func (c *core) recover() {
	b := &c.backlog
	b.due, b.full, b.calm, b.more = c.now, true, false, false
	b.local = true
	b.anew = b.busy
	b.restart(stageSettings)
}

// absent reports that a task was not shown by the shared engine, which has a record
// of it, in two passes. After one it may have arrived between two calls.
func (b *backlog) absent(id morningai.ID) bool {
	if b.unseen[id] {
		delete(b.unseen, id)
		return true
	}
	if b.unseen == nil || len(b.unseen) >= maxRecent {
		b.unseen = map[morningai.ID]bool{}
	}
	b.unseen[id] = true
	return false
}

// beginAnew reports that the call which has ended belonged to a pass of the past.
func (b *backlog) beginAnew(c *core) bool {
	if !b.anew {
		return false
	}
	b.anew, b.busy, b.due = false, false, c.now
	b.restart(stageSettings)
	return true
}

func (b *backlog) restart(s stage) { b.stage, b.after, b.fails = s, 0, 0 }

// deliver makes the next call, if it is time for one.
func (c *core) deliver() {
	b := &c.backlog
	if b.busy || c.closing || c.contact.open() && !c.reporting() || b.due.IsZero() || b.due.After(c.now) {
		return
	}
	if !b.started {
		b.started, b.full, b.local = true, true, true
		b.first = true
		c.writeMirror()
	}
	if !c.met && c.cfg.marks != nil {
		b.due = c.now.Add(retryPass) // first it has to be known whether this journal is what it was
		return
	}
	if b.stage == stageDone {
		b.restart(stageSettings)
	}
	if b.page == 0 {
		b.page = deliverPage
	}
	if b.stage == stageSettings && b.after == 0 {
		b.began = c.now
	}
	b.busy = true
	switch b.stage {
	case stageLeases:
		c.restoreLeases()
	case stagePoints:
		c.readNotes(notePoint, c.deliverPoints)
	case stageAgain:
		c.readNotes(noteAgain, c.deliverAgain)
	case stageOutcomes:
		if c.rebuild == nil {
			b.after = max(b.after, c.mirror.Told)
		}
		c.readNotes(noteOutcome, c.deliverOutcomes)
	case stageOrdered:
		c.restoreOrdered()
	case stageReorder:
		c.reorder()
	case stageDoubt:
		c.readDoubt()
	case stageCommands:
		c.readNotes(noteCommand, c.deliverCommands)
	case stageSettings:
		if (b.loss || b.first) && !b.queuesBack { // what is changed now is a change of what was there
			c.restoreQueues()
			return
		}
		c.readNotes(noteQueue, c.deliverSettings)
	case stageOwn:
		if b.edits > 0 {
			b.busy, b.due = false, c.now.Add(retryPass)
			return
		}
		c.readNotes(noteOwn, c.deliverOwn)
	case stageWithdraw:
		c.withdraw()
	case stageReturn, stageVerify:
		c.verify()
	}
}

// next goes on with the stage, or with the one after it.
func (c *core) next(ended bool) {
	b := &c.backlog
	if b.beginAnew(c) {
		return
	}
	b.busy, b.fails = false, 0
	b.page = min(max(b.page*2, 1), deliverPage)
	b.due = c.now
	if b.calm {
		b.due = c.now.Add(calmPace)
	}
	if !ended {
		return
	}
	if b.stage == stageVerify && b.full && c.rebuild == nil {
		b.comparing = false
	}
	b.restart(b.stage + 1)
	if b.first && b.stage > lastOfReport {
		b.first = false
		c.resumeClaims()
	}
	if c.rebuild != nil && b.stage > lastOfReport {
		c.hasReported()
		return
	}
	if b.stage == stageDone {
		c.endPass()
	}
}

func (c *core) endPass() {
	b := &c.backlog
	if b.full || b.loss {
		b.loss = b.lossGoesOn
		if !b.loss {
			b.reordering = nil
			c.mirror.Lost = false
		}
		if b.lossGoesOn {
			c.after(retryOrder, func() { b.again(c) })
		}
		b.lossGoesOn = false
	}
	if b.full {
		b.full, b.calmAt = false, c.now.Add(calmEvery)
		c.mirror.Verified = b.began.UTC()
		c.mirror.Older = c.mirror.Older && b.more
		c.writeMirror()
	}
	if b.more {
		b.more, b.calm = false, false
		b.due = c.now.Add(retryPass)
		return
	}
	b.full, b.calm, b.due = true, true, b.calmAt
	c.settleIncident()
}

// failed stops the pass for a moment; one after an outage begins anew.
func (c *core) failedDelivery(err error, page int) {
	b := &c.backlog
	if b.beginAnew(c) {
		return
	}
	b.busy = false
	b.fails++
	b.page = max(page/2, 1)
	b.due = c.now.Add(retryPass)
	if errors.Is(err, morningai.ErrClosed) {
		b.due = time.Time{}
	}
}

// readNotes gives the next page of a kind to send.
func (c *core) readNotes(kind morningai.NoteKind, send func([]morningai.Note)) {
	after, limit := c.backlog.after, c.backlog.page
	onJournal(c, "notes", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Notes(ctx, kind, after, limit) },
		func(notes []morningai.Note, err error) {
			switch {
			case err != nil:
				c.failedDelivery(err, c.backlog.page)
			case len(notes) == 0:
				c.next(true)
			default:
				send(notes)
			}
		})
}

// passed marks notes as dealt with.
func (c *core) passed(notes []morningai.Note) {
	c.backlog.after = notes[len(notes)-1].Seq
	c.next(false)
}

// poison reports whether a page that failed is one entry which fails again and
// again although the shared engine is well.
func (c *core) poison(n int, err error) bool {
	return n == 1 && (!outage(err) || c.backlog.fails >= poisonTries)
}

func keysOf(notes []morningai.Note) []morningai.NoteKey {
	keys := make([]morningai.NoteKey, len(notes))
	for i := range notes {
		keys[i] = notes[i].NoteKey
	}
	return keys
}

// setAside takes a task out of the delivery that the shared engine refuses for
// good. It stays in the journal, for people.
func (c *core) setAside(r *morningai.Record, why error) {
	cause, hint := reason(why)
	note, err := jsonNote(keyOf(noteAside, r.Task.ID), r.UniqueKey, &aside{Record: packed(r), Code: string(morningai.CodeOf(why)), Reason: cause, At: c.now.UTC()})
	if err != nil {
		c.log(slog.LevelError, "a task that Redis refuses cannot be set aside", "task_id", r.Task.ID, "trace_id", r.Task.TraceID, "error", err)
		return
	}
	c.hasSetAside(r.Task.ID)
	c.backlog.settled(r.Task.ID)
	delete(c.backlog.tries, r.Task.ID)
	c.log(slog.LevelError, "Redis refuses a task for good, it is set aside in the journal", "task_id", r.Task.ID, "trace_id", r.Task.TraceID, "type", r.Task.Type, "cause", cause, "hint", hint)
	c.note([]morningai.Note{note}, func(err error) {
		if err == nil {
			c.erase(keyOf(noteTask, r.Task.ID), keyOf(noteOwn, r.Task.ID), keyOf(noteOutcome, r.Task.ID))
		}
	})
}

// aside is the note of a task that was set aside.
type aside struct {
	Record []byte    `json:"record"`
	Code   string    `json:"code"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

func packed(r *morningai.Record) []byte {
	data, err := r.AppendBinary(nil)
	if err != nil {
		return nil // it came from the journal in this form, or passed Normalize
	}
	return data
}

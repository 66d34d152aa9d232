package resilient

import (
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
	left     bool                  // one has ended there since it was asked which may leave
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
	unkept   unkept
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

// oldest returns up to n ids in doubt, but for those that have to wait.
func (b *backlog) oldest(n int, wait func(morningai.ID) bool) []morningai.ID {
	b.forgetSettled()
	var out []morningai.ID
	for _, id := range b.doubts {
		if len(out) < n && b.doubt[id] && !wait(id) {
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
	b.local, b.left = true, true
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

package sqlite

import (
	"time"

	"github.com/RC918/morningai"
)

// runState is what is known of a running task beyond its row.
type runState struct {
	claim, lease, attempt, version, started int64
	grace                                   int64 // of a remote session: microseconds that its claims outlive this process by
	node                                    string
	cancel                                  bool
}

// entry is a running task. Engine.mu guards it; only the writer changes row
// and run, after the commit that made the change durable.
type entry struct {
	row      *row
	run      runState
	sess     *session // nil: imported, or its session is gone
	replySeq int64
	at       time.Time  // of the claim
	marked   bool       // leases has a row
	list     *claimList // the row of claims that has it; the writer's
	gone     bool
	giveUp   time.Time // when a task without a session goes back
}

// item is a task as the transaction sees it.
type item struct {
	row     *row
	orig    *row   // as committed before; nil for a new task
	entry   *entry // set if it ran when the transaction began
	running bool
	run     runState // while running
	private bool     // row is a copy of our own
	dirty   bool     // row has to be written
	gone    bool     // the row is to be deleted
	mark    bool     // leases needs a row
	// replaced: the whole row is new, not only what changes as a task runs.
	replaced bool
	// moved: gone, and deleted already; another item may have its id. Memory
	// may know it as running until the commit, so it stays in byID.
	moved bool
	// installed: it runs according to an import or an earlier process, without a
	// session.
	installed bool
}

// edit returns the row to change.
func (it *item) edit() *row {
	if !it.private {
		c := *it.row
		it.row, it.private = &c, true
	}
	it.dirty = true
	return it.row
}

// txn gathers what one transaction changes. Memory follows the table only in
// publish, after the commit.
type txn struct {
	e        *Engine
	now      time.Time
	nowUS    int64
	bySeq    map[int64]*item
	byID     map[morningai.ID]*item
	order    []*item
	found    []*entry
	late     []*entry // run for long, get a row in leases
	listed   []*entry // get into the row of claims
	looked   int      // unlisted claims seen
	list     *claimList
	unlisted map[*claimList]int // claims taken off
	room     []item             // used items, and room for more
	used     int
	held     []*row // taken out of the ready order while they are worked on
	events   []event
	deltas   map[countKey]int64
	expiries map[int64][]int64
	lines    []*line
	nodes    []*node
	configs  []morningai.QueueConfig
	cancels  []*entry
	traffic  [trafficKinds]int64
	notes    map[morningai.NoteKey]*noteItem
	// noteOrder is the notes in the order in which they came up.
	noteOrder  []*noteItem
	kinds      map[morningai.NoteKind]*noteKind
	erased     []morningai.NoteKey
	erasedTurn int64
	after      []func(*Engine) error // run by the writer once the commit is made
	checked    bool                  // isFull is known
	isFull     bool
	markAll    bool // note every running task, at Close
}

// find returns the task to work on, nil if it is not stored. A queued task is
// held back from claims until the transaction ends.
func (t *txn) find(id morningai.ID) (*item, error) {
	if it := t.byID[id]; it != nil {
		if it.moved {
			return nil, nil
		}
		return it, nil
	}
	t.e.mu.Lock()
	en := t.e.byID[id]
	t.e.mu.Unlock()
	if en != nil {
		return t.trackRunning(en), nil
	}
	r, err := t.e.rowByID(t.e.sql.byID, id)
	if err != nil || r == nil {
		return nil, err
	}
	return t.adopt(r), nil
}

// gather finds the running tasks of many reports at once: claims need the lock
// too, and hold it for longer than a single look takes.
func (t *txn) gather(reports []morningai.Report) {
	if len(reports) < 2 {
		return
	}
	t.found = t.found[:0]
	t.e.mu.Lock()
	for i := range reports {
		if en := t.e.byID[reports[i].Lease.ID]; en != nil {
			t.found = append(t.found, en)
		}
	}
	t.e.mu.Unlock()
	for _, en := range t.found {
		if t.byID[en.row.id] == nil {
			t.trackRunning(en)
		}
	}
}

// trackRunning takes up a running task. Only the writer changes and ends it, so
// the entry stays valid.
func (t *txn) trackRunning(en *entry) *item {
	it := t.newItem()
	it.row, it.orig, it.entry, it.running, it.run = en.row, en.row, en, true, en.run
	t.track(it)
	return it
}

func (t *txn) findSeq(seq int64) (*item, error) {
	if it := t.bySeq[seq]; it != nil {
		return it, nil
	}
	r, err := t.e.rowBySeq(t.e.sql.bySeq, seq)
	if err != nil || r == nil {
		return nil, err
	}
	return t.adopt(r), nil
}

func (t *txn) adopt(r *row) *item {
	it := t.newItem()
	it.row, it.orig = r, r
	t.e.mu.Lock()
	if en := t.e.running[r.seq]; en != nil {
		it.row, it.orig, it.entry, it.running, it.run = en.row, en.row, en, true, en.run
	} else if r.status == stQueued {
		t.e.runFor(r.line, r.priority).remove(r.seq)
		t.e.cache.take(r.seq)
		t.e.readyTurn++
		t.held = append(t.held, r)
	}
	t.e.mu.Unlock()
	t.track(it)
	return it
}

func (t *txn) track(it *item) {
	if it.orig == nil {
		t.e.recent.add(it.row.id)
	}
	t.bySeq[it.row.seq] = it
	t.byID[it.row.id] = it
	t.order = append(t.order, it)
}

// create starts a new row, which is the newest. Sequence numbers are the
// microseconds at which tasks were accepted, each once, so that the order
// survives a move to another file in any order of import.
func (t *txn) create(r *row) *item {
	r.seq = max(t.nowUS, t.e.lastSeq+1)
	t.e.lastSeq = r.seq
	r.created = t.nowUS
	if r.seq-t.nowUS < time.Second.Microseconds() {
		r.created = r.seq
	}
	// Not private: the row stays what the producer gets back.
	it := t.newItem()
	it.row, it.dirty = r, true
	t.track(it)
	return it
}

// place starts a row accepted elsewhere, at its time or just after it.
func (t *txn) place(r *row) (*item, error) {
	for r.seq = max(r.created, 1); ; r.seq++ {
		if t.bySeq[r.seq] != nil {
			continue
		}
		t.e.sql.hasSeq.int(1, r.seq)
		_, taken, err := first(t.e.sql.hasSeq)
		if err != nil {
			return nil, err
		}
		if !taken {
			t.e.lastSeq = max(t.e.lastSeq, r.seq)
			return t.add(r), nil
		}
	}
}

func (t *txn) add(r *row) *item {
	it := t.newItem()
	it.row, it.private, it.dirty = r, true, true
	t.track(it)
	return it
}

// peek returns the task without holding it.
func (t *txn) peek(id morningai.ID) (r *row, run *runState, err error) {
	if t.e.recent.isNew(id) {
		return nil, nil, nil
	}
	if it := t.byID[id]; it != nil {
		if it.moved {
			return nil, nil, nil
		}
		return it.row, it.live(), nil
	}
	t.e.mu.Lock()
	if en := t.e.byID[id]; en != nil {
		run := en.run
		r = en.row
		t.e.mu.Unlock()
		return r, &run, nil
	}
	t.e.mu.Unlock()
	r, err = t.e.rowByID(t.e.sql.byID, id)
	if err != nil || r == nil || r.status != stQueued {
		return r, nil, err
	}
	return r, t.e.runOf(r.seq), nil
}

// runOf returns a copy of the task's running state, nil if it does not run.
func (e *Engine) runOf(seq int64) *runState {
	e.mu.Lock()
	defer e.mu.Unlock()
	if en := e.running[seq]; en != nil {
		run := en.run
		return &run
	}
	return nil
}

func (it *item) live() *runState {
	if !it.running {
		return nil
	}
	run := it.run
	return &run
}

// view is the task that readers get: the row, and over it what only memory
// knows of a running one. A row that knows the claim is newer than the memory.
func (e *Engine) view(r *row, run *runState, now time.Time) morningai.Task {
	task := r.task(e.era, now)
	if run == nil || r.claim >= run.claim {
		return task
	}
	task.State, task.RunAt = morningai.StateRunning, time.Time{}
	task.Attempt = int(run.attempt)
	task.StartedAt = timeOf(run.started)
	task.Version = max(run.version, r.version)
	task.CancelRequested = run.cancel
	return task
}

func (t *txn) task(it *item) morningai.Task { return t.e.view(it.row, it.live(), t.now) }

// version is what readers have seen last.
func (t *txn) version(it *item) int64 {
	if it.running {
		return max(it.run.version, it.row.version)
	}
	return it.row.shownVersion(t.e.era)
}

// touch gives the task its next version.
func (t *txn) touch(it *item) { t.raise(it, t.version(it)+1) }

func (t *txn) raise(it *item, v int64) {
	r := it.edit()
	r.version, r.era = v, t.e.era
	if it.running {
		it.run.version = v
	}
}

func (t *txn) event(kind morningai.EventKind, it *item) {
	ev := event{kind: kind, id: it.row.id, line: it.row.line, state: it.row.status.state(), attempt: it.row.attempt, version: t.version(it), at: t.nowUS}
	if it.running {
		ev.state, ev.attempt = morningai.StateRunning, it.run.attempt
	}
	t.events = append(t.events, ev)
}

// keepAttempt moves what the row says of its last attempt to the table of
// earlier ones, before the row describes something else.
func (t *txn) keepAttempt(it *item) error {
	r := it.row
	if r.flags&flagLast == 0 {
		return nil
	}
	a := lastAttempt(r)
	if err := t.e.putAttempt(r.seq, a); err != nil {
		return err
	}
	r = it.edit()
	r.flags = r.flags&^flagLast | flagAttempts
	return nil
}

// lastAttempt reads the last attempt out of the row.
func lastAttempt(r *row) morningai.Attempt {
	a := morningai.Attempt{Number: int(r.attempt), Life: r.life, Node: r.nodeName(), StartedAt: timeOf(r.started),
		FinishedAt: timeOf(r.finished), Outcome: outcomes[r.settled], Stack: r.stack}
	switch a.Outcome {
	case morningai.OutcomeRetry, morningai.OutcomeFailed, morningai.OutcomeCanceled:
		a.Error = r.taskError()
	}
	return a
}

func (e *Engine) putAttempt(seq int64, a morningai.Attempt) error {
	text, err := errorText(a.Error)
	if err != nil {
		return err
	}
	outcome, _ := outcomeNumber(a.Outcome)
	s := e.sql.attemptPut
	s.int(1, seq)
	s.int(2, int64(a.Number))
	s.int(3, a.Life)
	s.text(4, a.Node)
	s.intOrNull(5, micros(a.StartedAt))
	s.intOrNull(6, micros(a.FinishedAt))
	s.int(7, int64(outcome))
	s.text(8, text)
	s.text(9, a.Stack)
	return s.exec()
}

// abandon takes back what the transaction has held, after a rollback.
func (t *txn) abandon() {
	t.e.mu.Lock()
	t.e.readyTurn++
	for _, r := range t.held {
		t.e.makeReady(r)
	}
	t.e.waiters.wake(t.e, len(t.held))
	t.e.mu.Unlock()
}

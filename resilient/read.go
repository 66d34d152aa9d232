package resilient

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// found is what the journal says of tasks.
type found struct {
	owned   map[morningai.ID]*morningai.Task   // the journal's own
	own     map[morningai.ID]*morningai.Record // waiting here, unknown to the shared engine
	leaving map[morningai.ID]bool              // of sent: the shared engine is being told for the first time
	sent    map[morningai.ID]*morningai.Record // as they left
	ended   map[morningai.ID]*morningai.Record // with an outcome from here
	aside   map[morningai.ID]*aside
	holders map[string]*morningai.Record // by unique key
}

// holdsAny reports whether the journal may know something of a task that the
// shared engine does not.
func (c *core) holdsAny() bool {
	b := &c.backlog
	return c.contact.open() || !b.started || b.full && !b.calm || b.local || b.undelivered() > 0
}

// lookUp reads what the journal has of tasks, and who holds unique keys.
func (c *core) lookUp(ids []morningai.ID, uniqueKeys []string, then func(found, error)) {
	onJournal(c, "look up", func(ctx context.Context) (found, error) {
		f := found{leaving: map[morningai.ID]bool{}, owned: map[morningai.ID]*morningai.Task{}, own: map[morningai.ID]*morningai.Record{}, sent: map[morningai.ID]*morningai.Record{},
			ended: map[morningai.ID]*morningai.Record{}, aside: map[morningai.ID]*aside{}, holders: map[string]*morningai.Record{}}
		return f, f.read(ctx, c.journal, ids, uniqueKeys)
	}, func(f found, err error) {
		for _, id := range ids {
			if c.notAccepted(id) {
				delete(f.sent, id)
			}
		}
		maps.DeleteFunc(f.holders, func(_ string, r *morningai.Record) bool { return c.notAccepted(r.Task.ID) })
		then(f, err)
	})
}

// notAccepted reports that a note of a task says nothing: whether it is accepted is
// not decided, or it was refused and its note is about to go.
func (c *core) notAccepted(id morningai.ID) bool {
	return c.backlog.undecided(id) || c.known.refused.has(id, c.now)
}

func (f *found) read(ctx context.Context, journal morningai.Journal, ids []morningai.ID, uniqueKeys []string) error {
	// Notes are read after the tasks: a withdrawal turns the one into the other.
	tasks, err := journal.Get(ctx, morningai.GetRequest{IDs: ids, Lingering: true})
	if err != nil {
		return err
	}
	for i := range tasks {
		if !tasks[i].ID.IsZero() {
			f.owned[tasks[i].ID] = &tasks[i]
		}
	}
	kinds := []morningai.NoteKind{noteOwn, noteTask, noteOutcome, noteAside}
	keys := make([]morningai.NoteKey, 0, len(kinds)*len(ids))
	for _, kind := range kinds {
		for _, id := range ids {
			keys = append(keys, keyOf(kind, id))
		}
	}
	notes, err := journal.Noted(ctx, keys)
	if err != nil {
		return err
	}
	for _, key := range uniqueKeys {
		for _, kind := range []morningai.NoteKind{noteOwn, noteTask} {
			n, err := journal.NotedAs(ctx, kind, key)
			if err != nil {
				return err
			}
			notes = append(notes, n)
		}
	}
	for i := range notes {
		if err := f.take(&notes[i]); err != nil {
			return err
		}
	}
	maps.DeleteFunc(f.own, func(id morningai.ID, own *morningai.Record) bool {
		sent := f.sent[id] // the shared engine is being told, and may have it
		f.leaving[id] = sent != nil && !sent.Deleted && !own.Deleted
		return f.leaving[id]
	})
	return nil
}

func (f *found) take(n *morningai.Note) error {
	if n.Seq == 0 {
		return nil
	}
	if n.Kind == noteAside {
		var a aside
		if err := json.Unmarshal(n.Data, &a); err != nil {
			return err
		}
		f.aside[n.Key] = &a
		return nil
	}
	r, err := morningai.ParseRecord(n.Data)
	if err != nil {
		return err
	}
	switch n.Kind {
	case noteOwn:
		f.own[n.Key] = &r
	case noteTask:
		f.sent[n.Key] = &r
	case noteOutcome:
		f.ended[n.Key] = &r
	}
	if r.UniqueKey != "" && !r.Deleted && !r.Task.State.Terminal() && f.holders[r.UniqueKey] == nil {
		f.holders[r.UniqueKey] = &r
	}
	return nil
}

// getOp reads tasks. What the journal owns is read there; the rest from the
// shared engine, or as it was last known; and what nobody here knows may be
// known to the node that accepted it.
type getOp struct {
	c      *core
	req    morningai.GetRequest
	here   bool
	done   func([]morningai.Task, error)
	inner  func(elsewhere map[morningai.ID]bool, doubt bool) // instead of done, inside the core
	found  *found
	tasks  []morningai.Task
	shared []morningai.Task // as the shared engine knows them; nil if it was not asked
	cause  error
	gone   map[morningai.ID]bool // known to be deleted
	lacked map[morningai.ID]bool // what the shared engine may not have had when it was asked
	asked  int
	met    bool // who else is there was asked,
	// and introduced: it was answered
	introduced bool
	unmet      bool // or not
	others     bool // other nodes were asked
	again      bool // the shared engine was asked after them once more
	doubt      bool // a node that may know a missing one could not be asked
}

func (c *core) get(op *getOp) {
	op.c, op.tasks, op.gone = c, make([]morningai.Task, len(op.req.IDs)), map[morningai.ID]bool{}
	op.lacked = map[morningai.ID]bool{}
	if c.contact.open() {
		for _, id := range op.req.IDs { // whatever others remember of it
			op.gone[id] = c.known.deleted.has(id, c.now)
		}
	}
	if !op.here && !c.holdsAny() {
		op.fromShared()
		return
	}
	op.look(op.fromShared)
}

func (op *getOp) finish(err error) {
	if err != nil {
		op.c.reply(func() { op.done(nil, err) })
		return
	}
	for i := range op.tasks {
		if !op.tasks[i].ID.IsZero() {
			op.tasks[i] = op.c.waiting(op.c.known.show(op.tasks[i]), op.found)
		}
	}
	op.c.reply(func() { op.done(op.tasks, nil) })
}

// waiting marks a task that cannot run before the shared engine is back.
func (c *core) waiting(t morningai.Task, f *found) morningai.Task {
	t.Runs = ""
	elsewhere := f == nil || f.owned[t.ID] == nil
	if c.contact.open() && elsewhere && (t.State == morningai.StateQueued || t.State == morningai.StateScheduled) {
		t.Runs = morningai.RunsLater
	}
	return t
}

func (op *getOp) look(then func()) {
	op.c.lookUp(op.req.IDs, nil, func(f found, err error) {
		if err != nil {
			op.finish(err)
			return
		}
		op.found = &f
		for _, id := range op.req.IDs { // the shared engine may be told while it is asked
			op.lacked[id] = op.lacked[id] || op.c.mayLack(id)
		}
		then()
	})
}

func (op *getOp) fromShared() {
	c := op.c
	if c.contact.open() || op.here {
		op.merge()
		return
	}
	req := op.req
	for _, id := range req.IDs {
		op.lacked[id] = op.lacked[id] || c.mayLack(id)
	}
	onShared(c, "get", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Task, error) { return c.remote.Get(ctx, req) },
		func(tasks []morningai.Task, err error) {
			if err != nil && !outage(err) {
				op.finish(err)
				return
			}
			if err == nil && c.rebuild != nil { // what it does not know may be lost
				err, tasks = errDataLost, nil
			}
			op.cause, op.shared = err, tasks
			op.merge()
		})
}

// merge puts together what both engines say.
func (op *getOp) merge() {
	missing, shared := false, op.shared
	for i := range op.req.IDs {
		if shared != nil && !shared[i].ID.IsZero() {
			op.tasks[i] = shared[i]
			if op.found == nil || !op.found.here(shared[i].ID) { // else it may not be all there yet
				op.c.known.yield(&shared[i])
			}
		}
		if op.found != nil && !op.gone[op.req.IDs[i]] {
			op.fromJournal(i)
		}
		missing = missing || op.tasks[i].ID.IsZero() && !op.gone[op.req.IDs[i]]
	}
	switch {
	case !missing:
		op.finish(nil)
	case op.found == nil:
		op.look(op.merge) // the shared engine may have lost it
	case op.here:
		op.answer()
	default:
		op.ask(shared != nil)
	}
}

// here reports that the journal has a task which the shared engine is still to get: it
// gets a task that has run in two calls.
func (f *found) here(id morningai.ID) bool {
	return f.owned[id] != nil || f.own[id] != nil || f.leaving[id]
}

// mayLack reports whether the shared engine, which does not know a task, may
// not know it yet or not any more, although this node has it.
func (c *core) mayLack(id morningai.ID) bool {
	if c.known.refused.has(id, c.now) || c.known.deleted.has(id, c.now) {
		return false
	}
	b := &c.backlog
	_, doubt := b.doubt[id]
	h := c.held[id]
	return doubt || !b.started || b.full && !b.calm || h != nil && h.decided != ""
}

func (op *getOp) fromJournal(i int) {
	c, id, f := op.c, op.req.IDs[i], op.found
	there := !op.tasks[i].ID.IsZero()
	switch {
	case f.owned[id] != nil && (!there || laterThan(f.owned[id], &op.tasks[i])):
		op.tasks[i] = *f.owned[id]
		op.tasks[i].Fresh = morningai.FreshLocal
		return
	case there:
		return
	case c.known.deleted.has(id, c.now):
		op.gone[id] = true // since the journal was read
	case f.own[id] != nil:
		if f.own[id].Deleted {
			op.gone[id] = true
			return
		}
		op.tasks[i] = f.own[id].Task
		op.tasks[i].Fresh = morningai.FreshLocal
	case f.aside[id] != nil && f.aside[id].Code == string(morningai.CodeConflict) && (op.here || len(op.shared) > 0):
		// The id belongs to another task, or to one that was deleted.
		op.gone[id] = true
	case f.aside[id] != nil:
		if r, err := morningai.ParseRecord(f.aside[id].Record); err == nil {
			op.tasks[i] = r.Task
			op.tasks[i].Error = &morningai.TaskError{Code: "set_aside", Message: f.aside[id].Reason}
			op.tasks[i].Fresh = morningai.FreshLocal
		}
	case (len(op.shared) > 0 || op.here && !c.contact.open()) && (!op.lacked[id] && !f.leaving[id] || c.known.refused.has(id, c.now)):
		return // the shared engine has had it, and is asked by whoever asks here
	case (f.sent[id] != nil || f.ended[id] != nil) && !c.met && c.known.get(id) == nil:
		op.doubt = true // an earlier process of this node may have shown a later state
	default:
		t := c.lastState(id, f)
		if t == nil && f.ended[id] != nil {
			op.doubt = true // an earlier process has finished it, and may have shown its end
		}
		if t == nil || op.here && f.sent[id] == nil && f.ended[id] == nil && c.held[id] == nil {
			return
		}
		op.tasks[i] = *t
		op.tasks[i].Fresh = morningai.FreshStale
		if _, doubt := c.backlog.doubt[id]; doubt && f.sent[id] != nil && (c.known.get(id) == nil || c.known.get(id).Fresh == morningai.FreshLocal) {
			op.tasks[i].Fresh = morningai.FreshLocal // perhaps nobody else has it
		}
	}
	if op.tasks[i].AsOf.IsZero() {
		op.tasks[i].AsOf = op.tasks[i].CreatedAt
	}
}

// ask asks the nodes that may know what is missing. Without an answer from all
// of them the truth is that it cannot be known.
func (op *getOp) ask(live bool) {
	c := op.c
	if !op.met && slices.ContainsFunc(op.req.IDs, c.mayHaveComeSince) {
		op.met = true
		if c.meet(func(err error) { op.introduced, op.unmet = err == nil, err != nil; op.ask(live) }) {
			return
		}
	}
	for i, id := range op.req.IDs {
		if !op.tasks[i].ID.IsZero() || op.gone[id] {
			continue
		}
		op.doubt = op.doubt || !op.introduced && (op.unmet || c.hasOthers()) && c.mayHaveComeSince(id) || c.strangersRecover(id)
		for k := range c.members {
			m := (*member)(&c.members[k])
			switch {
			case m.Journal == c.cfg.member || live && m.cleared(id):
			case m.URL == "" || c.cfg.ask == nil:
				op.doubt = true
			default:
				op.asked++
				op.others = true
				op.askMember(i, m)
			}
		}
	}
	op.doubt = op.doubt || !live || !c.acquainted()
	op.answer()
}

func (op *getOp) askMember(i int, m *member) {
	c, id, url := op.c, op.req.IDs[i], m.URL
	ask := c.cfg.ask
	c.out = append(c.out, effect{to: toPeer, name: "ask", limit: askLimit,
		run: func(ctx context.Context) (any, error) { return ask(ctx, url, id) },
		then: func(result any, err error) {
			t, _ := result.(morningai.Task)
			switch {
			case err == nil && t.Fresh == morningai.FreshStale && op.shared != nil:
				// The shared engine has said that it is gone; or it has been given it
				// since it was asked.
				op.doubt = true
			case err == nil && !t.ID.IsZero() && (op.tasks[i].ID.IsZero() || laterThan(&t, &op.tasks[i])):
				op.tasks[i] = t
			case err != nil && morningai.CodeOf(err) != morningai.CodeNotFound:
				op.doubt = true
			}
			op.asked--
			op.answer()
		}})
}

func (op *getOp) answer() {
	if op.asked > 0 {
		return
	}
	if op.others && !op.again && op.shared != nil && !op.doubt && op.lacks() {
		op.again = true
		op.lookAgain()
		return
	}
	if op.inner != nil {
		elsewhere := map[morningai.ID]bool{}
		for i := range op.tasks {
			if t := &op.tasks[i]; !t.ID.IsZero() && !op.c.known.deleted.has(t.ID, op.c.now) {
				op.c.known.see(t)
				elsewhere[t.ID] = true
			}
		}
		op.inner(elsewhere, op.doubt)
		return
	}
	for i, id := range op.req.IDs {
		if !op.tasks[i].ID.IsZero() || op.gone[id] || !op.doubt {
			continue
		}
		had := op.c.known.get(id)
		if had == nil || op.here { // whoever asks here has seen it, or not
			op.finish(op.c.statusUnknown("get", op.cause))
			return
		}
		op.tasks[i] = *had
		op.tasks[i].Fresh = morningai.FreshStale
	}
	op.finish(nil)
}

// lookAgain asks the shared engine once more for what nobody has: it may have been
// given it by a node that was asked after it.
func (op *getOp) lookAgain() {
	c, req := op.c, op.req
	onShared(c, "get", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Task, error) { return c.remote.Get(ctx, req) },
		func(tasks []morningai.Task, err error) {
			op.doubt = op.doubt || err != nil
			for i := range tasks {
				if op.tasks[i].ID.IsZero() {
					op.tasks[i] = tasks[i]
				}
			}
			op.answer()
		})
}

func (op *getOp) lacks() bool {
	for i := range op.tasks {
		if op.tasks[i].ID.IsZero() && !op.gone[op.req.IDs[i]] {
			return true
		}
	}
	return false
}

// askFor asks other nodes for tasks; what they know is then last known.
func (c *core) askFor(ids []morningai.ID, then func(elsewhere map[morningai.ID]bool, doubt bool)) {
	op := &getOp{c: c, req: morningai.GetRequest{IDs: ids}, tasks: make([]morningai.Task, len(ids)), gone: map[morningai.ID]bool{}, inner: then}
	if !c.contact.open() {
		op.shared = make([]morningai.Task, len(ids)) // it knows none of them
	}
	op.ask(!c.contact.open())
}

const (
	askLimit = 500 * time.Millisecond
	// clearMargin covers the difference between the clocks of a client that
	// made an id and of the node that took it.
	clearMargin = 2 * time.Second
)

// acquainted reports whether this node knows its fleet as it is now.
func (c *core) acquainted() bool {
	return len(c.sessions) == 0 || c.now.Sub(c.membersAt) <= acquaintance
}

// mayHaveComeSince reports whether a node that came after the members were
// learned can have accepted a task.
func (c *core) mayHaveComeSince(id morningai.ID) bool {
	return len(c.sessions) > 0 && id[6]>>4 == 7 && id.Time().After(c.membersAt.Add(-clearMargin)) && id.Time().Before(c.now.Add(clearMargin))
}

// strangersRecover reports whether a node that this one has never heard of can
// have accepted a task, and has still to say that it is there: it was started
// while the shared engine was away.
func (c *core) strangersRecover(id morningai.ID) bool {
	d := &c.contact
	return !d.closed.IsZero() && c.now.Sub(d.closed) < strangers && id[6]>>4 == 7 &&
		id.Time().After(d.apart.Add(-clearMargin)) && id.Time().Before(d.closed.Add(strangers))
}

// strangers is by when after an outage every node has made itself known.
const strangers = 3 * time.Second

// acquaintance is more than the time between two beats.
const acquaintance = 1500 * time.Millisecond

type member morningai.Member

// cleared reports whether a node has said, later than the task can have been
// accepted, that everything it had accepted is delivered.
func (m *member) cleared(id morningai.ID) bool {
	return m.Backlog == 0 && m.ContactAt.Sub(id.Time()) > clearMargin
}

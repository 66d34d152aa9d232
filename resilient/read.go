package resilient

import (
	"context"

	"github.com/RC918/morningai"
)

// getOp reads tasks. What the journal owns is read there; the rest from the
// shared engine, or as it was last known; and what nobody here knows may be
// known to the node that accepted it.
type getOp struct {
	c      *core
	req    morningai.GetRequest
	here   bool
	inside bool // of another read: done runs inside the core
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
	if there, gone := c.split(places(op.req.IDs), func(i int) morningai.ID { return op.req.IDs[i] }); len(there) > 0 && len(gone) > 0 {
		op.part(there, gone)
		return
	}
	if op.closed() {
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

// reply hands back what was read.
func (op *getOp) reply(tasks []morningai.Task, err error) {
	if op.inside {
		op.done(tasks, err)
		return
	}
	op.c.reply(func() { op.done(tasks, err) })
}

func (op *getOp) finish(err error) {
	if err != nil {
		op.reply(nil, err)
		return
	}
	for i := range op.tasks {
		if !op.tasks[i].ID.IsZero() {
			op.tasks[i] = op.c.waiting(op.c.known.show(op.tasks[i]), op.found)
		}
	}
	op.reply(op.tasks, nil)
}

// waiting marks a task that cannot run before the shared engine is back.
func (c *core) waiting(t morningai.Task, f *found) morningai.Task {
	t.Runs = ""
	elsewhere := f == nil || f.owned[t.ID] == nil
	if c.away(t.ID) && elsewhere && (t.State == morningai.StateQueued || t.State == morningai.StateScheduled) {
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
	if op.closed() || op.here {
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
	case (len(op.shared) > 0 || op.here && !c.away(id)) && (!op.lacked[id] && !f.leaving[id] || c.known.refused.has(id, c.now)):
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

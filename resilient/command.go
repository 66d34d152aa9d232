package resilient

import (
	"context"
	"slices"

	"github.com/RC918/morningai"
)

// commandOp carries out orders where their tasks are. What the shared engine
// has still to be told is journaled, and the answer says that it is pending.
type commandOp struct {
	c         *core
	cmds      []morningai.Command
	done      func([]morningai.CommandResult, error)
	results   []morningai.CommandResult
	found     found
	lacked    map[morningai.ID]bool // what the shared engine may not have had when it was told
	withdrawn bool                  // tasks that were withdrawn meanwhile were looked for again
	again     bool                  // tasks that have reached the shared engine meanwhile were tried again
	open      int
	err       error
}

func (c *core) command(op *commandOp) {
	op.c, op.results, op.lacked = c, make([]morningai.CommandResult, len(op.cmds)), map[morningai.ID]bool{}
	ids := make([]morningai.ID, len(op.cmds))
	for i := range op.cmds {
		ids[i] = op.cmds[i].ID
		if cmd := &op.cmds[i]; cmd.Version > 0 {
			cmd.Version = max(cmd.Version-c.known.lift(cmd.ID), 1)
		}
	}
	all := make([]int, len(op.cmds))
	for i := range all {
		all[i] = i
	}
	if !c.holdsAny() {
		op.open = 1
		op.send(all)
		return
	}
	c.lookUp(ids, nil, func(f found, err error) {
		if err != nil {
			c.reply(func() { op.done(nil, err) })
			return
		}
		op.found = f
		op.route(all)
	})
}

func (op *commandOp) route(at []int) {
	c := op.c
	op.open++
	var local, shared, later []int
	for _, i := range at {
		id := op.cmds[i].ID
		switch {
		case op.found.owned[id] != nil:
			local = append(local, i)
		case op.found.own[id] != nil && c.away(id) && !c.known.departed.has(id, c.now):
			op.open++
			op.edit(i)
		case c.away(id):
			later = append(later, i)
		default:
			shared = append(shared, i)
		}
	}
	if len(local) > 0 {
		op.open++
		cmds := pick(op.cmds, local)
		onJournal(c, "command", func(ctx context.Context) ([]morningai.CommandResult, error) { return c.journal.Command(ctx, cmds) },
			func(results []morningai.CommandResult, err error) {
				for i := range results {
					results[i].Task.Fresh = morningai.FreshLocal
				}
				op.carried(local, cmds, results, err)
			})
	}
	if len(shared) > 0 {
		op.open++
		op.send(shared)
	}
	if len(later) > 0 {
		op.open++
		op.later(later, nil)
	}
	op.part(nil, nil, nil)
}

// carried takes what the journal has done. A task that it does not own any more was
// withdrawn meanwhile, and is looked for once again.
func (op *commandOp) carried(at []int, cmds []morningai.Command, results []morningai.CommandResult, err error) {
	c := op.c
	var gone []int
	var ids []morningai.ID
	for k := range results {
		if morningai.CodeOf(results[k].Err) == morningai.CodeNotFound {
			gone, ids = append(gone, at[k]), append(ids, cmds[k].ID)
		}
	}
	if err != nil || len(gone) == 0 || op.withdrawn {
		op.bury(at, cmds, results, err)
		return
	}
	op.withdrawn = true
	op.open++
	c.lookUp(ids, nil, func(f found, err error) {
		if err != nil {
			op.part(gone, nil, err)
			return
		}
		for _, id := range ids {
			op.found.owned[id], op.found.own[id], op.found.sent[id], op.found.ended[id] = f.owned[id], f.own[id], f.sent[id], f.ended[id]
		}
		op.route(gone)
		op.part(nil, nil, nil)
	})
	op.bury(at, cmds, results, nil)
}

// bury leaves notes of tasks that were deleted where nobody else knows them: they
// may be asked for again, and the shared engine is told that they are gone.
func (op *commandOp) bury(at []int, cmds []morningai.Command, results []morningai.CommandResult, err error) {
	var notes []morningai.Note
	for i := range results {
		if cmds[i].Kind != morningai.CommandDelete || results[i].Err != nil || err != nil {
			continue
		}
		r := morningai.Record{Task: results[i].Task, Deleted: true}
		var note morningai.Note
		if note, err = taskNote(noteOwn, &r); err == nil {
			notes = append(notes, note)
		}
	}
	if len(notes) == 0 {
		op.part(at, results, err)
		return
	}
	op.c.backlog.own += int64(len(notes))
	op.c.note(notes, func(err error) {
		op.part(at, results, err)
		op.c.backlog.again(op.c)
	})
}

func (op *commandOp) part(at []int, results []morningai.CommandResult, err error) {
	for k, i := range at {
		if err == nil {
			op.results[i] = results[k]
		} else {
			op.results[i].Err = err
		}
	}
	if err != nil {
		op.err = err
	}
	if op.open--; op.open > 0 {
		return
	}
	var gone []morningai.NoteKey
	var kept []morningai.Note
	for i := range op.results {
		if r := &op.results[i]; r.Err == nil && !r.Task.Pending && r.Task.Fresh != morningai.FreshLocal && !r.Task.ID.IsZero() {
			if note, err := orderedNote(&op.cmds[i], r, op.c.now); err == nil {
				kept = append(kept, note)
			}
		}
		if r := &op.results[i]; r.Err == nil && (op.cmds[i].Kind != morningai.CommandDelete || r.Task.Pending) {
			op.c.known.see(&r.Task)
			r.Task.Version += op.c.known.lift(r.Task.ID)
		} else if r.Err == nil && !r.Task.Pending {
			id := op.cmds[i].ID
			op.c.known.forget(id, op.c.now)
			op.c.backlog.settled(id)
			gone = append(gone, keyOf(noteTask, id), keyOf(noteOutcome, id), keyOf(noteAside, id))
		}
	}
	then := op.answer
	if len(gone) > 0 {
		then = func() { op.c.eraseNow(gone, op.answer) }
	}
	if op.err != nil {
		kept = nil
	}
	op.c.keepOrders(kept, then)
}

func (op *commandOp) answer() {
	op.c.reply(func() {
		if op.err != nil {
			op.done(nil, op.err)
			return
		}
		op.done(op.results, nil)
	})
}

func (op *commandOp) send(at []int) {
	c := op.c
	at, gone := c.split(at, func(i int) morningai.ID { return op.cmds[i].ID })
	if len(gone) > 0 {
		op.later(gone, nil)
		if len(at) == 0 {
			return
		}
		op.open++
	}
	cmds := pick(op.cmds, at)
	for i := range cmds {
		if c.mayLack(cmds[i].ID) {
			op.lacked[cmds[i].ID] = true
		}
	}
	onShared(c, "command", c.cfg.limits.call, func(ctx context.Context) ([]morningai.CommandResult, error) { return c.remote.Command(ctx, cmds) },
		func(results []morningai.CommandResult, err error) {
			if outage(err) {
				op.later(at, err)
				return
			}
			op.afterAll(at, results, err)
		})
}

// afterAll looks again at tasks that the shared engine does not know: they may
// be on their way to it, from here or from another node.
func (op *commandOp) afterAll(at []int, results []morningai.CommandResult, err error) {
	c := op.c
	var unknown []int
	var ids []morningai.ID
	for k, i := range at {
		if err == nil && morningai.CodeOf(results[k].Err) == morningai.CodeNotFound {
			unknown, ids = append(unknown, k), append(ids, op.cmds[i].ID)
		}
	}
	if len(ids) == 0 {
		op.part(at, results, err)
		return
	}
	c.lookUp(ids, nil, func(f found, err error) {
		if err != nil {
			op.part(at, nil, err)
			return
		}
		before := op.found
		op.found = f
		c.askFor(ids, func(elsewhere map[morningai.ID]bool, doubt bool) {
			var late, arrived []int
			rest, answers := []int{}, []morningai.CommandResult{}
			for k, i := range at {
				id := op.cmds[i].ID
				if slices.Contains(unknown, k) && (elsewhere[id] || f.own[id] != nil && !f.own[id].Deleted || c.mayLack(id) && f.sent[id] != nil) {
					late = append(late, i)
				} else if slices.Contains(unknown, k) && !op.again && (before.own[id] != nil || before.sent[id] != nil || before.owned[id] != nil || op.lacked[id]) && !c.known.deleted.has(id, c.now) {
					arrived = append(arrived, i) // meanwhile
				} else {
					if doubt && slices.Contains(unknown, k) {
						results[k].Err = c.statusUnknown(string(op.cmds[i].Kind), nil)
					}
					rest, answers = append(rest, i), append(answers, results[k])
				}
			}
			if len(late) > 0 {
				op.open++
				op.keep(late, nil)
			}
			if len(arrived) > 0 {
				op.again = true
				op.open++
				op.send(arrived)
			}
			op.part(rest, answers, nil)
		})
	})
}

// later keeps orders until the shared engine can be told. One about a task of
// which nobody who can be asked knows anything is refused: what it would do
// cannot be said.
func (op *commandOp) later(at []int, cause error) {
	c := op.c
	var unknown []morningai.ID
	for _, i := range at {
		if id := op.cmds[i].ID; c.lastState(id, &op.found) == nil {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 {
		op.keep(at, cause)
		return
	}
	// What others know is remembered as last known.
	c.askFor(unknown, func(map[morningai.ID]bool, bool) { op.keep(at, cause) })
}

func (op *commandOp) keep(at []int, cause error) {
	c := op.c
	var notes []morningai.Note
	var noted []int
	results := make([]morningai.CommandResult, len(at))
	for k, i := range at {
		cmd := &op.cmds[i]
		t := c.lastState(cmd.ID, &op.found)
		if err := c.refusal(cmd, t, cause); err != nil {
			results[k].Err = err
			if cause != nil { // the shared engine may have carried it out
				results[k].Err = c.statusUnknown(string(cmd.Kind), cause)
			}
			if t != nil {
				results[k].Task = *t
			}
			continue
		}
		note, err := jsonNote(keyOf(noteCommand, c.sequenceKey()), cmd.ID.String(), &order{Command: *cmd, At: c.now.UTC()})
		if err != nil {
			op.part(at, nil, err)
			return
		}
		notes, noted = append(notes, note), append(noted, i)
		results[k].Task = *t
		results[k].Task.Pending, results[k].Task.Fresh = true, morningai.FreshStale
	}
	if len(notes) == 0 {
		op.part(at, results, nil)
		return
	}
	c.backlog.commands += int64(len(notes))
	c.note(notes, func(err error) {
		if err != nil {
			c.backlog.commands -= int64(len(notes))
			if cause != nil { // the shared engine may have carried them out
				err = c.statusUnknown(string(op.cmds[noted[0]].Kind), cause)
			}
			op.part(at, nil, err)
			return
		}
		for _, i := range noted {
			id := op.cmds[i].ID
			c.known.await(id)
			if h := c.held[id]; h != nil && h.decided == "" && op.cmds[i].Kind == morningai.CommandCancel {
				h.cancel = true // its handler runs here
			}
		}
		op.part(at, results, nil)
		c.backlog.again(c)
	})
}

// refusal is why an order cannot be kept for later, or nil.
func (c *core) refusal(cmd *morningai.Command, t *morningai.Task, cause error) error {
	switch {
	case c.known.deleted.has(cmd.ID, c.now):
		return &morningai.Error{Code: morningai.CodeNotFound, Op: string(cmd.Kind), Detail: "the task was deleted"}
	case t == nil:
		return c.statusUnknown(string(cmd.Kind), cause)
	case cmd.Version != 0 && cmd.Version < t.Version:
		return &morningai.Error{Code: morningai.CodeConflict, Op: string(cmd.Kind), Detail: "the task has changed"}
	case !allowed(cmd.Kind, t):
		return &morningai.Error{Code: morningai.CodeWrongState, Op: string(cmd.Kind), Detail: "the task's state does not allow it"}
	}
	return nil
}

// allowed reports whether a task's state, as known, does not rule an order out.
func allowed(kind morningai.CommandKind, t *morningai.Task) bool {
	switch kind {
	case morningai.CommandCancel:
		return !t.State.Terminal() || t.State == morningai.StateCanceled
	case morningai.CommandRun, morningai.CommandRetry:
		return t.State != morningai.StateSucceeded
	}
	return true
}

// lastState is the latest that is known here of a task, or nil.
func (c *core) lastState(id morningai.ID, f *found) *morningai.Task {
	t := c.known.get(id)
	if r := f.sent[id]; r != nil && (t == nil || laterThan(&r.Task, t)) {
		t = &r.Task
	}
	if r := f.own[id]; r != nil && (t == nil || laterThan(&r.Task, t)) {
		t = &r.Task
	}
	if h := c.held[id]; h != nil && !h.task.ID.IsZero() && (t == nil || laterThan(&h.task, t)) {
		t = &h.task
	}
	return t
}

package resilient

import (
	"time"

	"github.com/RC918/morningai"
)

// edit carries out an order on a task that waits in the journal: nobody else knows it.
// Of two orders about it the later one finds what the earlier has made of it.
func (op *commandOp) edit(i int) {
	c, id := op.c, op.cmds[i].ID
	c.backlog.edits++ // it does not leave meanwhile
	c.editAlone(id, func(next func()) {
		c.lookUp([]morningai.ID{id}, nil, func(f found, err error) {
			part := func(results []morningai.CommandResult, err error) {
				c.backlog.edits--
				next()
				op.part([]int{i}, results, err)
			}
			switch own := f.own[id]; {
			case err != nil:
				part(nil, err)
			case own == nil || c.known.departed.has(id, c.now): // it has left
				op.found.owned[id], op.found.own[id], op.found.sent[id], op.found.ended[id] = f.owned[id], own, f.sent[id], f.ended[id]
				c.backlog.edits--
				next()
				op.route([]int{i})
				op.part(nil, nil, nil)
			default:
				op.editRecord(i, own, part)
			}
		})
	})
}

// editAlone calls do when no other edit of a task is under way; do calls next at its end.
func (c *core) editAlone(id morningai.ID, do func(next func())) {
	if waiting, busy := c.editing[id]; busy {
		c.editing[id] = append(waiting, do)
		return
	}
	if c.editing == nil {
		c.editing = map[morningai.ID][]func(func()){}
	}
	c.editing[id] = nil
	do(func() {
		waiting := c.editing[id]
		delete(c.editing, id)
		for _, do := range waiting {
			c.editAlone(id, do)
		}
	})
}

func (op *commandOp) editRecord(i int, r *morningai.Record, part func([]morningai.CommandResult, error)) {
	c, cmd, t := op.c, &op.cmds[i], &r.Task
	refuse := func(code morningai.Code, detail string) {
		part([]morningai.CommandResult{{Task: *t, Err: &morningai.Error{Code: code, Op: string(cmd.Kind), Detail: detail}}}, nil)
	}
	if cmd.Version != 0 && cmd.Version != t.Version {
		refuse(morningai.CodeConflict, "the task has changed")
		return
	}
	was := *t
	switch {
	case r.Deleted && cmd.Kind != morningai.CommandDelete:
		refuse(morningai.CodeNotFound, "there is no such task")
		return
	case cmd.Kind == morningai.CommandCancel && t.State != morningai.StateCanceled:
		if t.State.Terminal() {
			refuse(morningai.CodeWrongState, "the task has ended")
			return
		}
		t.State, t.Error, t.FinishedAt, t.RunAt = morningai.StateCanceled, cmd.Error, c.now.UTC(), time.Time{}
		if t.Error == nil {
			t.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled by a command"}
		}
	case cmd.Kind == morningai.CommandRun && t.State == morningai.StateScheduled, cmd.Kind == morningai.CommandRetry && t.State == morningai.StateScheduled && t.Failures > 0:
		t.State, t.RunAt = morningai.StateQueued, time.Time{}
	case cmd.Kind == morningai.CommandRun && t.State == morningai.StateQueued, cmd.Kind == morningai.CommandRetry && t.State == morningai.StateQueued,
		cmd.Kind == morningai.CommandCancel, cmd.Kind == morningai.CommandDelete && r.Deleted:
	case cmd.Kind == morningai.CommandDelete:
		r.Deleted = true
	case cmd.Kind == morningai.CommandRetry && (t.State == morningai.StateFailed || t.State == morningai.StateCanceled):
		t.State, t.Error, t.FinishedAt, t.Failures, t.Result, t.Progress = morningai.StateQueued, nil, time.Time{}, 0, nil, nil
		t.Life++
	default:
		refuse(morningai.CodeWrongState, "the task's state does not allow it")
		return
	}
	t.Version++
	note, err := taskNote(noteOwn, r)
	if err != nil {
		part(nil, err)
		return
	}
	shown := *t
	if cmd.Kind == morningai.CommandDelete {
		shown = was
	}
	shown.Fresh, shown.AsOf = morningai.FreshLocal, c.now.UTC()
	notes := []morningai.Note{note}
	if shown.Pending = !c.unheardOf(t.ID); shown.Pending { // others may have the id, and have to be told
		order, err := jsonNote(keyOf(noteCommand, c.sequenceKey()), t.ID.String(), &order{Command: *cmd, At: c.now.UTC()})
		if err != nil {
			part(nil, err)
			return
		}
		notes = append(notes, order)
		c.backlog.commands++
	}
	c.note(notes, func(err error) {
		if shown.Pending && err != nil {
			c.backlog.commands--
		} else if shown.Pending {
			c.known.await(t.ID)
		}
		part([]morningai.CommandResult{{Task: shown}}, err)
	})
}

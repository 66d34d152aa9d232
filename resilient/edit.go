package resilient

import (
	"time"

	"github.com/RC918/morningai"
)

// edit carries out an order on a task that waits in the journal: nobody else
// knows it.
func (op *commandOp) edit(i int, r *morningai.Record) {
	c, cmd, t := op.c, &op.cmds[i], &r.Task
	refuse := func(code morningai.Code, detail string) {
		op.part([]int{i}, []morningai.CommandResult{{Task: *t, Err: &morningai.Error{Code: code, Op: string(cmd.Kind), Detail: detail}}}, nil)
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
		op.part([]int{i}, nil, err)
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
			op.part([]int{i}, nil, err)
			return
		}
		notes = append(notes, order)
		c.backlog.commands++
	}
	c.backlog.edits++
	c.note(notes, func(err error) {
		c.backlog.edits--
		if shown.Pending && err != nil {
			c.backlog.commands--
		} else if shown.Pending {
			c.known.await(t.ID)
		}
		op.part([]int{i}, []morningai.CommandResult{{Task: shown}}, err)
	})
}

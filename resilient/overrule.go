package resilient

import (
	"time"

	"github.com/RC918/morningai"
)

// overruled reports that a cancel has decided how a task ends, whatever its
// outcome says.
func overruled(o morningai.Outcome, state morningai.State) bool {
	return state == morningai.StateCanceled && o != morningai.OutcomeCanceled
}

// overrule has the journal keep the end that a cancel has led to: if the shared
// engine loses the task, that end is to come back and not the outcome.
func (d *delivery) overrule(r *morningai.Report) {
	h := d.op.c.held[r.Lease.ID]
	if h == nil || h.lease != r.Lease || h.task.ID.IsZero() {
		return
	}
	note, err := outcomeNote(h, r)
	if err != nil {
		return // it was written before in this form
	}
	if note, err = canceledNote(note); err == nil {
		d.amended = append(d.amended, note)
	}
}

// canceledNote is the note of an outcome as a cancel leaves it.
func canceledNote(n morningai.Note) (morningai.Note, error) {
	r, err := morningai.ParseRecord(n.Data)
	if err != nil {
		return n, err
	}
	t := &r.Task
	t.State, t.RunAt, t.CancelRequested = morningai.StateCanceled, time.Time{}, false
	if t.FinishedAt.IsZero() {
		t.FinishedAt = r.Attempts[len(r.Attempts)-1].FinishedAt
	}
	if t.Error == nil || t.Error.Code != morningai.ErrorCodeCanceled {
		t.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled"}
	}
	n.Data, err = r.AppendBinary(nil)
	return n, err
}

// keepDecided is amend for an outcome that the journal has noted before.
func (c *core) keepDecided(r *morningai.Record, state morningai.State) {
	if !overruled(r.Settled, state) {
		return
	}
	data, err := r.AppendBinary(nil)
	if err != nil {
		return // it came from the journal in this form
	}
	if note, err := canceledNote(morningai.Note{NoteKey: keyOf(noteOutcome, r.Task.ID), Data: data}); err == nil {
		c.amend([]morningai.Note{note})
	}
}

// amend writes over notes of outcomes. That the shared engine has decided
// otherwise holds whatever becomes of this.
func (c *core) amend(notes []morningai.Note) {
	if len(notes) > 0 {
		c.noteInOrder(notes, func(error) {})
	}
}

// noteInOrder is note for what replaces what was noted before: of two notes with one
// key the later is written after the earlier.
func (c *core) noteInOrder(notes []morningai.Note, then func(error)) {
	for i := range notes {
		if later, busy := c.noting[notes[i].NoteKey]; busy {
			c.noting[notes[i].NoteKey] = append(later, func() { c.noteInOrder(notes, then) })
			return
		}
	}
	for i := range notes {
		c.noting[notes[i].NoteKey] = nil
	}
	c.note(notes, func(err error) {
		var waiting []func()
		for i := range notes {
			waiting = append(waiting, c.noting[notes[i].NoteKey]...)
			delete(c.noting, notes[i].NoteKey)
		}
		then(err)
		for _, next := range waiting {
			next()
		}
	})
}

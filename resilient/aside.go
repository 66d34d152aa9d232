package resilient

import (
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

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

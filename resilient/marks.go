package resilient

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

// notedMarks is what the journal keeps of what the shared engine has acknowledged, so that
// the next process notices if that has lost it meanwhile.
type notedMarks struct {
	At    time.Time        `json:"at"`
	Marks []morningai.Mark `json:"marks"`
}

var marksKey = morningai.NoteKey{Kind: noteMirror, Key: keyOfName("marks")}

// markWithin is how much later than the shared engine's answer it is noted.
const markWithin = 100 * time.Millisecond

// KnownMarks is what the shared engine had acknowledged to the last process of a
// journal's node, and when that was noted. An engine that is opened for the journal
// has to compare it.
func KnownMarks(ctx context.Context, journal morningai.Journal) ([]morningai.Mark, time.Time, error) {
	notes, err := journal.Noted(ctx, []morningai.NoteKey{marksKey})
	if err != nil || notes[0].Seq == 0 {
		return nil, time.Time{}, err
	}
	var known notedMarks
	if err := json.Unmarshal(notes[0].Data, &known); err != nil {
		return nil, time.Time{}, fmt.Errorf("read what Redis had acknowledged: %w", err)
	}
	return known.Marks, known.At, nil
}

// marks reports that a call, by its name, leaves something in the shared engine that
// others rely on.
func marks(call string) bool {
	switch call {
	case "finish", "command", "set queue", "import", "checkpoint", "reap":
		return true
	}
	return false
}

// markSoon has what was acknowledged noted.
func (c *core) markSoon() {
	if c.marking || c.closing {
		return
	}
	if _, ok := c.remote.(morningai.Marker); !ok {
		return
	}
	c.marking = true
	c.after(markWithin, func() {
		c.marking = false
		c.writeMarks()
	})
}

func (c *core) writeMarks() {
	remote, ok := c.remote.(morningai.Marker)
	if !ok || c.rebuild != nil { // what is relied on is still what was lost
		return
	}
	at := c.now.UTC()
	c.write("note", func(ctx context.Context) error {
		data, err := json.Marshal(notedMarks{at, remote.Marks()})
		if err != nil {
			return err
		}
		return c.journal.Note(ctx, []morningai.Note{{NoteKey: marksKey, Data: data}})
	}, func(error) {}) // the next one tells more
}

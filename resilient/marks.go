package resilient

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Past is what the journal of a node knows of what was before: the next engine over
// the shared storage has to be told, so that it notices what that has lost while no
// process of the node ran.
type Past struct {
	// Data are what the shared engine worked on when the node last relied on it;
	// zero for a journal that has never met one. An engine that is opened for the
	// journal has to work on the same.
	Data morningai.DataSet
	// Marks are what the shared engine was acknowledged by then, see [WithMarks], and
	// MarkedAt when they were written down.
	Marks    []byte
	MarkedAt time.Time
	// Member is the name of the journal in the fleet.
	Member morningai.ID
}

// ReadPast reads it from a journal.
func ReadPast(ctx context.Context, journal morningai.Journal) (Past, error) {
	known, err := readMirror(ctx, journal)
	if err != nil {
		return Past{}, err
	}
	m, err := readMarks(ctx, journal)
	if err != nil {
		return Past{}, err
	}
	info, err := journal.JournalInfo(ctx)
	return Past{Data: known.Data, Marks: m.Marks, MarkedAt: m.At, Member: known.nameOf(info)}, err
}

// marks are the note of what the shared engine has acknowledged.
type marks struct {
	Marks   []byte    `json:"marks"`
	At      time.Time `json:"at"`
	Edition int64     `json:"edition"` // how often they have been written
}

func readMarks(ctx context.Context, journal morningai.Journal) (m marks, err error) {
	notes, err := journal.Noted(ctx, []morningai.NoteKey{marksKey})
	if err != nil || notes[0].Seq == 0 {
		return m, err
	}
	if err := json.Unmarshal(notes[0].Data, &m); err != nil {
		return m, fmt.Errorf("read what Redis has acknowledged: %w", err)
	}
	return m, nil
}

// marksEvery is how soon after an acknowledgement the journal knows of it. What it
// does not know yet when its process dies is told again at the start anyway, as far
// as it is about tasks and outcomes.
const marksEvery = 100 * time.Millisecond

// telling are the calls that matter to somebody: those of an idle node do not wake
// its disk.
var telling = []string{"enqueue", "claim", "finish", "checkpoint", "command", "import", "set queue"}

// mark notes that a call of the shared engine has had an answer.
func (c *core) mark(name string, err error) {
	if err == nil && slices.Contains(telling, name) {
		c.markSoon()
	}
}

func (c *core) markSoon() {
	if c.cfg.marks == nil || c.marking || c.closing {
		return
	}
	c.marking = true
	c.after(marksEvery, func() {
		c.marking = false
		if note, ok := c.marksNote(); ok {
			edition := c.edition + 1
			c.note([]morningai.Note{note}, func(err error) {
				if err == nil { // otherwise the next one comes soon
					c.edition = edition
				}
			})
		}
	})
}

// marksNote is the note of what has been acknowledged so far.
func (c *core) marksNote() (morningai.Note, bool) {
	if c.cfg.marks == nil || c.rebuild != nil {
		return morningai.Note{}, false // what was acknowledged before may be gone, and is being told again
	}
	note, err := jsonNote(marksKey, "", marks{Marks: c.cfg.marks(), At: c.now.UTC(), Edition: c.edition + 1})
	if err != nil {
		c.log(slog.LevelError, "what Redis has acknowledged cannot be kept", "error", err)
	}
	return note, err == nil
}

// keepMarks writes them for the last time.
func (e *Engine) keepMarks() error {
	note, ok := e.core.marksNote()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	return e.journal.Note(ctx, []morningai.Note{note})
}

package resilient

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

// Orders that are too old are forgotten, also where there are ends of tasks to be
// looked at all the time.
func TestOldOrdersAreForgotten(t *testing.T) {
	journal, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	now := time.Now()
	note := func(kind morningai.NoteKind, ended time.Time) {
		t.Helper()
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		n, err := taskNote(kind, &morningai.Record{Task: morningai.Task{ID: id, State: morningai.StateCanceled, FinishedAt: ended}})
		if err == nil {
			err = journal.Note(t.Context(), []morningai.Note{n})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	note(noteOutcome, now)
	note(noteOrdered, now.Add(-2*keepEnded))
	note(noteOrdered, now)

	c := newCore(defaults(), nil, journal, func() float64 { return 0 }, now)
	left := func(kind morningai.NoteKind) int64 {
		t.Helper()
		info, err := journal.JournalInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.disk.info = info
		return info.Notes[kind]
	}
	left(noteOrdered)
	for range 4 { // with their calls of the journal
		for _, event := range []func(){c.trimKept, c.empty} {
			event()
			calls := c.out
			c.out = nil
			for i := range calls {
				result, err := calls[i].call(t.Context(), nil, journal)
				calls[i].then(result, err)
			}
		}
		c.now = c.now.Add(trimEvery)
	}
	note(noteTask, now) // what is erased goes with the next write
	if n := left(noteOrdered); n != 1 {
		t.Errorf("%d orders are left", n)
	}
	if n := left(noteOutcome); n != 1 {
		t.Errorf("%d ends are left", n)
	}
}

package resilient

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

// Orders that are too old are forgotten, also where there are ends of tasks to be
// looked at all the time.
func TestOldOrdersAreForgotten(t *testing.T) {
	journal, now := openJournal(t), time.Now()
	note := func(kind morningai.NoteKind, at time.Time) {
		t.Helper()
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		n, err := taskNote(kind, &morningai.Record{Task: morningai.Task{ID: id, State: morningai.StateCanceled, FinishedAt: at}})
		if kind == noteOrdered { // about a task that is old and has not ended
			n, err = orderedNote(&morningai.Command{Kind: morningai.CommandRun, ID: id},
				&morningai.CommandResult{Task: morningai.Task{ID: id, State: morningai.StateQueued, CreatedAt: now.Add(-3 * keepEnded)}}, at)
		}
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
	for range 4 {
		for _, event := range []func(){c.trimKept, c.empty} {
			event()
			callJournal(t, c)
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

// An outcome that cannot be read is said to be so when it has to be delivered again.
func TestAnUnreadableOutcomeIsTold(t *testing.T) {
	journal, id := openJournal(t), morningai.ID{1}
	if err := journal.Note(t.Context(), []morningai.Note{{NoteKey: keyOf(noteOutcome, id), Data: []byte("torn")}}); err != nil {
		t.Fatal(err)
	}
	c := newCore(defaults(), nil, journal, func() float64 { return 0 }, time.Now())
	c.deliverAgain([]morningai.Note{{NoteKey: keyOf(noteAgain, id), Seq: 1}})
	told := callJournal(t, c)
	if len(told) != 1 || told[0].level != slog.LevelError || c.backlog.fails != 1 {
		t.Errorf("%d lines, %d failures", len(told), c.backlog.fails)
	}
}

func openJournal(t *testing.T) *sqlite.Engine {
	t.Helper()
	journal, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := journal.Close(); err != nil {
			t.Error(err)
		}
	})
	return journal
}

// callJournal makes the calls of the journal that a core asks for, and returns its
// lines for people.
func callJournal(t *testing.T, c *core) (told []*line) {
	t.Helper()
	for len(c.out) > 0 {
		calls := c.out
		c.out = nil
		for i := range calls {
			switch f := &calls[i]; f.to {
			case toJournal:
				f.then(f.call(t.Context(), nil, c.journal))
			case toLog:
				told = append(told, f.line)
			}
		}
	}
	return told
}

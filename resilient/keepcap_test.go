package resilient

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// The ends that a journal keeps have a cap of their own: beyond it the oldest go,
// however young they are, and the window that is told begins after them.
func TestKeptEndsHaveACap(t *testing.T) {
	journal, now := openJournal(t), time.Now()
	const extra = 3
	for i := range 10 {
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		n, err := taskNote(noteOutcome, &morningai.Record{Task: morningai.Task{ID: id, State: morningai.StateSucceeded, FinishedAt: now.Add(time.Duration(i-10) * time.Minute)}})
		if err == nil {
			err = journal.Note(t.Context(), []morningai.Note{n})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	notes, err := journal.Notes(t.Context(), noteOutcome, 0, 10)
	if err != nil || len(notes) != 10 {
		t.Fatalf("%d notes, %v", len(notes), err)
	}
	c := newCore(defaults(), nil, journal, func() float64 { return 0 }, now)
	c.mirror.Told = notes[extra-1].Seq // what is not told yet is not given up
	c.trimNext = now.Add(trimEvery)
	look := func(n int64) time.Time {
		t.Helper()
		c.disk.info.Notes = map[morningai.NoteKind]int64{noteOutcome: n}
		c.trimKept()
		callJournal(t, c)
		return c.tombstonesSince()
	}
	if since := look(keepAtMost); !since.Equal(now.Add(-keepEnded)) {
		t.Errorf("at the cap nothing goes, and the window begins %v ago", now.Sub(since))
	}
	if since, want := look(keepAtMost+1), now.Add((extra-11)*time.Minute); since.Sub(want).Abs() > time.Millisecond {
		t.Errorf("beyond the cap the window begins %v ago, not %v", now.Sub(since), now.Sub(want))
	}
	if len(c.trash) != extra {
		t.Errorf("%d ends are given up, not %d", len(c.trash), extra)
	}
}

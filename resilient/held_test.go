package resilient

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

func TestHeld(t *testing.T) {
	journal, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	verified := time.Now().Add(-time.Hour)
	spec := morningai.NewTaskSpec("owned", []byte("1"))
	if err := spec.Normalize(); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Enqueue(t.Context(), []morningai.TaskSpec{spec}); err != nil {
		t.Fatal(err)
	}
	var notes []morningai.Note
	add := func(n morningai.Note, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, n)
	}
	record := func(id byte, taskType string, at time.Time) *morningai.Record {
		s := morningai.NewTaskSpec(taskType, []byte("1"))
		s.ID, s.TraceID, s.Queue = morningai.ID{id}, morningai.ID{id}, "q"
		r := recordOf(&s, at)
		return &r
	}
	data, err := json.Marshal(mirror{Verified: verified})
	add(morningai.Note{NoteKey: mirrorKey, Data: data}, err)
	add(taskNote(noteOwn, record(1, "own", time.Now())))
	add(taskNote(noteTask, record(2, "old", verified.Add(-time.Minute))))
	add(taskNote(noteTask, record(3, "young", verified.Add(time.Minute))))
	add(taskNote(noteTask, record(4, "close", verified.Add(-time.Second)))) // it may have been on its way
	at := verified.Add(time.Minute)
	add(outcomeNote(&holding{task: record(5, "done", verified.Add(-time.Minute)).Task}, &morningai.Report{Lease: morningai.Lease{ID: morningai.ID{5}},
		Outcome: morningai.OutcomeSucceeded, Attempt: 1, StartedAt: at, FinishedAt: at}))
	add(jsonNote(keyOf(notePoint, morningai.ID{6}), "", &morningai.Checkpoint{Lease: morningai.Lease{ID: morningai.ID{7}}, Data: json.RawMessage(`"x"`)}))
	add(jsonNote(keyOf(noteCommand, morningai.ID{8}), "", &order{morningai.Command{Kind: morningai.CommandCancel, ID: morningai.ID{9}}, at}))
	add(jsonNote(keyOf(noteQueue, keyOfName("mail")), "", &setting{Name: "mail"}))
	add(jsonNote(keyOf(noteAside, morningai.ID{10}), "", &aside{Record: packed(record(10, "bad", at)), Reason: "too large"}))
	add(jsonNote(keyOf(noteIncident, morningai.ID{11}), "", &morningai.Incident{ID: morningai.ID{11}})) // nothing to deliver
	if err := journal.Note(t.Context(), notes); err != nil {
		t.Fatal(err)
	}

	want := map[Entry]bool{
		{Kind: EntryTask, Where: OnlyInJournal, ID: spec.ID, Type: "owned", Queue: "default", State: morningai.StateQueued}:                  true,
		{Kind: EntryTask, Where: OnlyInJournal, ID: morningai.ID{1}, Type: "own", Queue: "q", State: morningai.StateQueued}:                  true,
		{Kind: EntryTask, Where: Copied, ID: morningai.ID{2}, Type: "old", Queue: "q", State: morningai.StateQueued}:                         true,
		{Kind: EntryTask, Where: InDoubt, ID: morningai.ID{3}, Type: "young", Queue: "q", State: morningai.StateQueued}:                      true,
		{Kind: EntryTask, Where: InDoubt, ID: morningai.ID{4}, Type: "close", Queue: "q", State: morningai.StateQueued}:                      true,
		{Kind: EntryOutcome, Where: InDoubt, ID: morningai.ID{5}, Type: "done", Queue: "q", State: morningai.StateSucceeded}:                 true,
		{Kind: EntryCheckpoint, Where: OnlyInJournal, ID: morningai.ID{7}}:                                                                   true,
		{Kind: EntryCommand, Where: OnlyInJournal, ID: morningai.ID{9}, Reason: "cancel"}:                                                    true,
		{Kind: EntrySettings, Where: OnlyInJournal, Queue: "mail"}:                                                                           true,
		{Kind: EntryTask, Where: SetAside, ID: morningai.ID{10}, Type: "bad", Queue: "q", State: morningai.StateQueued, Reason: "too large"}: true,
	}
	if err := Held(t.Context(), journal, func(e Entry) error {
		if e.At.IsZero() == (e.Kind == EntryTask || e.Kind == EntryOutcome || e.Kind == EntryCommand) {
			t.Errorf("the time of %+v", e)
		}
		e.At = time.Time{}
		if !want[e] {
			t.Errorf("unexpected: %+v", e)
		}
		delete(want, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for e := range want {
		t.Errorf("not told: %+v", e)
	}
	enough := errors.New("enough")
	calls := 0
	if err := Held(t.Context(), journal, func(Entry) error { calls++; return enough }); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("after an error in %d calls: %v", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Held(ctx, journal, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// gated is a shared engine that takes an outcome when it is let.
type gated struct {
	morningai.Engine
	asked, free chan struct{}
}

func (g *gated) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	close(g.asked)
	<-g.free
	return g.Engine.Finish(ctx, reports)
}

// Outcomes of an earlier process count as undelivered only once they were read:
// until a whole look is through, nothing is settled.
func TestSettled(t *testing.T) {
	folder := t.TempDir()
	open := func(name string) *sqlite.Engine {
		engine, err := sqlite.Open(t.Context(), filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}
	journal := open("journal.db")
	shared := &gated{open("shared.db"), make(chan struct{}), make(chan struct{})}
	note, err := outcomeNote(&holding{}, &morningai.Report{Lease: morningai.Lease{ID: morningai.ID{5}}, Outcome: morningai.OutcomeSucceeded, Attempt: 1,
		StartedAt: time.Now(), FinishedAt: time.Now()})
	if err == nil {
		err = journal.Note(t.Context(), []morningai.Note{note})
	}
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(t.Context(), shared, journal, WithLogger(slog.New(slog.DiscardHandler)), WithPatience(100))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	<-shared.asked
	if left, err := e.Undelivered(t.Context()); e.Settled() {
		t.Errorf("settled while an outcome is on its way (%d undelivered, %v)", left, err)
	}
	close(shared.free)
	for !e.Settled() {
		if t.Context().Err() != nil {
			t.Fatal("it is never settled")
		}
		runtime.Gosched()
	}
}

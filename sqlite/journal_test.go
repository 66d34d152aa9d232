package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/RC918/morningai"
)

// series is work that shares one transaction for certain.
type series []work

func (s series) size() int { return 1 }

func (s series) apply(t *txn) error {
	for _, w := range s {
		if err := w.apply(t); err != nil {
			return err
		}
	}
	return nil
}

func newNotes(t *testing.T, kind morningai.NoteKind, n int) []morningai.Note {
	t.Helper()
	out := make([]morningai.Note, n)
	for i := range out {
		id, err := morningai.NewID()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = morningai.Note{NoteKey: morningai.NoteKey{Kind: kind, Key: id}, Alt: fmt.Sprint("alt ", i), Data: []byte(fmt.Sprintf("%0200d", i))}
	}
	return out
}

func allNotes(t *testing.T, e *Engine, kind morningai.NoteKind) []morningai.Note {
	t.Helper()
	got, err := e.Notes(t.Context(), kind, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// checkNotes compares what is kept of notes in memory with the table.
func checkNotes(t *testing.T, e *Engine, what string) {
	t.Helper()
	info, err := e.JournalInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []morningai.NoteKind{1, 2} {
		if got := allNotes(t, e, kind); int64(len(got)) != info.Notes[kind] {
			t.Fatalf("%s: %d notes of kind %d, %d are counted", what, len(got), kind, info.Notes[kind])
		}
	}
}

// What comes after a withdrawal in its transaction sees it; what came before is
// in the record.
func TestWithdrawalWithinACommit(t *testing.T) {
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"))
	defer func() { shut(t, f.e) }()
	tasks := f.enqueue(2, func(i int, s *morningai.TaskSpec) { s.UniqueKey = fmt.Sprint("k", i) })
	g := f.claim(1)[0]
	finish := &finishWork{reports: []morningai.Report{{Lease: g.Lease, Node: "node", Outcome: morningai.OutcomeSucceeded, Attempt: 1, Result: json.RawMessage(`7`)}},
		texts: []string{""}, refused: []bool{false}, verdicts: make([]morningai.Verdict, 1)}
	withdraw := &withdrawWork{kind: 1, limit: 10}
	command := &commandWork{cmds: []morningai.Command{{Kind: morningai.CommandCancel, ID: tasks[1].ID}}, results: make([]morningai.CommandResult, 1)}
	again := &enqueueWork{rows: []*row{{}, {}}, at: []int{0, 1}, made: make([]bool, 2), receipts: make([]morningai.Receipt, 2)}
	for i := range again.rows {
		spec := morningai.NewTaskSpec("work", json.RawMessage(`"again"`))
		spec.ID, spec.UniqueKey = tasks[i].ID, fmt.Sprint("k", 1-i)
		if err := spec.Normalize(); err != nil {
			t.Fatal(err)
		}
		if err := f.e.rowOf(again.rows[i], &spec); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.e.submit(t.Context(), series{finish, withdraw, command, again, markWork{}}); err != nil {
		t.Fatal(err)
	}
	if finish.verdicts[0].Err != nil || !errors.Is(command.results[0].Err, morningai.ErrNotFound) {
		t.Fatalf("outcome: %+v, cancel: %+v", finish.verdicts[0], command.results[0])
	}
	if len(withdraw.notes) != 2 || !again.made[0] || !again.made[1] {
		t.Fatalf("%d were withdrawn; accepted anew: %v", len(withdraw.notes), again.made)
	}
	rec, err := morningai.ParseRecord(withdraw.notes[0].Data)
	if err != nil || rec.Task.State != morningai.StateSucceeded || string(rec.Task.Result) != "7" {
		t.Fatalf("the record is %+v (%v)", rec, err)
	}
	got := f.claim(10)
	if len(got) != 2 || string(got[0].Task.Payload) != `"again"` || got[0].Task.ID != tasks[0].ID || got[1].Task.ID != tasks[1].ID || got[0].Task.Attempt != 1 {
		t.Fatalf("handed out %+v", got)
	}
	checkCounts(t, f.e, "accepted anew")
}

// Ready tasks beyond those held in memory are withdrawn like the others.
func TestWithdrawalOfALongBacklog(t *testing.T) {
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"), func(c *config) { c.readyMax, c.cacheMax = 8, 4 })
	defer func() { shut(t, f.e) }()
	tasks := f.enqueue(100, nil)
	for n := 0; n < 30; {
		got, err := f.e.Withdraw(t.Context(), 1, 10)
		if err != nil || len(got) != 10 {
			t.Fatal(len(got), err)
		}
		for _, one := range got {
			if one.Key != tasks[n].ID {
				t.Fatalf("task %d is not the one withdrawn", n)
			}
			n++
		}
	}
	for n := 30; n < 100; {
		for _, g := range f.claim(7) {
			if g.Task.ID != tasks[n].ID {
				t.Fatalf("task %d is not the one handed out", n)
			}
			n++
		}
	}
	checkCounts(t, f.e, "withdrawn and claimed")
}

// stall keeps the writer busy until it is let go.
type stall struct{ begun, end chan struct{} }

func (s stall) size() int { return batchMax }

func (s stall) apply(*txn) error {
	close(s.begun)
	<-s.end
	return nil
}

// Data belongs to the caller again when Note returns, also if it returns early.
func TestNoteWithAnEndedContext(t *testing.T) {
	e := open(t, filepath.Join(t.TempDir(), "tasks.db"))
	defer shut(t, e)
	s := stall{make(chan struct{}), make(chan struct{})}
	stalled, noted := make(chan error, 1), make(chan error, 1)
	go func() { stalled <- e.submit(t.Context(), s) }()
	<-s.begun
	ctx, cancel := context.WithCancel(t.Context())
	n := newNotes(t, 1, 1)
	want := string(n[0].Data)
	go func() { noted <- e.Note(ctx, n) }()
	for len(e.reqs) == 0 {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-noted; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	clear(n[0].Data)
	close(s.end)
	if err := <-stalled; err != nil {
		t.Fatal(err)
	}
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := allNotes(t, e, 1); len(got) != 1 || string(got[0].Data) != want {
		t.Fatalf("noted %v", got)
	}
}

// A task whose withdrawal is not committed yet is out of reach for claims.
func TestClaimDuringAWithdrawal(t *testing.T) {
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"))
	defer func() { shut(t, f.e) }()
	tasks := f.enqueue(3, nil)
	s := stall{make(chan struct{}), make(chan struct{})}
	withdraw := &withdrawWork{kind: 1, limit: 2}
	done := make(chan error, 1)
	go func() { done <- f.e.submit(t.Context(), series{withdraw, s}) }()
	<-s.begun
	reply, err := f.e.Claim(t.Context(), morningai.ClaimRequest{Session: f.session, Types: []string{"work"}, N: 10})
	close(s.end)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err != nil || len(reply.Grants) != 1 || reply.Grants[0].Task.ID != tasks[2].ID || len(withdraw.notes) != 2 {
		t.Fatalf("handed out meanwhile: %+v (%v)", reply.Grants, err)
	}
	if err := f.finish(reply.Grants[0], morningai.OutcomeSucceeded); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, f.e, "after the commit")
}

// A crash loses no note that was acknowledged, and no number is given twice.
func TestNotesAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	f := newFixture(t, path)
	notes := newNotes(t, 2, 20)
	if err := f.e.Note(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
	f.enqueue(5, nil)
	withdrawn, err := f.e.Withdraw(t.Context(), 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.e.Erase(t.Context(), []morningai.NoteKey{notes[19].NoteKey}); err != nil {
		t.Fatal(err)
	}
	if err := f.e.Probe(t.Context()); err != nil { // its commit makes the erasure
		t.Fatal(err)
	}
	crashed := snapshot(t, path)
	shut(t, f.e)
	f = newFixture(t, crashed)
	defer func() { shut(t, f.e) }()
	same := func(a, b morningai.Note) bool { return a.NoteKey == b.NoteKey && string(a.Data) == string(b.Data) }
	if got := allNotes(t, f.e, 2); !slices.EqualFunc(got, notes[:19], same) {
		t.Errorf("%d notes are left", len(got))
	}
	if got := allNotes(t, f.e, 1); len(withdrawn) != 3 || !slices.EqualFunc(got, withdrawn, same) {
		t.Errorf("%d withdrawn tasks are left", len(got))
	}
	checkNotes(t, f.e, "after a crash")
	checkCounts(t, f.e, "after a crash")
	if err := f.e.Note(t.Context(), newNotes(t, 2, 1)); err != nil {
		t.Fatal(err)
	}
	if got := allNotes(t, f.e, 2); got[19].Seq != 21 {
		t.Errorf("after number 20 was erased comes number %d", got[19].Seq)
	}
	if got := f.claim(10); len(got) != 2 {
		t.Errorf("%d tasks are left", len(got))
	}
}

// A file from before there were notes becomes a journal and keeps its tasks.
func TestOldFileBecomesAJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	f := newFixture(t, path)
	tasks := f.enqueue(3, nil)
	shut(t, f.e)
	execSQL(t, path, "DROP TABLE notes", "DROP TABLE note_kinds", "DROP TABLE journal", "DROP TABLE claims", "ALTER TABLE leases DROP COLUMN grace",
		"ALTER TABLE queues DROP COLUMN paused_at", "ALTER TABLE queues DROP COLUMN concurrency_at", "ALTER TABLE queues DROP COLUMN rate_at", "PRAGMA user_version=1")
	f = newFixture(t, path)
	defer func() { shut(t, f.e) }()
	if got := f.claim(3); len(got) != 3 || got[0].Task.ID != tasks[0].ID {
		t.Fatalf("the tasks are %+v", got)
	}
	if err := f.e.Note(t.Context(), newNotes(t, 1, 2)); err != nil {
		t.Fatal(err)
	}
	info, err := f.e.JournalInfo(t.Context())
	if err != nil || info.ID.IsZero() || time.Since(info.Since) > time.Hour || info.Notes[1] != 2 {
		t.Fatalf("the journal is %+v (%v)", info, err)
	}
}

// Below the size limit there is a reserve that new tasks may not use, and notes
// may. Beyond it they are refused, erasures and replacements are not.
func TestNotesAtTheSizeLimit(t *testing.T) {
	e := open(t, filepath.Join(t.TempDir(), "tasks.db"), WithMaxBytes(minBytes))
	defer shut(t, e)
	var full error
	for full == nil {
		_, full = e.Enqueue(t.Context(), []morningai.TaskSpec{morningai.NewTaskSpec("work", json.RawMessage(fmt.Sprintf(`"%08000d"`, 1)))})
	}
	var kept []morningai.Note
	for full = nil; full == nil; {
		n := newNotes(t, 1, 1)
		n[0].Data = make([]byte, 8000)
		if full = e.Note(t.Context(), n); full == nil {
			kept = append(kept, n...)
		}
	}
	if !errors.Is(full, morningai.ErrStorageFull) || len(kept) < 20 {
		t.Fatalf("%v after %d notes", full, len(kept))
	}
	if got := allNotes(t, e, 1); len(got) != len(kept) {
		t.Fatalf("%d notes were acknowledged, %d are there", len(kept), len(got))
	}
	if err := e.Note(t.Context(), kept[:1]); err != nil {
		t.Fatalf("a replacement: %v", err)
	}
	if err := e.Erase(t.Context(), []morningai.NoteKey{kept[0].NoteKey, kept[1].NoteKey, kept[2].NoteKey}); err != nil {
		t.Fatal(err)
	}
	if err := e.Note(t.Context(), kept[:1]); err != nil {
		t.Fatalf("where there is room again: %v", err)
	}
	checkNotes(t, e, "full")
}

// Every write and sync of a journal's calls fails in turn: what was refused has
// left no trace, what was acknowledged is there, and each task is in one place.
func TestJournalOnAFailingDisk(t *testing.T) {
	for name, c := range map[string]struct {
		write, sync int32
		want        error
	}{
		"disk full":   {lib.SQLITE_FULL, 0, morningai.ErrStorageFull},
		"write fails": {lib.SQLITE_IOERR_WRITE, 0, morningai.ErrStorageFailed},
		"sync fails":  {0, lib.SQLITE_IOERR_FSYNC, morningai.ErrStorageFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hit := 0
			for n := 1; ; n++ {
				what := fmt.Sprintf("%s at %d", name, n)
				d, path := newDisk(t)
				f := newFixture(t, path, smallLog)
				kept, added := newNotes(t, 1, 4), newNotes(t, 1, 4)
				if err := f.e.Note(t.Context(), kept); err != nil {
					t.Fatal(err)
				}
				tasks := f.enqueue(6, nil)
				d.arm(n, 1, c.write, c.sync)
				noteErr := f.e.Note(t.Context(), added)
				changed := kept[1]
				changed.Data = []byte("changed")
				changeErr := f.e.Note(t.Context(), []morningai.Note{changed})
				eraseErr := f.e.Erase(t.Context(), []morningai.NoteKey{kept[0].NoteKey})
				gone, withdrawErr := f.e.Withdraw(t.Context(), 2, 4)
				_, failed := d.seen()
				d.arm(0, 0, 0, 0)
				for _, err := range []error{noteErr, changeErr, eraseErr, withdrawErr} {
					if err != nil && !errors.Is(err, c.want) {
						t.Fatalf("%s: %v", what, err)
					}
				}
				if noteErr != nil || changeErr != nil || withdrawErr != nil {
					hit++
				}
				check := func(what string) {
					t.Helper()
					have := map[morningai.ID]string{}
					for _, one := range allNotes(t, f.e, 1) {
						have[one.Key] = string(one.Data)
					}
					for _, one := range added {
						if there := have[one.Key] != ""; there != (noteErr == nil) && (noteErr == nil || errors.Is(noteErr, morningai.ErrStorageFull)) {
							t.Fatalf("%s: Note said %v, and its note is there: %v", what, noteErr, there)
						}
					}
					if got := have[changed.Key]; changeErr == nil && got != "changed" || errors.Is(changeErr, morningai.ErrStorageFull) && got != string(kept[1].Data) {
						t.Fatalf("%s: Note said %v, and the note is %q", what, changeErr, got)
					}
					if have[kept[2].Key] == "" || have[kept[3].Key] == "" {
						t.Fatalf("%s: notes from before are not there", what)
					}
					noted := allNotes(t, f.e, 2)
					if withdrawErr == nil && (len(gone) != 4 || len(noted) != 4) || errors.Is(withdrawErr, morningai.ErrStorageFull) && len(noted) != 0 {
						t.Fatalf("%s: Withdraw said %v, and there are %d notes", what, withdrawErr, len(noted))
					}
					for _, task := range tasks {
						is := slices.ContainsFunc(noted, func(n morningai.Note) bool { return n.Key == task.ID })
						if stored := !f.get(task.ID, false).ID.IsZero(); stored == is {
							t.Fatalf("%s: a task is noted: %v, and stored: %v", what, is, stored)
						}
					}
					checkCounts(t, f.e, what)
				}
				if f.e.failed.Load() == nil {
					check(what)
					if err := f.e.Probe(t.Context()); err != nil { // makes the erasure that had to wait
						t.Fatalf("%s: the engine does not go on: %v", what, err)
					}
					checkNotes(t, f.e, what)
					if got := f.claim(10); len(got) != 6-len(gone) {
						t.Fatalf("%s: %d tasks are handed out, %d were withdrawn", what, len(got), len(gone))
					}
				} else if err := f.e.Erase(t.Context(), []morningai.NoteKey{kept[2].NoteKey}); !errors.Is(err, morningai.ErrStorageFailed) {
					t.Fatalf("%s: an erasure says %v", what, err)
				}
				shut(t, f.e)
				f = newFixture(t, path)
				check(what + ", opened again")
				checkNotes(t, f.e, what+", opened again")
				shut(t, f.e)
				checkFile(t, path, what)
				if failed == 0 {
					break // past the last
				}
			}
			if hit < 3 {
				t.Fatalf("only %d failures reached a caller", hit)
			}
		})
	}
}

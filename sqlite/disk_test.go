package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/RC918/morningai"
	lib "modernc.org/sqlite/lib"
)

// ledger is what a workload was told: what must be there afterwards, and what
// must not.
type ledger struct {
	accepted map[morningai.ID]bool
	refused  map[morningai.ID]bool
	finished map[morningai.ID]bool
	canceled map[morningai.ID]bool
	errs     []error
}

func (l *ledger) note(err error) bool {
	if err != nil {
		l.errs = append(l.errs, err)
	}
	return err == nil
}

// workload goes once through everything that writes. It never stops at an
// error, as callers would not.
func workload(t *testing.T, e *Engine, l *ledger, rounds int) {
	ctx := t.Context()
	session := morningai.SessionID{1}
	for round := range rounds {
		specs := make([]morningai.TaskSpec, 4)
		for i := range specs {
			id, err := morningai.NewID()
			if err != nil {
				t.Fatal(err)
			}
			specs[i] = morningai.NewTaskSpec("work", json.RawMessage(fmt.Sprintf(`{"round":%d,"fill":"%01000d"}`, round, i)))
			specs[i].ID = id
		}
		specs[3].RunAt = time.Now().Add(time.Hour)
		receipts, err := e.Enqueue(ctx, specs)
		for i := range specs {
			if err == nil && receipts[i].Err == nil {
				l.accepted[specs[i].ID] = true
			} else if errors.Is(err, morningai.ErrStorageFull) {
				l.refused[specs[i].ID] = true
			}
		}
		l.note(err)
		_, err = e.Beat(ctx, morningai.BeatRequest{Session: session, Node: "n", Types: []string{"work"}, LeaseTime: time.Minute})
		l.note(err)
		reply, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 2})
		if !l.note(err) {
			continue
		}
		for _, g := range reply.Grants {
			_, err := e.Checkpoint(ctx, []morningai.Checkpoint{
				{Lease: g.Lease, Kind: morningai.CheckpointStep, Name: "s", Data: json.RawMessage(`1`)},
				{Lease: g.Lease, Kind: morningai.CheckpointLog, Line: morningai.LogLine{Attempt: 1, At: time.Now(), Level: "info", Message: "m"}},
			})
			l.note(err)
			verdicts, err := e.Finish(ctx, []morningai.Report{{Lease: g.Lease, Node: "n", Outcome: morningai.OutcomeSucceeded, Result: json.RawMessage(`"done"`),
				Attempt: g.Task.Attempt}})
			if l.note(err) && verdicts[0].Err == nil {
				l.finished[g.Task.ID] = true
			}
		}
		if res, err := e.Command(ctx, []morningai.Command{{Kind: morningai.CommandCancel, ID: specs[3].ID}}); l.note(err) && res[0].Err == nil {
			l.canceled[specs[3].ID] = true
		}
		l.note(e.Probe(ctx))
	}
}

func newLedger() *ledger {
	return &ledger{accepted: map[morningai.ID]bool{}, refused: map[morningai.ID]bool{}, finished: map[morningai.ID]bool{}, canceled: map[morningai.ID]bool{}}
}

// verify reads the file with a fresh engine and compares it with the ledger.
func (l *ledger) verify(t *testing.T, e *Engine, what string) {
	t.Helper()
	get := func(id morningai.ID) morningai.Task {
		got, err := e.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{id}})
		if err != nil {
			t.Fatalf("%s: read: %v", what, err)
		}
		return got[0]
	}
	for id := range l.accepted {
		task := get(id)
		if task.ID != id {
			t.Fatalf("%s: an accepted task is not there", what)
		}
		if l.finished[id] && (task.State != morningai.StateSucceeded || string(task.Result) != `"done"`) {
			t.Fatalf("%s: an acknowledged outcome is not there: %s", what, task.State)
		}
		if l.canceled[id] && task.State != morningai.StateCanceled {
			t.Fatalf("%s: an acknowledged cancel is not there: %s", what, task.State)
		}
	}
	for id := range l.refused {
		if get(id).ID == id {
			t.Fatalf("%s: a refused task is there", what)
		}
	}
	checkCounts(t, e, what)
}

// checkCounts compares the maintained counts with a scan.
func checkCounts(t *testing.T, e *Engine, what string) {
	t.Helper()
	stats, err := e.Stats(t.Context())
	if err != nil {
		t.Fatalf("%s: stats: %v", what, err)
	}
	scan := map[morningai.State]int64{}
	for cursor := ""; ; {
		page, err := e.List(t.Context(), morningai.Filter{Limit: 1000, Cursor: cursor})
		if err != nil {
			t.Fatalf("%s: list: %v", what, err)
		}
		for _, task := range page.Tasks {
			scan[task.State]++
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for state, n := range stats.States {
		if scan[state] != n {
			t.Fatalf("%s: %d tasks are counted as %s, a scan finds %d", what, n, state, scan[state])
		}
	}
}

// checkFile has SQLite look for damage.
func checkFile(t *testing.T, path, what string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var answer string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&answer); err != nil || answer != "ok" {
		t.Fatalf("%s: the file is damaged: %s %v", what, answer, err)
	}
}

func smallLog(c *config) { c.checkpoint = 12 }

func open(t *testing.T, path string, opts ...Option) *Engine {
	t.Helper()
	e, err := Open(t.Context(), path, opts...)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return e
}

func shut(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// opsOf counts the writes and syncs of the workload.
func opsOf(t *testing.T) int {
	d, path := newDisk(t)
	e := open(t, path, smallLog)
	d.arm(0, 0, 0, 0)
	l := newLedger()
	workload(t, e, l, 2)
	ops, _ := d.seen()
	shut(t, e)
	if len(l.errs) > 0 || len(l.finished) != 4 {
		t.Fatalf("the workload fails by itself: %v", l.errs)
	}
	return ops
}

// Every write and sync of the hot path fails in turn. Nothing acknowledged is
// missing afterwards and nothing refused is there; the error says which of the
// two it is.
func TestEveryWriteFailsInTurn(t *testing.T) {
	total := opsOf(t)
	if total < 40 {
		t.Fatalf("the workload makes only %d writes", total)
	}
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
			stride := 4
			if c.sync != 0 {
				stride = 1
			}
			for n := 1; n <= total; n += stride {
				what := fmt.Sprintf("%s at write %d", name, n)
				d, path := newDisk(t)
				e := open(t, path, smallLog)
				d.arm(n, 1, c.write, c.sync)
				l := newLedger()
				workload(t, e, l, 2)
				_, failed := d.seen()
				d.arm(0, 0, 0, 0)
				if failed == 0 {
					shut(t, e)
					break // past the last
				}
				if len(l.errs) > 0 {
					hit++
				}
				for _, err := range l.errs {
					if !errors.Is(err, c.want) {
						t.Fatalf("%s: got %v", what, err)
					}
				}
				if c.want == morningai.ErrStorageFull || len(l.errs) == 0 {
					l.verify(t, e, what+", still open")
					if err := e.Probe(t.Context()); err != nil {
						t.Fatalf("%s: the engine does not go on: %v", what, err)
					}
				} else if err := e.Probe(t.Context()); !errors.Is(err, morningai.ErrStorageFailed) {
					t.Fatalf("%s: the engine writes again: %v", what, err)
				}
				shut(t, e)
				e = open(t, path)
				l.verify(t, e, what+", opened again")
				shut(t, e)
				checkFile(t, path, what)
			}
			if hit < 5 {
				t.Fatalf("only %d failures reached a caller", hit)
			}
		})
	}
}

// A disk that is full for a while refuses everything, and the engine goes on
// when there is space again.
func TestFullDiskComesBack(t *testing.T) {
	d, path := newDisk(t)
	e := open(t, path, smallLog)
	defer shut(t, e)
	l := newLedger()
	workload(t, e, l, 2)
	d.arm(1, 1<<30, lib.SQLITE_FULL, 0)
	workload(t, e, l, 3)
	if err := e.Probe(t.Context()); !errors.Is(err, morningai.ErrStorageFull) {
		t.Fatalf("the probe on a full disk says %v", err)
	}
	if len(l.refused) != 12 {
		t.Fatalf("%d tasks were refused, want 12", len(l.refused))
	}
	d.arm(0, 0, 0, 0)
	before := len(l.accepted)
	workload(t, e, l, 2)
	if len(l.accepted) != before+8 {
		t.Fatalf("%d tasks accepted after the disk had space, want 8", len(l.accepted)-before)
	}
	l.verify(t, e, "after the disk was full")
}

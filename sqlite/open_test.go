package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func execSQL(t *testing.T, path string, stmts ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stmts {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSecondEngineIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	e := open(t, path)
	_, err := Open(t.Context(), path)
	if !errors.Is(err, morningai.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
		t.Fatalf("got %v", err)
	}
	shut(t, e)
	shut(t, open(t, path))
}

func TestForeignAndNewerFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	execSQL(t, foreign, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	shut(t, open(t, newer))
	execSQL(t, newer, "PRAGMA user_version=99")
	for path, want := range map[string]error{foreign: morningai.ErrInvalidInput, garbage: morningai.ErrInvalidInput, newer: morningai.ErrNewerFormat, dir: morningai.ErrInvalidInput} {
		before, _ := os.ReadFile(path) // a folder has no content
		if _, err := Open(t.Context(), path); !errors.Is(err, want) {
			t.Errorf("%s: got %v", filepath.Base(path), err)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s was changed", filepath.Base(path))
		}
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "no", "folder.db")); !errors.Is(err, morningai.ErrStorageFailed) {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "bad.db"), WithRetention(-1, 0)); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("a negative retention: %v", err)
	}
}

// snapshot copies the file and its log as a crash would leave them.
func snapshot(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "tasks.db")
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

type fixture struct {
	t       *testing.T
	e       *Engine
	session morningai.SessionID
}

func (f *fixture) enqueue(n int, edit func(i int, s *morningai.TaskSpec)) []morningai.Task {
	f.t.Helper()
	specs := make([]morningai.TaskSpec, n)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("work", json.RawMessage(fmt.Sprintf(`{"i":%d}`, i)))
		if edit != nil {
			edit(i, &specs[i])
		}
	}
	receipts, err := f.e.Enqueue(f.t.Context(), specs)
	if err != nil {
		f.t.Fatal(err)
	}
	out := make([]morningai.Task, n)
	for i, r := range receipts {
		if r.Err != nil {
			f.t.Fatal(r.Err)
		}
		out[i] = r.Task
	}
	return out
}

func (f *fixture) beat() {
	f.t.Helper()
	if _, err := f.e.Beat(f.t.Context(), morningai.BeatRequest{Session: f.session, Node: "node", Types: []string{"work"}, LeaseTime: time.Minute}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) claim(n int) []morningai.Grant {
	f.t.Helper()
	reply, err := f.e.Claim(f.t.Context(), morningai.ClaimRequest{Session: f.session, Types: []string{"work"}, N: n, Wait: time.Minute})
	if err != nil {
		f.t.Fatal(err)
	}
	return reply.Grants
}

func (f *fixture) finish(g morningai.Grant, o morningai.Outcome) error {
	f.t.Helper()
	v, err := f.e.Finish(f.t.Context(), []morningai.Report{{Lease: g.Lease, Node: "node", Outcome: o, Attempt: g.Task.Attempt}})
	if err != nil {
		f.t.Fatal(err)
	}
	return v[0].Err
}

func (f *fixture) get(id morningai.ID, lingering bool) morningai.Task {
	f.t.Helper()
	got, err := f.e.Get(f.t.Context(), morningai.GetRequest{IDs: []morningai.ID{id}, Lingering: lingering})
	if err != nil {
		f.t.Fatal(err)
	}
	return got[0]
}

func newFixture(t *testing.T, path string, opts ...Option) *fixture {
	f := &fixture{t: t, e: open(t, path, opts...), session: morningai.SessionID{7}}
	f.beat()
	return f
}

// A crash returns what was running to its queue, its attempt recorded, and the
// claim, version and attempt numbers that readers have seen are not used again.
func TestCrashReturnsRunningTasks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	f := newFixture(t, path)
	tasks := f.enqueue(3, nil)
	marked := f.claim(1)[0]
	// Progress is durable, and its commit comes after the claim; the probe's
	// commit, once the clock has run on, writes the claim down.
	for noted := false; !noted; {
		if err := f.e.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.e.mu.Lock()
		noted = f.e.byID[marked.Task.ID].marked
		f.e.mu.Unlock()
	}
	cancel, err := f.e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandCancel, ID: f.claim(1)[0].Task.ID}})
	if err != nil || !cancel[0].Task.CancelRequested {
		t.Fatalf("cancel: %v %+v", err, cancel)
	}
	fresh := f.claim(1)[0]
	crashed := snapshot(t, path)
	if err := f.finish(marked, morningai.OutcomeSucceeded); err != nil {
		t.Fatal(err)
	}
	shut(t, f.e)

	f = newFixture(t, crashed)
	defer func() { shut(t, f.e) }()
	first, second, third := f.get(tasks[0].ID, false), f.get(tasks[1].ID, false), f.get(tasks[2].ID, false)
	if first.State != morningai.StateQueued || first.Attempt != 1 || first.Failures != 0 || first.Version <= marked.Task.Version {
		t.Errorf("the marked task is %+v", first)
	}
	if second.State != morningai.StateCanceled {
		t.Errorf("the task whose cancel was acknowledged is %s", second.State)
	}
	if third.State != morningai.StateQueued || third.Version <= fresh.Task.Version {
		t.Errorf("the task claimed last has version %d after %d", third.Version, fresh.Task.Version)
	}
	h, err := f.e.History(t.Context(), tasks[0].ID)
	if err != nil || len(h.Attempts) != 1 || h.Attempts[0].Outcome != morningai.OutcomeLost || h.Attempts[0].Node != "node" {
		t.Errorf("history %+v, %v", h, err)
	}
	if err := f.finish(marked, morningai.OutcomeSucceeded); !errors.Is(err, morningai.ErrStale) {
		t.Errorf("an outcome from before the crash: %v", err)
	}
	for _, g := range f.claim(2) {
		old := marked
		if g.Task.ID == fresh.Task.ID {
			old = fresh
		}
		if g.Lease.Claim <= old.Lease.Claim || g.Lease.Lease == old.Lease.Lease || g.Task.Version <= old.Task.Version {
			t.Errorf("claim %+v after %+v", g.Lease, old.Lease)
		}
	}
	checkCounts(t, f.e, "after a crash")
}

// A file of a billion tasks must not need a billion numbers in memory: the
// ready order is read from the table bit by bit, and nothing is skipped, handed
// out twice or out of order.
func TestReadyOrderBeyondMemory(t *testing.T) {
	small := func(c *config) { c.readyMax, c.cacheMax = 64, 16 }
	path := filepath.Join(t.TempDir(), "tasks.db")
	f := newFixture(t, path, small)
	var want []morningai.ID
	for range 5 {
		for _, task := range f.enqueue(200, nil) {
			want = append(want, task.ID)
		}
	}
	urgent := f.enqueue(1, func(_ int, s *morningai.TaskSpec) { s.Priority = 0 })[0]
	want = append([]morningai.ID{urgent.ID}, want...)
	var got []morningai.ID
	for len(got) < len(want)/2 {
		for _, g := range f.claim(50) {
			got = append(got, g.Task.ID)
			if err := f.finish(g, morningai.OutcomeSucceeded); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One that comes back keeps its place, also across a restart.
	back := f.claim(1)[0]
	if err := f.finish(back, morningai.OutcomeReleased); err != nil {
		t.Fatal(err)
	}
	shut(t, f.e)
	f = newFixture(t, path, small)
	defer func() { shut(t, f.e) }()
	for len(got) < len(want) {
		for _, g := range f.claim(50) {
			got = append(got, g.Task.ID)
		}
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("task %d of %d was handed out out of order", i, len(want))
		}
	}
	checkCounts(t, f.e, "after the refills")
}

package crashtest

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
	_ "modernc.org/sqlite" // for a look at the file that does not go through the engine
)

var (
	soak     = flag.Bool("soak", os.Getenv("MORNINGAI_SOAK") == "1", "kill 200 times instead of 10")
	seedFlag = flag.Uint64("seed", 0, "play the kills of this seed again; 0: another one each time")
)

func TestMain(m *testing.M) {
	if os.Getenv(childPath) != "" {
		be := child
		if os.Getenv(childHolds) != "" {
			be = holdingChild
		}
		if err := be(); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestCrash(t *testing.T) {
	rounds := 10
	if *soak {
		rounds = 200
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() | 1
	}
	t.Logf("%d kills; to play them again: -seed %d", rounds, seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "tasks.db")
	l := newLedger()
	for round := range rounds {
		l.round = round
		after := 1 + rnd.IntN(2500)
		if rnd.IntN(8) == 0 {
			after = 1 // as soon as it is up
		}
		killOne(t, l, rnd, path, after)
		last := round == rounds-1
		for _, broken := range append(inspect(t, l, path, last || round%20 == 19), l.broken...) {
			t.Errorf("after kill %d: %s", round+1, broken)
		}
		if t.Failed() {
			t.Fatalf("stopped after kill %d of %d, seed %d", round+1, rounds, seed)
		}
	}
	ran, acked, ended := 0, 0, 0
	for _, a := range l.tasks {
		ran += a.ran
		if a.acked {
			acked++
		}
		if a.succeeded || a.failed {
			ended++
		}
	}
	if acked == 0 || ended == 0 {
		t.Error("the children did nothing: nothing was tested")
	}
	settle(t, l, path)
	if !t.Failed() {
		t.Logf("%d tasks acknowledged, %d runs, %d ends acknowledged, 0 lost", acked, ran, ended)
	}
}

// A file that is older than what was acknowledged is a loss, and is told as one.
func TestCrashNoticesALoss(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	dir := t.TempDir()
	path, older := filepath.Join(dir, "tasks.db"), filepath.Join(dir, "older.db")
	l := newLedger()
	for l.round = range 2 {
		killOne(t, l, rnd, path, 400)
		if found := append(inspect(t, l, path, true), l.broken...); len(found) > 0 {
			t.Fatalf("before the loss: %v", found)
		}
		if l.round == 0 { // the engine was closed: this file is whole
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(older, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found := inspect(t, l, older, true); len(found) == 0 {
		t.Error("what the second process had acknowledged is not missed")
	}
}

// killOne starts a child and kills it some moment after it has said so many lines.
func killOne(t *testing.T, l *ledger, rnd *rand.Rand, path string, after int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childPath+"="+path, childSeed+"="+strconv.FormatUint(rnd.Uint64(), 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	jitter := time.Duration(rnd.IntN(3000)) * time.Microsecond
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		killed = true
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
	}
	lines := bufio.NewReader(out)
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("read what the child says: %v", err)
			}
			if line != "" { // torn by the kill: whatever it told was not told
				t.Logf("the last line is torn after %d bytes", len(line))
			}
			break
		}
		if !l.take(strings.TrimSuffix(line, "\n")) {
			t.Errorf("the child says %q", line)
		}
		if n == after {
			<-time.After(jitter) // some moment between two lines
			kill()
		}
	}
	err = cmd.Wait()
	if !killed || complaint.Len() > 0 {
		t.Fatalf("the child ended by itself (%v): %s", err, complaint.String())
	}
}

// inspect opens what the child left behind, and returns what is wrong with it.
func inspect(t *testing.T, l *ledger, path string, whole bool) []string {
	t.Helper()
	ctx := t.Context()
	found := integrity(t, path)
	engine, err := sqlite.Open(ctx, path)
	if err != nil {
		t.Fatalf("open after kill %d: %v", l.round+1, err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	from := l.round - 1
	if whole {
		from = 0
	}
	for ids := range slices.Chunk(l.since(from), 1000) {
		stored, err := engine.Get(ctx, morningai.GetRequest{IDs: ids})
		if err != nil {
			t.Fatalf("get: %v", err)
		}
		found = append(found, l.compare(ids, stored)...)
	}
	if !whole {
		return found
	}
	tasks, stats := countedAndListed(t, engine)
	return append(found, l.strangers(tasks, stats)...)
}

// countedAndListed reads both at a moment at which nothing changes: scheduled
// tasks become due by themselves.
func countedAndListed(t *testing.T, engine morningai.Engine) ([]morningai.Task, morningai.Stats) {
	t.Helper()
	count := func() morningai.Stats {
		stats, err := engine.Stats(t.Context())
		if err != nil {
			t.Fatalf("stats: %v", err)
		}
		return stats
	}
	for stats := count(); ; {
		tasks, after := listAll(t, engine), count()
		if maps.Equal(stats.States, after.States) {
			return tasks, stats
		}
		stats = after
	}
}

func listAll(t *testing.T, engine morningai.Engine) []morningai.Task {
	t.Helper()
	var out []morningai.Task
	for f := (morningai.Filter{Limit: 1000}); ; {
		page, err := engine.List(t.Context(), f)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		out = append(out, page.Tasks...)
		if page.Next == "" {
			return out
		}
		f.Cursor = page.Next
	}
}

// integrity asks SQLite itself, before the engine has touched the file.
func integrity(t *testing.T, path string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatalf("open the file: %v", err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil {
		t.Fatalf("integrity check: %v", err)
	}
	if verdict != "ok" {
		return []string{"the file is corrupt: " + verdict}
	}
	return nil
}

// settle lets a last process, which nobody kills, run what is left.
func settle(t *testing.T, l *ledger, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	engine, err := sqlite.Open(ctx, path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	left := 0
	for _, task := range listAll(t, engine) {
		if !task.State.Terminal() {
			left++
		}
	}
	drained := drain(ctx, t, l, engine, left)
	listed := listAll(t, engine)
	for _, task := range listed {
		if !task.State.Terminal() {
			t.Errorf("%s is left behind as %s", task.ID, task.State)
		}
	}
	stats, err := engine.Stats(ctx)
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	for _, broken := range append(l.strangers(listed, stats), l.broken...) {
		t.Errorf("at the end: %s", broken)
	}
	t.Logf("%d of %d tasks were left to the last process", drained, len(listed))
}

// drain claims and finishes until nothing is left, by the engine's own calls.
func drain(ctx context.Context, t *testing.T, l *ledger, engine morningai.Engine, left int) int {
	t.Helper()
	session := morningai.SessionID{1}
	if _, err := engine.Beat(ctx, morningai.BeatRequest{Session: session, Node: "last", Types: []string{"work"}, Concurrency: 64, LeaseTime: time.Minute}); err != nil {
		t.Fatalf("beat: %v", err)
	}
	l.round++
	for n := 0; n < left; {
		reply, err := engine.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 64, Wait: time.Minute})
		if err != nil {
			t.Fatalf("claim, %d of %d ended: %v", n, left, err)
		}
		var reports []morningai.Report
		for _, g := range reply.Grants {
			l.take(fmt.Sprintf("ran %s %d %s", g.Task.ID, g.Task.Attempt, g.Task.Payload))
			reports = append(reports, morningai.Report{Lease: g.Lease, Node: "last", Outcome: morningai.OutcomeSucceeded, Attempt: g.Task.Attempt,
				StartedAt: g.Task.StartedAt, FinishedAt: time.Now()})
		}
		verdicts, err := engine.Finish(ctx, reports)
		if err != nil {
			t.Fatalf("finish: %v", err)
		}
		for i, v := range verdicts {
			if v.Err != nil {
				t.Errorf("finish: %v", v.Err)
			}
			l.take(fmt.Sprintf("done %s %s", reports[i].Lease.ID, reports[i].Outcome))
		}
		n += len(reports)
	}
	return left
}

// The judge must be able to condemn: each kind of loss, staged in its input, is told.
func TestCrashJudgeNotices(t *testing.T) {
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	told := func(lines ...string) *ledger {
		l := newLedger()
		for _, line := range lines {
			if !l.take(strings.ReplaceAll(line, "ID", id.String())) {
				t.Fatalf("line %q cannot be read", line)
			}
		}
		return l
	}
	task := morningai.Task{ID: id, Payload: []byte(`{"n":1}`), State: morningai.StateQueued}
	with := func(change func(*morningai.Task)) morningai.Task {
		out := task
		change(&out)
		return out
	}
	queued := morningai.Stats{States: map[morningai.State]int64{}}
	for _, s := range morningai.States() {
		queued.States[s] = 0
	}
	queued.States[morningai.StateQueued] = 1
	for _, c := range []struct {
		name   string
		lines  []string
		stored morningai.Task
		listed []morningai.Task
		wrong  bool
	}{
		{"nothing wrong", []string{`tried ID {"n":1}`, `acked ID`}, task, []morningai.Task{task}, false},
		{"an acknowledged task is lost", []string{`tried ID {"n":1}`, `acked ID`}, morningai.Task{}, []morningai.Task{task}, true},
		{"an acknowledged task is not listed", []string{`tried ID {"n":1}`, `acked ID`}, task, nil, true},
		{"a payload has changed", []string{`tried ID {"n":2}`, `acked ID`}, task, []morningai.Task{task}, true},
		{"a success is lost", []string{`tried ID {"n":1}`, `ran ID 1 {"n":1}`, `done ID succeeded`}, task, []morningai.Task{task}, true},
		{"a failure is lost", []string{`tried ID {"n":1}`, `ran ID 1 {"n":1}`, `done ID failed`}, task, []morningai.Task{task}, true},
		{"a finished task runs again", []string{`tried ID {"n":1}`, `ran ID 1 {"n":1}`, `done ID succeeded`, `ran ID 2 {"n":1}`},
			with(func(t *morningai.Task) { t.State = morningai.StateSucceeded }), []morningai.Task{task}, true},
		{"it runs with another payload", []string{`tried ID {"n":1}`, `ran ID 1 {"n":3}`}, task, []morningai.Task{task}, true},
		{"something runs that nobody enqueued", []string{`ran ID 1 {"n":1}`}, task, []morningai.Task{task}, true},
		{"counts have drifted", []string{`tried ID {"n":1}`}, task, []morningai.Task{with(func(t *morningai.Task) { t.State = morningai.StateFailed })}, true},
		{"a task is listed twice", []string{`tried ID {"n":1}`}, task, []morningai.Task{task, task}, true},
	} {
		l := told(c.lines...)
		found := append(l.compare([]morningai.ID{id}, []morningai.Task{c.stored}), l.broken...)
		found = append(found, l.strangers(c.listed, queued)...)
		if (len(found) > 0) != c.wrong {
			t.Errorf("%s: found %v", c.name, found)
		}
	}
}

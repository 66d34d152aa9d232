package chaos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "morningai")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/RC918/morningai/cmd/morningai").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func config(t *testing.T) Config {
	return Config{Program: program, Seed: 1, Duration: time.Second, Keep: filepath.Join(t.TempDir(), "kept")}
}

// TestDrill stages an outage for real: all of it is counted and every promise kept.
func TestDrill(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Scenarios = []string{"killed"}
	steps := 0
	c.Moved = func(string) { steps++ }
	results, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r := results[0]
	if r.Failed() || r.Accepted == 0 || r.Ran != r.Accepted || r.Lost != 0 || r.WrongStatus != 0 || r.NoticedAfter == nil || r.RecoveredAfter == nil || r.Saw == 0 {
		t.Errorf("the result is %+v", r)
	}
	if steps != 5 || r.History != "" {
		t.Errorf("%d steps, history %q", steps, r.History)
	}
}

// TestBrokenPromisesAreTold: a scenario that takes tasks away behind the servers'
// backs is told of, and its history is kept and can be checked again.
func TestBrokenPromisesAreTold(t *testing.T) {
	t.Parallel()
	c := config(t)
	var gone morningai.ID
	theft := scenario{name: "theft", what: "a task is removed as if nobody had accepted it", play: func(ctx context.Context, f *fleet) error {
		spec := morningai.NewTaskSpec("echo", []byte("1"))
		var ok bool
		if gone, ok = f.enqueue(f.nodes[0], spec); !ok {
			return errors.New("it is not accepted")
		}
		c := f.nodes[0].client.Load()
		if _, err := c.Wait(ctx, gone); err != nil {
			return err
		}
		_, err := c.Delete(ctx, gone) // the history knows nothing of it
		return errors.Join(err, wait(ctx, f.config.Duration))
	}}
	r, err := stage(t.Context(), &c, theft)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Failed() || r.Lost+r.WrongStatus != 1 || !strings.Contains(strings.Join(r.Broken, "\n"), gone.String()) {
		t.Errorf("the result is %+v", r)
	}
	file, err := os.Open(r.History)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	broken, counted, ops, err := Replay(file)
	if err != nil || ops == 0 || len(broken) == 0 || broken[0].Task != gone || len(counted) != 1 {
		t.Errorf("the history has %d operations and says %v, %q, %v", ops, broken, counted, err)
	}
}

// TestStagingFails: what cannot be staged is told with the scenario and where the logs
// are, and is no answer of the server that it was asked of.
func TestStagingFails(t *testing.T) {
	t.Parallel()
	c := config(t)
	broken := scenario{name: "broken", what: "nothing can be known", play: func(context.Context, *fleet) error {
		return &morningai.Error{Code: morningai.CodeStatusUnknown, Detail: "it cannot be known"}
	}}
	_, err := run(t.Context(), &c, []scenario{broken})
	if err == nil || morningai.CodeOf(err) == morningai.CodeStatusUnknown || !strings.Contains(err.Error(), "scenario broken cannot be staged: it cannot be known") ||
		!strings.Contains(err.Error(), c.Keep) {
		t.Errorf("it says %v", err)
	}
	if logs, err := filepath.Glob(filepath.Join(c.Keep, "broken-*.log")); err != nil || len(logs) != 4 { // three servers and Redis
		t.Errorf("%d logs are kept, %v", len(logs), err)
	}
}

// TestInterrupted: a drill that is broken off says so, and blames nobody.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := config(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Scenarios = []string{"killed"}
	c.Moved = func(step string) {
		if step == "checks" {
			cancel()
		}
	}
	results, err := Run(ctx, c)
	if err == nil || len(results) != 0 {
		t.Errorf("%d results, %v", len(results), err)
	}
	if _, err := os.Stat(c.Keep); err == nil {
		t.Error("a history is kept")
	}
}

// TestVoid: what proves nothing says so.
func TestVoid(t *testing.T) {
	t.Parallel()
	h := drill.NewHistory(drill.Setup{}, nil)
	f := &fleet{history: h, began: time.Now()}
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	h.Add(drill.Op{Kind: drill.Enqueue, Task: id, Durable: "journal+redis"})
	fault := f.now()
	f.to = time.Now().Add(time.Hour)
	r := Result{}
	h.Add(drill.Op{Kind: drill.Enqueue, Task: id, Durable: "journal+redis"})
	f.measure(&r, fault)
	if r.Saw != 0 {
		t.Errorf("clients saw %d of a fault that there was not", r.Saw)
	}
	h.Add(drill.Op{Kind: drill.Enqueue, Task: id, Durable: "journal"})
	h.Add(drill.Op{Kind: drill.Enqueue, Task: id, Outcome: drill.Unknown})
	f.measure(&r, fault)
	if r.Saw != 2 {
		t.Errorf("clients saw %d operations of a fault, not 2", r.Saw)
	}
}

// TestLate: what took too long is a broken promise on a machine that the drill has for
// itself, and proves nothing on another.
func TestLate(t *testing.T) {
	t.Parallel()
	f := &fleet{}
	f.late(others(&usage{all: 100, busy: 50, own: 20}, &usage{all: 200, busy: 140, own: 100}), "it took %d s", 9)
	if len(f.broken) != 1 || f.broken[0] != "it took 9 s" || f.void != "" {
		t.Errorf("alone: %q, void %q", f.broken, f.void)
	}
	f = &fleet{}
	f.late(others(&usage{all: 100, busy: 50, own: 20}, &usage{all: 200, busy: 140, own: 50}), "it took %d s", 9)
	if len(f.broken) != 0 || f.void != "other programs used 60 % of this machine, and it took 9 s" {
		t.Errorf("with others: %q, void %q", f.broken, f.void)
	}
	if n := ticks(os.Getpid()); n < 0 {
		t.Errorf("this process has run for %d ticks", n)
	}
}

func TestUnknownScenario(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Scenarios = []string{"nothing"}
	if _, err := Run(t.Context(), c); !errors.Is(err, morningai.ErrInvalidInput) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it says %v", err)
	}
	seen := map[string]bool{}
	for _, n := range Names() {
		if n[1] == "" || seen[n[0]] {
			t.Errorf("scenario %v has no sentence, or is there twice", n)
		}
		seen[n[0]] = true
	}
}

func TestReplayOfSomethingElse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{}\n", "{\"Nodes\":[{}]}\nnothing\n"} {
		if _, _, _, err := Replay(bytes.NewBufferString(text)); err == nil {
			t.Errorf("%q is taken for a history", text)
		}
	}
}

func TestRedisIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	c := config(t)
	_, err := Run(t.Context(), c)
	if morningai.CodeOf(err) != CodeNoRedis || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Errorf("it says %v", err)
	}
}

// TestSlowIsNotDown: more than one outage a minute, or a refusal, breaks a promise
// of scenarios in which Redis is only slow.
func TestSlowIsNotDown(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		slow   bool
		lasts  time.Duration
		r      Result
		broken int
	}{
		{true, 10 * time.Second, Result{Incidents: 1}, 0},
		{true, 10 * time.Second, Result{Incidents: 2}, 1},
		{true, 70 * time.Second, Result{Incidents: 2}, 0},
		{true, 3 * time.Minute, Result{Incidents: 3}, 0},
		{true, 3 * time.Minute, Result{Incidents: 4}, 1},
		{true, 10 * time.Second, Result{Refused: 1}, 1},
		{true, 10 * time.Second, Result{Unsure: 1}, 1},
		{false, 10 * time.Second, Result{Incidents: 9, Refused: 9}, 0},
	} {
		f := &fleet{scenario: scenario{slow: c.slow}, from: now, to: now.Add(c.lasts)}
		if f.slowIsNotDown(&c.r); len(f.broken) != c.broken {
			t.Errorf("of %+v it says %v", c, f.broken)
		}
	}
}

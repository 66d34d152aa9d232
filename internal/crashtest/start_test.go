package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

// holdingChild starts the one task of its file, says so, says when the next
// commit has been acknowledged, and never finishes.
func holdingChild() error {
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, os.Getenv(childPath))
	if err != nil {
		return err
	}
	told := &teller{}
	app := morningai.New(engine)
	failed := make(chan error, 1)
	app.HandleFunc("hold", func(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
		told.say("ran %s %d", task.ID, task.Attempt)
		later := morningai.NewTaskSpec("later", nil)
		later.RunAt = time.Now().Add(time.Hour)
		if _, err := engine.Enqueue(ctx, []morningai.TaskSpec{later}); err != nil {
			failed <- err
		}
		told.say("committed")
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if err := app.Start(ctx); err != nil {
		return err
	}
	return <-failed
}

// Whoever sees a task start twice finds the reason on record: an attempt that
// was under way when a commit was made is in the file, however young it was.
func TestCrashLeavesATraceOfAStart(t *testing.T) {
	const kills = 5
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "tasks.db")
	spec := morningai.NewTaskSpec("hold", nil)
	var err error
	if spec.ID, err = morningai.NewID(); err != nil {
		t.Fatal(err)
	}
	withEngine(t, path, func(engine *sqlite.Engine) {
		if _, err := engine.Enqueue(ctx, []morningai.TaskSpec{spec}); err != nil {
			t.Fatal(err)
		}
	})
	for kill := 1; kill <= kills; kill++ {
		killHolding(t, path, fmt.Sprintf("ran %s %d", spec.ID, kill))
		withEngine(t, path, func(engine *sqlite.Engine) {
			h, err := engine.History(ctx, spec.ID)
			if err != nil || len(h.Attempts) != kill {
				t.Fatalf("after start and kill number %d: %d attempts are on record (%v)", kill, len(h.Attempts), err)
			}
			if last := h.Attempts[kill-1]; last.Outcome != morningai.OutcomeLost || last.Number != kill || last.Node == "" || last.StartedAt.IsZero() {
				t.Errorf("the attempt is on record as %+v", last)
			}
			got, err := engine.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{spec.ID}})
			if err != nil || got[0].State != morningai.StateQueued || got[0].Failures != 0 {
				t.Errorf("the task is %+v (%v)", got, err)
			}
		})
	}
}

func withEngine(t *testing.T, path string, do func(*sqlite.Engine)) {
	t.Helper()
	engine, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	do(engine)
}

// killHolding runs a child and kills it as soon as a commit has followed the
// start that it has to tell of.
func killHolding(t *testing.T, path, want string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childPath+"="+path, childHolds+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := []string{}
	for len(said) < 2 && lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
	_ = cmd.Wait() // it was killed
	if len(said) != 2 || said[0] != want || said[1] != "committed" {
		t.Fatalf("the child says %q, %s", said, complaint.String())
	}
}

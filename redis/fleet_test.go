//go:build unix

package redis_test

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// TestNodeFrozen stops a node for three lease times: its task moves to another
// node, and what it reports when it goes on is refused.
func TestNodeFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	frozen := spawn(t, server.URL(), "frozen")
	producer := morningai.NewClient(open(t, server.URL()))
	task, err := producer.Enqueue(t.Context(), morningai.NewTaskSpec("hold", nil))
	if err != nil {
		t.Fatal(err)
	}
	running := func() bool {
		got, err := producer.Get(t.Context(), task.ID)
		return err == nil && got.State == morningai.StateRunning
	}
	redistest.Until(t, "the task to start", running)
	h := &held{free: make(chan struct{})}
	node(t, server.URL(), "other", h)
	frozen.signal(syscall.SIGSTOP)
	pass(3 * shortLease)
	redistest.Until(t, "the task to start elsewhere", func() bool { return h.starts.Load() == 1 })
	frozen.signal(syscall.SIGCONT)
	// Awake again, it learns that it has lost the task: the handler's context
	// ends, it returns a result, and that is late.
	pass(2 * shortLease)
	close(h.free)
	done, err := producer.Wait(t.Context(), task.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done.State != morningai.StateSucceeded || string(done.Result) != `"other"` || done.Attempt != 2 || h.starts.Load() != 1 {
		t.Fatalf("the task is %s with result %s after attempt %d", done.State, done.Result, done.Attempt)
	}
	history, err := producer.History(t.Context(), task.ID)
	if err != nil || len(history.Attempts) != 2 || history.Attempts[0].Outcome != morningai.OutcomeLost || history.Attempts[0].Node != "frozen" {
		t.Fatalf("attempts %+v, %v", history.Attempts, err)
	}
}

// TestNodeKilled kills one of three nodes under load: what it ran runs again
// elsewhere, everything else is not disturbed, and nothing is lost.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	victim := spawn(t, server.URL(), "victim")
	spawn(t, server.URL(), "second")
	spawn(t, server.URL(), "third")
	producer := morningai.NewClient(open(t, server.URL()))
	const tasks = 600
	list := make([]morningai.TaskSpec, tasks)
	for i := range list {
		list[i] = morningai.NewTaskSpec("nap", json.RawMessage(`{}`))
	}
	receipts, err := producer.EnqueueBatch(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the victim to run tasks", func() bool {
		s, err := producer.Stats(t.Context())
		if err != nil {
			return false
		}
		for _, m := range s.Sessions {
			if m.Node == "victim" && m.Running > 3 {
				return true
			}
		}
		return false
	})
	victim.signal(syscall.SIGKILL)
	killed := time.Now()
	lost, slowest := 0, time.Duration(0)
	for _, r := range receipts {
		done, err := producer.Wait(t.Context(), r.Task.ID)
		if err != nil || done.State != morningai.StateSucceeded || done.Failures != 0 {
			t.Fatalf("a task is %+v, %v", done, err)
		}
		if done.Attempt == 1 {
			continue
		}
		history, err := producer.History(t.Context(), r.Task.ID)
		if err != nil {
			t.Fatal(err)
		}
		last := history.Attempts[len(history.Attempts)-1]
		if first := history.Attempts[0]; first.Node != "victim" || first.Outcome != morningai.OutcomeLost || last.Node == "victim" {
			t.Fatalf("a task that ran twice has the attempts %+v", history.Attempts)
		}
		lost++
		slowest = max(slowest, last.StartedAt.Sub(killed))
	}
	if lost == 0 {
		t.Fatal("the victim ran nothing: the test has not tested")
	}
	t.Logf("%d tasks moved, the last started %v after the kill, with a lease of %v", lost, slowest, shortLease)
}

// TestCancelElsewhere cancels a task that runs on another node.
func TestCancelElsewhere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	spawn(t, server.URL(), "runner")
	producer := morningai.NewClient(open(t, server.URL()))
	task, err := producer.Enqueue(t.Context(), morningai.NewTaskSpec("hold", nil))
	if err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the task to start", func() bool {
		got, err := producer.Get(t.Context(), task.ID)
		return err == nil && got.State == morningai.StateRunning
	})
	asked := time.Now()
	if _, err := producer.Cancel(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done, err := producer.Wait(ctx, task.ID)
	if err != nil || done.State != morningai.StateCanceled {
		t.Fatalf("the task is %+v, %v", done, err)
	}
	t.Logf("the handler elsewhere was reached in %v", time.Since(asked))
}

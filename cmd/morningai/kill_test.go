package main

import (
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// A server that is killed with -9 in the middle of a thousand acknowledged
// tasks runs all of them after its restart, none that had ended again, and a
// kill does not count as a failure.
func TestKillInTheMiddle(t *testing.T) {
	t.Parallel()
	const all = 1_000
	data := t.TempDir()
	first := serve(t, data, "--concurrency", "8")
	c := connect(t, first)
	specs := make([]morningai.TaskSpec, all)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("sleep", []byte(`{"ms":5}`))
	}
	accepted, err := c.EnqueueBatch(t.Context(), specs)
	if err != nil || len(accepted) != all {
		t.Fatalf("%d accepted: %v", len(accepted), err)
	}
	// The tasks run in order, so that some have ended and some have not once
	// the one in the middle has.
	if _, err := c.Wait(t.Context(), accepted[all/2].ID); err != nil {
		t.Fatal(err)
	}
	before := succeeded(t, c)
	first.kill()
	if len(before) == 0 || len(before) == all {
		t.Fatalf("%d had ended at the kill, so that it was not in the middle", len(before))
	}

	c = connect(t, serve(t, data, "--concurrency", "8"))
	for _, task := range accepted {
		end, err := c.Wait(t.Context(), task.ID)
		if err != nil {
			t.Fatalf("%s: %v", task.ID, err)
		}
		if end.State != morningai.StateSucceeded || end.Failures != 0 {
			t.Errorf("%s: %s after %d failures", end.ID, end.State, end.Failures)
		}
		if was, ended := before[end.ID]; ended && was != end.Attempt {
			t.Errorf("%s had ended after attempt %d and ran again", end.ID, was)
		}
	}
}

func connect(t *testing.T, d *daemon) *client.Client {
	t.Helper()
	c, err := client.New(d.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// succeeded returns the attempt of each task that has succeeded.
func succeeded(t *testing.T, c *client.Client) map[morningai.ID]int {
	t.Helper()
	out := map[morningai.ID]int{}
	filter := morningai.Filter{State: morningai.StateSucceeded, Limit: 1000}
	for {
		page, err := c.List(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range page.Tasks {
			out[task.ID] = task.Attempt
		}
		if filter.Cursor = page.Next; filter.Cursor == "" {
			return out
		}
	}
}

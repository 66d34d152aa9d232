package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// The metrics of a server count what its own handlers have done.
func TestServerCountsItsAttempts(t *testing.T) {
	r := run(t, config(t))
	defer r.end(t)
	c, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	task, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("echo", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	const want = `morningai_attempts_total{outcome="succeeded",ran="here"} 1`
	for text := ""; !strings.Contains(text, want); { // what was read a moment ago is given out
		resp, err := http.Get(r.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v", resp.StatusCode, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		text = string(body)
		if !strings.Contains(text, `ran="here"`) {
			t.Fatalf("no attempts of the server's own in\n%s", text)
		}
		for _, name := range []string{"morningai_task_start_latency_seconds", "morningai_task_run_seconds"} {
			if strings.Contains(text, want) && !strings.Contains(text, name+"_count{") {
				t.Errorf("no %s in\n%s", name, text)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

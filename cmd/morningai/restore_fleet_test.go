//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
)

// tally counts the runs of tasks at their receiving end.
type tally struct {
	*httptest.Server
	mu   sync.Mutex
	runs map[string]int
}

func newTally(t *testing.T) *tally {
	t.Helper()
	c := &tally{runs: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.runs[r.Header.Get("Morningai-Task-Id")]++
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *tally) of(id morningai.ID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[id.String()]
}

// post enqueues tasks that count their runs.
func (c *tally) post(t *testing.T, to *client.Client, n int) []morningai.ID {
	t.Helper()
	specs := make([]morningai.TaskSpec, n)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("http", []byte(`{"url":"`+c.URL+`"}`))
	}
	tasks, err := to.EnqueueBatch(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]morningai.ID, n)
	for i := range tasks {
		ids[i] = tasks[i].ID
	}
	return ids
}

// once checks that tasks have succeeded, in one run each.
func (c *tally) once(t *testing.T, at *client.Client, ids []morningai.ID) {
	t.Helper()
	for _, id := range ids {
		task, err := at.Wait(t.Context(), id)
		if err != nil || task.State != morningai.StateSucceeded || c.of(id) != 1 {
			t.Errorf("%s: %+v %v, %d runs", id, task, err, c.of(id))
		}
	}
}

// A backup from before tasks ended is put into a Redis that has lost everything: the
// servers, which know from their journals what has ended since, work on with it and run
// nothing again, whether they are stopped for it or running.
func TestRestoreUnderAFleet(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(map[bool]string{false: "stopped", true: "running"}[running], func(t *testing.T) {
			t.Parallel()
			redis, web := redistest.Start(t), newTally(t)
			folders := []string{t.TempDir(), t.TempDir()}
			file := filepath.Join(t.TempDir(), "old.backup")
			start := func() (all []*daemon) {
				for i, folder := range folders {
					all = append(all, serve(t, folder, "--redis", redis.URL(), "--node", []string{"one", "two"}[i], "--lease", "2s", "--concurrency", "4", "--http-allow", "127.0.0.0/8"))
				}
				return all
			}
			stop := func(all []*daemon) {
				for _, d := range all {
					_ = d.cmd.Process.Signal(syscall.SIGTERM) // it is waited for
				}
				for _, d := range all {
					if code := d.wait(); code != 0 {
						t.Errorf("a server ended with %d", code)
					}
				}
			}
			api := serve(t, folders[0], "--redis", redis.URL(), "--node", "one", "--lease", "2s", "--role", "api")
			ids := web.post(t, connect(t, api), 40)
			perform(t, 0, "backup", "create", file, "--redis", redis.URL())
			stop([]*daemon{api})
			fleet := start()
			web.once(t, connect(t, fleet[0]), ids)
			if !running {
				stop(fleet)
			}
			redis.Kill()
			redis.Restart() // without any file
			perform(t, 0, "backup", "restore", file, "--merge", "--redis", redis.URL())
			if !running {
				fleet = start()
			}
			one, two := connect(t, fleet[0]), connect(t, fleet[1])
			for _, c := range []*client.Client{one, two} {
				redistest.Until(t, "the fleet to notice, and to rely on Redis again", func() bool {
					h, err := c.Health(t.Context())
					list, listErr := c.Incidents(t.Context())
					return err == nil && string(h.Status) == "ok" && listErr == nil && len(list) > 0 && !list[0].EndedAt.IsZero()
				})
			}
			later := web.post(t, two, 4)
			web.once(t, two, later)
			web.once(t, two, ids)
			redistest.Until(t, "nothing to be left", func() bool {
				s, err := two.Stats(t.Context())
				return err == nil && s.States[morningai.StateSucceeded] == int64(len(ids)+len(later))
			})
			web.once(t, one, ids)
			stop(fleet)
		})
	}
}

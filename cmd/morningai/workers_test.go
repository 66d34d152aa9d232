//go:build unix

package main

import (
	"errors"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
)

// A server with workers over HTTP is killed and started again: what a worker goes
// on with stays its own, what it has finished is recorded, and what it never
// speaks of again runs elsewhere.
func TestWorkersOutliveTheirServer(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	data := t.TempDir()
	args := []string{"--redis", redis.URL(), "--no-journal", "--node", "web", "--role", "api", "--lease", "3s"}
	first := serve(t, data, args...)
	c := connect(t, first)
	var ids []morningai.ID
	for range 3 {
		task, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("remote", []byte("1")))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, task.ID)
	}
	got, err := c.Claim(t.Context(), client.ClaimRequest{Worker: "w", Types: []string{"remote"}, Limit: 3, Wait: time.Minute})
	if err != nil || len(got.Claims) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	first.kill()
	c = connect(t, serve(t, data, args...))
	kept, finished, lost := got.Claims[0], got.Claims[1], got.Claims[2]
	if state, err := c.FinishClaim(t.Context(), finished.ID, client.ClaimEnd{Result: []byte("2")}); err != nil || state != morningai.StateSucceeded {
		t.Fatalf("%s, %v", state, err)
	}
	for until := time.Now().Add(7 * time.Second); time.Now().Before(until); { // more than two leases
		out, err := c.Claim(t.Context(), client.ClaimRequest{Worker: "w", Types: []string{"other"}, Wait: 200 * time.Millisecond, Holding: []string{kept.ID}})
		if err != nil || len(out.Lost) != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if task, err := c.Get(t.Context(), kept.Task.ID); err != nil || task.State != morningai.StateRunning || task.Attempt != 1 {
		t.Fatalf("%+v, %v", task, err)
	}
	if state, err := c.FinishClaim(t.Context(), kept.ID, client.ClaimEnd{Result: []byte("1")}); err != nil || state != morningai.StateSucceeded {
		t.Fatalf("%s, %v", state, err)
	}
	redistest.Until(t, "the claim that nobody speaks of to go back", func() bool {
		task, err := c.Get(t.Context(), lost.Task.ID)
		if err != nil {
			t.Fatal(err)
		}
		return task.State == morningai.StateQueued && task.Failures == 0
	})
	if _, err := c.FinishClaim(t.Context(), lost.ID, client.ClaimEnd{}); !errors.Is(err, morningai.ErrStale) {
		t.Errorf("%v", err)
	}
	for _, id := range ids[:2] {
		if a := attemptsOf(t, c, id); len(a) != 1 || a[0].Outcome != morningai.OutcomeSucceeded || a[0].Node != "w" {
			t.Errorf("%+v", a)
		}
	}
}

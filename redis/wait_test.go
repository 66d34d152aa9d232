//go:build unix

package redis_test

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// TestPutOff: a task that a node puts off starts again when it is due, although no
// token tells the node's waiting claim, which looks by itself only in an hour.
func TestPutOff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithBlock(time.Hour))
	session := join(t, e, 4)
	for _, outcome := range []morningai.Outcome{morningai.OutcomeRetry, morningai.OutcomeSnoozed} {
		enqueue(t, e, specs(2))
		held := claim(t, e, session, 2, 0)
		granted := make(chan []morningai.Grant, 1)
		go func() { granted <- claim(t, e, session, 1, time.Hour) }()
		redistest.Until(t, "the claim to wait", func() bool { return server.Info("clients", "blocked_clients") == 1 })
		for i, wait := range []time.Duration{30 * time.Minute, 50 * time.Millisecond} { // the second is due first
			report := morningai.Report{Lease: held[i].Lease, Outcome: outcome, Attempt: held[i].Task.Attempt,
				StartedAt: held[i].Task.StartedAt, FinishedAt: time.Now(), RunAt: time.Now().Add(wait)}
			if outcome == morningai.OutcomeRetry {
				report.Error = &morningai.TaskError{Code: "boom", Message: "did not work"}
			}
			got, err := e.Finish(t.Context(), []morningai.Report{report})
			if err != nil || got[0].Err != nil || got[0].State != morningai.StateScheduled {
				t.Fatalf("%s: %+v, %v", outcome, got, err)
			}
		}
		got := <-granted
		if len(got) != 1 || got[0].Task.ID != held[1].Task.ID {
			t.Fatalf("%s: the claim brought %v", outcome, got)
		}
	}
}

// TestSettingsInBeat: a beat says another text once a queue's settings have changed,
// and the same one as long as they have not.
func TestSettingsInBeat(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e, other := open(t, server.URL()), open(t, server.URL())
	session := join(t, e, 1)
	texts := map[string]bool{}
	for n, change := range []morningai.QueueChange{{}, {Paused: new(true)}, {Paused: new(false)}, {Concurrency: new(3)}} {
		if n > 0 {
			if _, err := other.SetQueue(t.Context(), "mail", change); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			reply := beat(t, e, morningai.BeatRequest{Session: session})
			if texts[reply.Settings] = true; reply.Settings == "" || len(texts) != n+1 {
				t.Fatalf("after %d changes %d texts, the last %q", n, len(texts), reply.Settings)
			}
		}
		enqueue(t, e, specs(1)) // is none of the settings
	}
}

// TestWakesWhoServesTheQueue: a task wakes a node that serves its queue, however many
// wait that serve others of the same type, and so does one that goes back to its queue,
// becomes due or is let through by a setting. None of them looks by itself.
func TestWakesWhoServesTheQueue(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithBlock(time.Hour))
	granted := make(chan []morningai.Grant)
	wait := func(session morningai.SessionID, queues ...string) {
		req := morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1, Wait: time.Hour}
		for _, q := range queues {
			req.Queues = append(req.Queues, morningai.QueueShare{Name: q, Share: 1})
		}
		go func() {
			got, err := e.Claim(t.Context(), req)
			if err == nil {
				granted <- got.Grants
			}
		}()
	}
	for n, queues := range map[byte][]string{1: {"a"}, 2: {"a", "b"}, 3: {"c"}, 4: {"a"}, 5: {"b"}} {
		wait(join(t, e, n), queues...)
	}
	redistest.Until(t, "the claims to wait", func() bool { return server.Info("clients", "blocked_clients") == 5 })
	brought := func(queue string, what string) morningai.Grant {
		t.Helper()
		got := <-granted
		if len(got) != 1 || got[0].Task.Queue != queue {
			t.Fatalf("%s: %+v", what, got)
		}
		return got[0]
	}
	add := func(queue string, in time.Duration) {
		t.Helper()
		list := specs(1)
		list[0].Queue = queue
		if in > 0 {
			list[0].RunAt = time.Now().Add(in)
		}
		enqueue(t, e, list)
	}
	add("c", 0)
	held := brought("c", "a task in a queue that one node serves")
	wait(join(t, e, 3), "c")
	other := open(t, server.URL())
	back := morningai.Report{Lease: held.Lease, Outcome: morningai.OutcomeReleased, Attempt: 1, StartedAt: held.Task.StartedAt, FinishedAt: time.Now()}
	if got, err := other.Finish(t.Context(), []morningai.Report{back}); err != nil || got[0].Err != nil {
		t.Fatal(err, got)
	}
	brought("c", "a task that goes back")
	if _, err := other.SetQueue(t.Context(), "d", morningai.QueueChange{Paused: new(true)}); err != nil {
		t.Fatal(err)
	}
	add("d", 0)
	wait(join(t, e, 6), "d")
	wait(join(t, e, 7)) // serves all
	redistest.Until(t, "the claims to wait", func() bool { return server.Info("clients", "blocked_clients") >= 6 })
	if _, err := other.SetQueue(t.Context(), "d", morningai.QueueChange{Paused: new(false)}); err != nil {
		t.Fatal(err)
	}
	brought("d", "a task whose queue is not paused any more")
	add("d", 0)
	brought("d", "a task that either of two may take")
	add("c", 50*time.Millisecond)
	wait(join(t, e, 3), "c")
	brought("c", "a task that becomes due")
}

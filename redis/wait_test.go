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

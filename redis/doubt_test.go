package redis_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// seenAll is a Through beyond every claim: their callers have given them up.
const seenAll = 1 << 30

// wantBack beats, as a worker does that holds nothing, until the task is handed
// out again.
func wantBack(t *testing.T, e *redis.Engine, session morningai.SessionID) morningai.Grant {
	t.Helper()
	var got []morningai.Grant
	redistest.Until(t, "the task to be handed out", func() bool {
		if _, err := e.Beat(t.Context(), morningai.BeatRequest{Session: session, LeaseTime: 15 * time.Second, Through: seenAll}); err != nil {
			return false
		}
		reply, err := e.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
		if err == nil {
			got = reply.Grants
		}
		return len(got) == 1
	})
	return got[0]
}

// TestClaimWithoutAnswer: a claim that was applied, whose answer nobody got, is
// taken back by the beats that follow, and so is one whose caller has left.
func TestClaimWithoutAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr(), redis.WithTimeout(2*time.Second))
	session := join(t, e, 1)
	req := morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1}
	if got := claim(t, e, session, 1, 0); len(got) != 0 { // Redis knows the script from here on
		t.Fatalf("grants %+v", got)
	}
	for round := range 5 {
		enqueue(t, e, specs(1))
		proxy.LoseReplies(2) // of the claim and of its repeat
		if got, err := e.Claim(t.Context(), req); !errors.Is(err, redis.ErrUnavailable) {
			t.Fatalf("round %d: %+v, %v", round, got, err)
		}
		again := wantBack(t, e, session)
		if again.Task.Attempt != 2 || again.Lease.Claim != 2 {
			t.Fatalf("round %d: it comes back as attempt %d, claim %d", round, again.Task.Attempt, again.Lease.Claim)
		}
		finish(t, e, again)

		enqueue(t, e, specs(1))
		ctx, cancel := context.WithCancel(t.Context())
		proxy.Hold()
		left := make(chan error, 1)
		go func() {
			_, err := e.Claim(ctx, req)
			left <- err
		}()
		<-time.After(20 * time.Millisecond) // it is under way, or about to be: both must hold
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: a claim whose context ended says %v", round, err)
		}
		proxy.Release()
		finish(t, e, wantBack(t, e, session))
	}
	if e.Losses() != 0 {
		t.Fatalf("%d losses", e.Losses())
	}
}

// TestClaimArrivesLate: a claim is given up, the connection it was sent on too,
// the session beats over another, and only then does Redis get to read it. It
// must not be applied behind the session's back.
func TestClaimArrivesLate(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr(), redis.WithTimeout(500*time.Millisecond))
	session := join(t, e, 1)
	for round := range 4 {
		enqueue(t, e, specs(1))
		proxy.HoldAll()
		if got, err := e.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1}); !errors.Is(err, redis.ErrUnavailable) {
			t.Fatalf("round %d: %+v, %v", round, got, err)
		}
		proxy.Hold() // what was sent stays on its way, new connections work
		for range 3 {
			redistest.Until(t, "a beat over a new connection", func() bool {
				_, err := e.Beat(t.Context(), morningai.BeatRequest{Session: session, LeaseTime: 15 * time.Second, Through: seenAll})
				return err == nil
			})
		}
		proxy.Release()
		finish(t, e, wantBack(t, e, session))
	}
	if e.Losses() != 0 {
		t.Fatalf("%d losses", e.Losses())
	}
}

// TestFinishWithoutAnswer: whoever does not know whether an outcome was recorded
// repeats it and is told that it is.
func TestFinishWithoutAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr(), redis.WithTimeout(2*time.Second))
	session := join(t, e, 1)
	for _, outcome := range []morningai.Outcome{morningai.OutcomeSucceeded, morningai.OutcomeFailed, morningai.OutcomeRetry, morningai.OutcomeCanceled} {
		list := specs(1)
		enqueue(t, e, list)
		g := claim(t, e, session, 1, 0)[0]
		report := morningai.Report{Lease: g.Lease, Outcome: outcome, Attempt: 1, StartedAt: time.Now(), FinishedAt: time.Now()}
		switch outcome {
		case morningai.OutcomeSucceeded:
			report.Result = []byte(`1`)
		case morningai.OutcomeRetry:
			report.RunAt = time.Now().Add(time.Hour)
			fallthrough
		default:
			report.Error = &morningai.TaskError{Code: "boom", Message: "m"}
		}
		proxy.LoseReplies(2 * 3) // of every try and of its repeat
		if got, err := e.Finish(t.Context(), []morningai.Report{report}); err == nil {
			t.Fatalf("%s: an outcome without an answer says %+v", outcome, got)
		}
		redistest.Until(t, "answers to come through", func() bool { return e.Probe(t.Context()) == nil })
		was, err := e.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{list[0].ID}})
		if err != nil || was[0].State == morningai.StateRunning {
			t.Fatalf("%s: it was not applied, so that nothing is tested: %+v, %v", outcome, was, err)
		}
		for range 2 {
			got, err := e.Finish(t.Context(), []morningai.Report{report})
			if err != nil || got[0].Err != nil || got[0].State != was[0].State {
				t.Fatalf("%s: the repeat says %+v, %v", outcome, got, err)
			}
		}
		now, err := e.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{list[0].ID}})
		if err != nil || now[0].Version != was[0].Version || now[0].Failures != was[0].Failures {
			t.Fatalf("%s: the repeat changed %+v to %+v, %v", outcome, was, now, err)
		}
		other := report
		other.Outcome, other.Result, other.Error = morningai.OutcomeSnoozed, nil, nil
		if got, err := e.Finish(t.Context(), []morningai.Report{other}); err != nil || !errors.Is(got[0].Err, morningai.ErrStale) {
			t.Fatalf("%s: another outcome of the same claim says %+v, %v", outcome, got, err)
		}
	}
	if e.Losses() != 0 {
		t.Fatalf("%d losses", e.Losses())
	}
}

// TestClaimLeftOnItsWay: a claim whose caller leaves while its answer is on the way
// brings the grant all the same, so that nothing counts as an attempt that nobody made.
func TestClaimLeftOnItsWay(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr())
	session := join(t, e, 1)
	claim(t, e, session, 1, 0) // Redis knows the script from here on
	applied := make(chan struct{}, 1)
	stop := server.Monitor(func(_ string, words []string) {
		if len(words) > 3 && slices.Contains(words, "work") {
			select {
			case applied <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	brought := 0
	for range 10 { // one that was too slow comes back by a beat
		enqueue(t, e, specs(1))
		for len(applied) > 0 {
			<-applied
		}
		proxy.Delay(10 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-applied
			cancel()
		}()
		reply, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1, Wait: time.Minute})
		cancel()
		proxy.Delay(0)
		if err != nil {
			finish(t, e, wantBack(t, e, session))
			continue
		}
		if len(reply.Grants) != 1 || reply.Grants[0].Task.Attempt != 1 {
			t.Fatalf("%+v", reply.Grants)
		}
		brought++
		finish(t, e, reply.Grants[0])
	}
	if brought == 0 {
		t.Error("no claim has brought what was on its way")
	}
}

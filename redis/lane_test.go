package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

func open(tb testing.TB, url string, opts ...redis.Option) *redis.Engine {
	tb.Helper()
	e, err := redis.Open(context.Background(), url, append([]redis.Option{redis.WithTimeout(20 * time.Second)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return e
}

func specs(n int) []morningai.TaskSpec {
	out := make([]morningai.TaskSpec, n)
	for i := range out {
		out[i] = morningai.NewTaskSpec("work", fmt.Appendf(nil, `{"n":%d}`, i))
		id, err := morningai.NewID()
		if err != nil {
			panic(err)
		}
		out[i].ID = id
	}
	return out
}

func enqueue(tb testing.TB, e *redis.Engine, list []morningai.TaskSpec) {
	tb.Helper()
	got, err := e.Enqueue(tb.Context(), list)
	if err != nil {
		tb.Fatal(err)
	}
	for i, r := range got {
		if r.Err != nil || r.Existing {
			tb.Fatalf("receipt %d: existing %v, %v", i, r.Existing, r.Err)
		}
	}
}

func join(tb testing.TB, e *redis.Engine, n byte) morningai.SessionID {
	tb.Helper()
	s := morningai.SessionID{n, 1}
	beat(tb, e, morningai.BeatRequest{Session: s})
	return s
}

func beat(tb testing.TB, e *redis.Engine, req morningai.BeatRequest) morningai.BeatReply {
	tb.Helper()
	req.Node, req.Types, req.LeaseTime, req.Concurrency = fmt.Sprint("node", req.Session[0]), []string{"work"}, 15*time.Second, 10
	reply, err := e.Beat(tb.Context(), req)
	if err != nil {
		tb.Fatal(err)
	}
	return reply
}

func claim(tb testing.TB, e *redis.Engine, s morningai.SessionID, n int, wait time.Duration) []morningai.Grant {
	tb.Helper()
	reply, err := e.Claim(tb.Context(), morningai.ClaimRequest{Session: s, Types: []string{"work"}, N: n, Wait: wait})
	if err != nil {
		tb.Fatal(err)
	}
	return reply.Grants
}

func finish(tb testing.TB, e *redis.Engine, grants ...morningai.Grant) []morningai.Verdict {
	tb.Helper()
	var reports []morningai.Report
	for _, g := range grants {
		reports = append(reports, morningai.Report{Lease: g.Lease, Node: "n", Outcome: morningai.OutcomeSucceeded, Result: []byte(`1`),
			Attempt: g.Task.Attempt, StartedAt: g.Task.StartedAt, FinishedAt: time.Now()})
	}
	got, err := e.Finish(tb.Context(), reports)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// TestLostReplies breaks the connection after Redis has done the work and
// before its answer arrives, again and again. Every call is sent again under
// its number: nothing is done twice, and nothing is stuck.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr())
	session := join(t, e, 1)
	for round := range 10 {
		list := specs(20)
		proxy.LoseReplies(1)
		enqueue(t, e, list) // would report them as known if the first call did not count
		proxy.LoseReplies(1)
		grants := claim(t, e, session, 20, 0)
		if len(grants) != 20 {
			t.Fatalf("round %d: the claim whose reply was lost brought %d grants, want 20", round, len(grants))
		}
		for i, g := range grants {
			if g.Task.ID != list[i].ID || g.Task.Attempt != 1 || g.Lease.Claim != 1 {
				t.Fatalf("round %d: grant %d is %+v", round, i, g)
			}
		}
		proxy.LoseReplies(1)
		for _, v := range finish(t, e, grants...) {
			if v.Err != nil || v.State != morningai.StateSucceeded {
				t.Fatalf("round %d: verdict %+v", round, v)
			}
		}
	}
	if proxy.Lost() < 30 {
		t.Fatalf("only %d replies were lost: the test has not tested", proxy.Lost())
	}
	if n := e.Losses(); n != 0 {
		t.Fatalf("lost replies were taken for %d losses of data", n)
	}
	stats, err := e.Stats(t.Context())
	if err != nil || stats.States[morningai.StateSucceeded] != 200 {
		t.Fatalf("counts %v, %v", stats.States, err)
	}
}

// TestScriptFlush empties the script cache between calls.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	for range 3 {
		server.Do("SCRIPT", "FLUSH")
		enqueue(t, e, specs(3))
		server.Do("SCRIPT", "FLUSH")
		grants := claim(t, e, session, 3, 0)
		server.Do("SCRIPT", "FLUSH")
		if got := finish(t, e, grants...); len(got) != 3 || got[0].Err != nil {
			t.Fatalf("verdicts %+v", got)
		}
	}
}

// TestLossIsNoticed empties Redis behind the engine's back: the next numbered
// call finds a number that does not follow, and the engine goes on.
func TestLossIsNoticed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	enqueue(t, e, specs(5))
	known := e.Capabilities().Data
	server.Do("FLUSHALL")
	enqueue(t, e, specs(4))
	if e.Losses() == 0 {
		t.Fatal("writes that were acknowledged are gone, and nobody noticed")
	}
	session := join(t, e, 1)
	if _, err := e.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 9, Known: known}); !errors.Is(err, redis.ErrUnavailable) {
		t.Fatalf("a claim of somebody who does not know yet that data were lost is answered with %v", err)
	}
	if got := claim(t, e, session, 9, 0); len(got) != 4 {
		t.Fatalf("%d grants after the loss, want the 4 accepted since", len(got))
	}
}

// TestWaitingClaimsAndALoss: a claim that began before a loss was noticed, on whatever
// lane, hands out nothing after it.
func TestWaitingClaimsAndALoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	enqueue(t, e, specs(1))
	claim(t, e, session, 1, 0)
	const waiting = 6 // more than there are lanes
	errs := make(chan error, waiting)
	for i := range waiting {
		queue := []morningai.QueueShare{{Name: fmt.Sprint("q", i)}}
		go func() {
			_, err := e.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: []string{"work"}, Queues: queue, N: 1, Wait: time.Minute})
			errs <- err
		}()
	}
	redistest.Until(t, "the claims to wait", func() bool { return e.Waiting() == waiting })
	server.Do("FLUSHALL")
	beat(t, e, morningai.BeatRequest{Session: session})
	if e.Losses() != 1 {
		t.Fatalf("%d losses", e.Losses())
	}
	list := specs(waiting)
	for i := range list {
		list[i].Queue = fmt.Sprint("q", i)
	}
	enqueue(t, e, list)
	for range waiting {
		if err := <-errs; !errors.Is(err, redis.ErrUnavailable) {
			t.Errorf("a claim from before the loss is answered with %v", err)
		}
	}
	if got := claim(t, e, session, 2*waiting, 0); len(got) != waiting {
		t.Errorf("%d grants after the loss, want %d", len(got), waiting)
	}
}

// TestIdleLossIsNoticed: an engine that only beats compares its marks.
func TestIdleLossIsNoticed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	enqueue(t, e, specs(1))
	server.Do("FLUSHALL")
	beat(t, e, morningai.BeatRequest{Session: session})
	if e.Losses() == 0 {
		t.Fatal("a beat did not notice that acknowledged writes are gone")
	}
}

// TestStolenToken lets a node take the wake token and die: the task starts all
// the same, because a waiting node looks again by itself.
func TestStolenToken(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithBlock(300*time.Millisecond))
	session := join(t, e, 1)
	stolen := make(chan string, 1)
	go func() {
		reply, _ := server.Try("BLPOP", "mai:{0}:w:work", "20")
		stolen <- reply
	}()
	redistest.Until(t, "the thief to wait", func() bool { return server.Info("clients", "blocked_clients") == 1 })
	granted := make(chan []morningai.Grant, 1)
	go func() { granted <- claim(t, e, session, 1, time.Minute) }()
	redistest.Until(t, "the node to wait", func() bool { return server.Info("clients", "blocked_clients") == 2 })
	enqueue(t, e, specs(1))
	if got := <-stolen; !strings.HasSuffix(got, "1") {
		t.Fatalf("the thief got %q", got)
	}
	if got := <-granted; len(got) != 1 {
		t.Fatalf("%d grants", len(got))
	}
}

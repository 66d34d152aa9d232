package redis_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

const poison = `"ends every connection"`

// wantOnly checks that the one in the middle is refused as what it is, and that
// all others are not.
func wantOnly(t *testing.T, what string, bad int, errs []error) {
	t.Helper()
	for i, err := range errs {
		switch {
		case i != bad && err != nil:
			t.Errorf("%s: item %d of %d, which is fine, is answered with %v", what, i, len(errs), err)
		case i == bad && (!errors.Is(err, redis.ErrWrongRedis) || errors.Is(err, redis.ErrUnavailable)):
			t.Errorf("%s: the poison is answered with %v", what, err)
		}
	}
}

// TestPoisonStandsAlone sends items that end every connection they are sent on,
// in the middle of others, by every way that takes payloads.
func TestPoisonStandsAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr())
	session := join(t, e, 1)
	proxy.BreakOn(poison)
	const n, bad = 41, 17

	// Others enqueue all the time, also in bulk, and must not notice.
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	var sent atomic.Int64
	for _, size := range []int{3, 150, 200} {
		others.Go(func() {
			for ctx.Err() == nil {
				got, err := e.Enqueue(context.Background(), specs(size))
				if err != nil {
					t.Errorf("another producer: %v", err)
					return
				}
				for _, r := range got {
					if r.Err != nil {
						t.Errorf("another producer: %v", r.Err)
					}
					sent.Add(1)
				}
			}
		})
	}
	for round := range 3 {
		list := specs(n)
		list[bad].Payload = []byte(poison)
		got, err := e.Enqueue(t.Context(), list)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		errs := make([]error, n)
		for i, r := range got {
			errs[i] = r.Err
			if i != bad && (r.Existing || r.Task.ID != list[i].ID) {
				t.Errorf("receipt %d: %+v", i, r)
			}
		}
		wantOnly(t, "enqueue", bad, errs)
	}
	stop()
	others.Wait()
	want := int(sent.Load()) + 3*(n-1)
	stats, err := e.Stats(t.Context())
	if err != nil || stats.States[morningai.StateQueued] != int64(want) {
		t.Fatalf("%d tasks are queued, want %d (%v)", stats.States[morningai.StateQueued], want, err)
	}

	grants := claim(t, e, session, n, 0)
	var points []morningai.Checkpoint
	var reports []morningai.Report
	for i, g := range grants {
		p := morningai.Checkpoint{Lease: g.Lease, Kind: morningai.CheckpointProgress, Data: []byte(`1`)}
		r := morningai.Report{Lease: g.Lease, Outcome: morningai.OutcomeSucceeded, Result: []byte(`1`), Attempt: 1}
		if i == bad {
			p.Data, r.Result = []byte(poison), []byte(poison)
		}
		points, reports = append(points, p), append(reports, r)
	}
	errs, err := e.Checkpoint(t.Context(), points)
	if err != nil {
		t.Fatal(err)
	}
	wantOnly(t, "checkpoint", bad, errs)
	verdicts, err := e.Finish(t.Context(), reports)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		errs[i] = v.Err
	}
	wantOnly(t, "finish", bad, errs)

	page, err := e.Export(t.Context(), "", n)
	if err != nil {
		t.Fatal(err)
	}
	page.Records[bad].Task.Payload = []byte(poison)
	other := open(t, "redis://"+proxy.Addr()+"?prefix=other")
	results, err := other.Import(t.Context(), page.Records)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		errs[i] = r.Err
		if i != bad && r.Status != morningai.ImportAdded {
			t.Errorf("import %d: %+v", i, r)
		}
	}
	wantOnly(t, "import", bad, errs)
	if e.Losses() != 0 || other.Losses() != 0 {
		t.Fatalf("losses %d, %d", e.Losses(), other.Losses())
	}
}

// TestTooLargeForRedis: the server's own limit, as its operator may set it.
func TestTooLargeForRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	server.Do("CONFIG", "SET", "proto-max-bulk-len", "1048576")
	list := specs(9)
	list[4].Payload = append(append([]byte(`"`), bytes.Repeat([]byte("x"), morningai.MaxPayload-2)...), '"')
	for range 3 {
		got, err := e.Enqueue(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		errs := make([]error, len(got))
		for i, r := range got {
			errs[i] = r.Err
		}
		wantOnly(t, "enqueue", 4, errs)
	}
	server.Do("CONFIG", "SET", "proto-max-bulk-len", "10485760")
	if got, err := e.Enqueue(t.Context(), list[4:5]); err != nil || got[0].Err != nil || got[0].Existing {
		t.Fatalf("with room for it: %+v, %v", got, err)
	}
}

// TestOutageIsNoPoison: a server that is gone, or drops every connection, makes
// nothing look like poison.
func TestOutageIsNoPoison(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	e := open(t, "redis://"+proxy.Addr(), redis.WithTimeout(2*time.Second))
	enqueue(t, e, specs(1))
	proxy.LoseReplies(1 << 20)
	list := specs(3)
	if got, err := e.Enqueue(t.Context(), list); !errors.Is(err, redis.ErrUnavailable) {
		t.Fatalf("with every answer lost: %+v, %v", got, err)
	}
	if got, err := e.Enqueue(t.Context(), list[:1]); !errors.Is(err, redis.ErrUnavailable) {
		t.Fatalf("one task with every answer lost: %+v, %v", got, err)
	}
	server.Kill()
	if got, err := e.Enqueue(t.Context(), specs(3)); !errors.Is(err, redis.ErrUnavailable) || !strings.Contains(err.Error(), "connect") {
		t.Fatalf("without Redis: %+v, %v", got, err)
	}
}

package redis_test

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// TestForeignKeys: what others keep in the same Redis is never touched.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	others := map[string][]string{
		"rq:queue:default": {"RPUSH", "rq:queue:default", "a", "b"}, "asynq:{default}:t:1": {"HSET", "asynq:{default}:t:1", "msg", "x"},
		"mail": {"SET", "mail", "hello"}, "mai:x": {"SET", "mai:x", "1"}, "{0}": {"SADD", "{0}", "m"},
	}
	for _, c := range others {
		server.Do(c...)
	}
	dump := func() (out []string) {
		for k := range others {
			out = append(out, k+server.Do("DUMP", k))
		}
		slices.Sort(out)
		return out
	}
	before := dump()
	e := open(t, server.URL())
	session := join(t, e, 1)
	enqueue(t, e, specs(300))
	finish(t, e, claim(t, e, session, 300, 0)...)
	if err := e.SweepAll(); err != nil {
		t.Fatal(err)
	}
	if after := dump(); !slices.Equal(after, before) {
		t.Fatal("keys of others have changed")
	}
	for key := range strings.SplitSeq(server.Do("KEYS", "*"), "\n") {
		if _, theirs := others[key]; !theirs && !strings.HasPrefix(key, "mai:{0}:") {
			t.Errorf("a key of the engine without its prefix: %q", key)
		}
	}
}

// TestMemoryReturns: when all work is done and its retention is over, Redis
// holds what it held before, but for names and a few counters.
func TestMemoryReturns(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var offset atomic.Int64
	e := open(t, server.URL(), redis.WithClock(func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }), redis.WithSweep(time.Hour))
	session := join(t, e, 1)
	round := func(n int) {
		enqueue(t, e, specs(n))
		for n > 0 {
			grants := claim(t, e, session, 500, 0)
			if len(grants) == 0 {
				t.Fatalf("nothing to claim with %d left", n)
			}
			for _, v := range finish(t, e, grants...) {
				if v.Err != nil {
					t.Fatal(v.Err)
				}
			}
			n -= len(grants)
		}
		for _, after := range []time.Duration{25 * time.Hour, 10 * time.Minute, 10 * time.Minute} { // the retention; the age of events
			offset.Add(int64(after))
			if err := e.SweepAll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	round(300)
	// The server's own figure varies with buffers and the cache of scripts, by
	// less than a tenth of what these tasks take.
	const slack = 800 << 10
	before := server.Info("memory", "used_memory")
	round(20_000)
	if peak := server.Info("memory", "used_memory_peak"); peak < before+5*slack {
		t.Fatalf("the tasks took only %d bytes: the test has not tested", peak-before)
	}
	redistest.Until(t, "the memory to return", func() bool { return server.Info("memory", "used_memory") <= before+slack })
	for key := range strings.SplitSeq(server.Do("KEYS", "*"), "\n") {
		switch strings.TrimPrefix(key, "mai:{0}:") {
		case "meta", "lanes", "names", "sessions", "counts", "events", "w:work", "w:work@default":
		default:
			if n := size(server, key); n != "1" {
				t.Errorf("%s of %s are left", n, key)
			}
		}
	}
	bytes, sizes := 0, map[string]int{}
	for key := range strings.SplitSeq(server.Do("KEYS", "*"), "\n") {
		n, err := strconv.Atoi(server.Do("MEMORY", "USAGE", key))
		if err != nil {
			t.Fatal(err)
		}
		sizes[key] = n
		bytes += n
	}
	if bytes > 64<<10 { // tables of some keys shrink only with the next deletion
		t.Errorf("the keys that stay take %d bytes: %v", bytes, sizes)
	}
}

// TestNothingIsLeft: tasks that took every turn there is leave nothing behind
// when their time is over, nor do the sessions that ran them.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var offset atomic.Int64
	e := open(t, server.URL(), redis.WithClock(func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }), redis.WithSweep(time.Hour))
	ctx := t.Context()
	one, two := join(t, e, 1), join(t, e, 2)
	list := specs(60)
	for i := range list {
		list[i].UniqueKey = "k" + strconv.Itoa(i)
		if i >= 50 {
			list[i].RunAt = time.Now().Add(time.Hour)
		}
	}
	enqueue(t, e, list)
	grants := append(claim(t, e, one, 30, 0), claim(t, e, two, 10, 0)...)
	if len(grants) != 40 {
		t.Fatalf("%d grants", len(grants))
	}
	var points []morningai.Checkpoint
	var reports []morningai.Report
	var cancels []morningai.Command
	for i, g := range grants {
		for n := range 3 {
			points = append(points,
				morningai.Checkpoint{Lease: g.Lease, Kind: morningai.CheckpointStep, Name: "s" + strconv.Itoa(n), Data: []byte(`1`)},
				morningai.Checkpoint{Lease: g.Lease, Kind: morningai.CheckpointProgress, Data: []byte(`2`)},
				morningai.Checkpoint{Lease: g.Lease, Kind: morningai.CheckpointLog, Line: morningai.LogLine{At: time.Now(), Message: "m"}})
		}
		if i%10 == 0 || i >= 30 {
			cancels = append(cancels, morningai.Command{Kind: morningai.CommandCancel, ID: g.Task.ID})
		}
		if i < 30 { // what the other session holds ends with it
			r := morningai.Report{Lease: g.Lease, Node: "n", Attempt: g.Task.Attempt, StartedAt: g.Task.StartedAt, FinishedAt: time.Now()}
			switch i % 3 {
			case 0:
				r.Outcome, r.Result = morningai.OutcomeSucceeded, []byte(`1`)
			case 1:
				r.Outcome, r.Error = morningai.OutcomeFailed, &morningai.TaskError{Code: "x", Message: "y"}
			case 2:
				r.Outcome, r.Error, r.RunAt = morningai.OutcomeRetry, &morningai.TaskError{Code: "x", Message: "y"}, time.Now().Add(time.Hour)
			}
			reports = append(reports, r)
		}
	}
	if _, err := e.Checkpoint(ctx, points); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Command(ctx, cancels); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finish(ctx, reports); err != nil {
		t.Fatal(err)
	}
	beat(t, e, morningai.BeatRequest{Session: two, Leaving: true, Holding: []morningai.Lease{grants[30].Lease, grants[31].Lease}})
	if _, err := e.Command(ctx, cancels); err != nil { // the session is gone, what it held waits for another
		t.Fatal(err)
	}
	var rest []morningai.Command
	for i, s := range list {
		kind := morningai.CommandCancel
		if i%2 == 0 {
			kind = morningai.CommandDelete
		}
		rest = append(rest, morningai.Command{Kind: kind, ID: s.ID})
	}
	if _, err := e.Command(ctx, rest); err != nil {
		t.Fatal(err)
	}
	offset.Add(int64(time.Minute))
	claim(t, e, one, 1, 0) // finds that nobody answers for what was held
	beat(t, e, morningai.BeatRequest{Session: one, Leaving: true})
	stats, err := e.Stats(ctx)
	if err != nil || stats.States[morningai.StateQueued]+stats.States[morningai.StateRunning]+stats.States[morningai.StateScheduled] != 0 {
		t.Fatalf("not all have ended: %v, %v", stats.States, err)
	}
	for range 30 {
		offset.Add(int64(8 * time.Hour))
		if err := e.SweepAll(); err != nil {
			t.Fatal(err)
		}
	}
	for key := range strings.SplitSeq(server.Do("KEYS", "*"), "\n") {
		switch strings.TrimPrefix(key, "mai:{0}:") {
		case "meta", "lanes", "names", "counts", "events", "w:work", "w:work@default":
		case "sessions": // which data they are, and no session
			if left := strings.Fields(server.Do("HKEYS", key)); slices.ContainsFunc(left, func(f string) bool { return f != "*" && f != "w" }) {
				t.Errorf("of the sessions %q is left", left)
			}
		default:
			if n := size(server, key); n != "1" {
				t.Errorf("%s of %q are left", n, key)
			}
		}
	}
}

// size is how many fields or members a key has; one is its witness.
func size(server *redistest.Server, key string) string {
	if server.Do("TYPE", key) == "zset" {
		return server.Do("ZCARD", key)
	}
	return server.Do("HLEN", key)
}

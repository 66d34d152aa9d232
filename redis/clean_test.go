package redis_test

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	bytes := 0
	for key := range strings.SplitSeq(server.Do("KEYS", "*"), "\n") {
		switch strings.TrimPrefix(key, "mai:{0}:") {
		case "meta", "lanes", "names", "sessions", "counts", "flow", "events", "w:work":
		default:
			t.Errorf("%s is left", key)
		}
		n, err := strconv.Atoi(server.Do("MEMORY", "USAGE", key))
		if err != nil {
			t.Fatal(err)
		}
		bytes += n
	}
	if bytes > 16<<10 {
		t.Errorf("the keys that stay take %d bytes", bytes)
	}
}

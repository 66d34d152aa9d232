package outagetest

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/drill"
)

// evicts has somebody else fill the memory of Redis, which evicts what nobody has used
// for longest, until keys of the servers are among that. It returns which.
func (f *fleet) evicts() (gone []string) {
	f.t.Helper()
	const most = 400 // of 256 KiB
	had := strings.Fields(f.redis.Do("KEYS", "mai:{0}:*"))
	had = slices.DeleteFunc(had, func(key string) bool { // lists of tokens come and go
		name := strings.TrimPrefix(key, "mai:{0}:")
		return strings.Contains(name, ":")
	})
	f.redis.Do("CONFIG", "SET", "maxmemory", strconv.FormatInt(f.redis.Info("memory", "used_memory")+(2<<20), 10))
	for i := 0; i < most && len(gone) == 0; i++ {
		if _, err := f.redis.Try("SET", "filler:"+strconv.Itoa(i), strings.Repeat("x", 256<<10)); err != nil {
			continue // nothing is left to be evicted for a moment
		}
		if f.redis.Info("stats", "evicted_keys") == 0 {
			continue
		}
		gone = slices.Clone(had)
		for _, key := range strings.Fields(f.redis.Do("KEYS", "mai:{0}:*")) {
			gone = slices.DeleteFunc(gone, func(k string) bool { return k == key })
		}
	}
	f.redis.Do("CONFIG", "SET", "maxmemory", "0")
	return gone
}

// Redis evicts keys of the servers under a fleet at work, where its operator has
// allowed that: they are missed and written anew, nothing acknowledged is lost, and
// nothing runs twice.
func TestKeysEvictedInUse(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "64")
	f.history.Setup.Starts = true
	a, b := f.startNode("a", "--redis-allow-eviction"), f.startNode("b", "--redis-allow-eviction")
	there := f.furnish(a, b)
	tr := f.traffic(60, f.allCounted, f.nodes...)
	long := f.running(b, 3, "long")
	generation := func() string { return f.redis.Do("HGET", "mai:{0}:sessions", "*") }
	was := generation()
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	var gone []string
	f.loses(lossy{"evicted", func(f *fleet) { gone = f.evicts() }})
	if len(gone) == 0 {
		t.Fatal("no key of the servers was evicted")
	}
	t.Logf("evicted: %v", gone)
	until(t, patience, "that to be missed", func() bool { now := generation(); return now != "" && now != was })
	for _, n := range f.nodes {
		until(t, patience, n.name+" to rely on Redis again", func() bool { return f.health(n).Status == "ok" })
	}
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	f.endsOnce(tr, long, there)
}

package outagetest

import (
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/drill"
)

// deletes removes a key of Redis, and waits until the servers have noticed and rely
// on Redis again.
func (f *fleet) deletes(key string) {
	f.t.Helper()
	generation := func() string { return f.redis.Do("HGET", "mai:{0}:sessions", "*") }
	was := generation()
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	f.loses(lossy{key + " deleted", func(f *fleet) { f.redis.Do("DEL", "mai:{0}:"+key) }})
	until(f.t, patience, key+" to be missed", func() bool { now := generation(); return now != "" && now != was })
	for _, n := range f.nodes {
		until(f.t, patience, n.name+" to rely on Redis again", func() bool { return f.health(n).Status == "ok" })
	}
	f.history.Add(drill.Op{Kind: drill.RedisUp})
}

// Somebody deletes keys of Redis under a fleet at work, one after the other: nothing
// acknowledged is lost, what has ended stays ended, nothing runs twice, and nobody is
// shown an older state than before.
func TestKeysDeletedInUse(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"tasks sessions queues", "chunks specs grants"} {
		t.Run(keys, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			f.history.Setup.Starts = true
			a, b := f.startNode("a"), f.startNode("b")
			there := f.furnish(a, b)
			tr := f.traffic(60, f.allCounted, f.nodes...)
			long := f.running(b, 3, "long")
			for _, key := range strings.Fields(keys) {
				f.deletes(key)
			}
			f.endsOnce(tr, long, there)
		})
	}
}

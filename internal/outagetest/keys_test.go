package outagetest

import (
	"testing"
	"time"
)

// Somebody deletes single keys under a fleet at work, one after the other, or an
// eviction does: each is missed, what it said is written anew, nothing acknowledged
// is lost and nothing is stuck or runs twice.
func TestSingleKeysAreDeleted(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{
		{"ready", "chunks", "unique", "sessions", "names", "tasks"},
		{"bits", "counts", "due", "grants", "meta", "specs"},
		{"waiting", "cells", "index", "purge", "extra", "queues"},
	} {
		t.Run(keys[0], func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			f.history.Setup.Starts = true
			a, b := f.startNode("a"), f.startNode("b")
			there := f.furnish(a, b)
			tr := f.traffic(40, f.allCounted, f.nodes...)
			long := f.running(b, 5, "long")
			rest(time.Second)
			for _, key := range keys {
				f.loses(lossy{key, func(f *fleet) {
					if n := f.redis.Do("DEL", "mai:{0}:"+key); n != "1" {
						t.Errorf("there is no key %s to delete", key)
					}
				}})
				rest(2 * time.Second)
			}
			made := tr.stop()
			f.callee.open("long")
			f.settle(there.standing()...)
			at := f.everyStatusAgrees()
			f.succeededOnce(at, append(made, long...))
			f.allAccepted(made)
			f.stillThere(there)
			if s := f.sums(); s.Lost+s.Repeated+s.MaybeRepeated+s.SetAside != 0 {
				t.Errorf("every task ran once, and the incidents say %+v", s)
			}
		})
	}
}

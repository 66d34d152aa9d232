package outagetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redistest"
)

// promoted waits until the sentinels name another primary than the first one.
func promoted(t *testing.T, g *redistest.Group) {
	t.Helper()
	old := strings.Split(g.Primary.Addr(), ":")
	until(t, patience, "a replica to be promoted", func() bool {
		return !slices.ContainsFunc(g.Sentinels, func(s *redistest.Server) bool {
			at := strings.Fields(s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"))
			return len(at) != 2 || at[1] == old[1]
		})
	})
}

// A primary is frozen until a replica takes its place, and then goes on as if it
// still were the primary. Nothing that was acknowledged is lost, and what ran
// twice is named.
func TestFailoverWithTheOldPrimaryReleased(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.history.Setup.Starts = true
	g := redistest.StartGroup(t, "--appendonly", "yes", "--appendfsync", "no")
	for _, name := range []string{"a", "b", "c"} {
		f.startNode(name, "--redis", g.URL())
	}
	tr := f.traffic(60, f.allCounted, f.nodes...)
	long := f.running(f.nodes[0], 3, "long")
	rest(time.Second)
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	lost := f.history.Begin(drill.Op{Kind: drill.RedisLost})
	split := f.history.Begin(drill.Op{Kind: drill.Split})
	g.Primary.Freeze()
	promoted(t, g)
	g.Primary.Thaw()
	until(t, patience, "the old primary to follow the new one", func() bool {
		text, err := g.Primary.Try("INFO", "replication") // sentinels end the connections of whom they demote
		return err == nil && strings.Contains(text, "role:slave") && strings.Contains(text, "master_link_status:up")
	})
	split.Return(nil)
	lost.Return(nil)
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	rest(2 * time.Second)
	made := append(tr.stop(), long...)
	f.callee.open("long")
	f.settle()
	f.everyStatusAgrees()
	f.repeatsAreNamed(made)
	if s := f.sums(); s.Lost+s.SetAside != 0 {
		t.Errorf("nothing was lost, and the incidents say %+v", s)
	}
}

// repeatsAreNamed compares the runs that were counted from outside with those that
// the incidents call repeated, or say may have been.
func (f *fleet) repeatsAreNamed(receipts []receipt) {
	f.t.Helper()
	var named []string
	for _, n := range f.nodes {
		for _, i := range f.incidents(n) {
			named = append(append(named, i.RepeatedIDs...), i.MaybeRepeatedIDs...)
		}
	}
	var twice, never []morningai.ID
	for _, r := range receipts {
		switch runs := len(f.callee.of(r.id)); {
		case r.task.ID.IsZero(): // it was not acknowledged
		case runs == 0:
			never = append(never, r.id)
		case runs > 1:
			twice = append(twice, r.id)
		}
	}
	f.t.Logf("of %d tasks %d ran more than once, the incidents name %d", len(receipts), len(twice), len(named))
	for _, id := range twice {
		if !slices.Contains(named, id.String()) {
			f.t.Errorf("task %s ran more than once, and no incident names it", id)
		}
	}
	if len(never) > 0 {
		f.t.Errorf("%d acknowledged tasks never ran, %s is one", len(never), never[0])
	}
}

package outagetest

import (
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/drill"
)

// gone is a Redis that has nothing on disk.
var gone = older{"empty", withoutDisk, func(*fleet) func() error { return func() error { return nil } }}

// togetherBack takes Redis back to before something was done, while no server runs.
func (f *fleet) togetherBack(o older, end func(n *node), do func()) {
	f.t.Helper()
	restore := o.begin(f)
	do()
	lost := f.history.Begin(drill.Op{Kind: drill.RedisLost})
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	for _, n := range f.nodes {
		end(n)
	}
	_, _ = f.redis.Try("SHUTDOWN", "NOSAVE") // the connection ends without a reply
	f.redis.Kill()
	if err := restore(); err != nil {
		f.t.Fatal(err)
	}
	f.redis.Restart()
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	lost.Return(nil)
	for _, n := range f.nodes {
		f.again(n)
	}
}

// Redis comes back with less while no server runs, which therefore cannot miss
// anything of what it has just written: the servers know when they start.
func TestRedisGoesBackWhileNobodyRuns(t *testing.T) {
	t.Parallel()
	ends := map[string]func(f *fleet, n *node){
		"stopped": func(f *fleet, n *node) {
			if code := n.stop(); code != 0 {
				f.t.Errorf("%s ends with %d", n.name, code)
			}
		},
		"killed": func(f *fleet, n *node) { f.kill(n) },
	}
	for _, o := range []older{restored, truncated, gone} {
		for how, end := range ends {
			t.Run(how+", "+o.name, func(t *testing.T) {
				t.Parallel()
				f := startFleet(t, o.args...)
				a, b := f.startNode("a"), f.startNode("b")
				f.acquainted()
				var made []receipt
				do := func(n int) {
					for i := range n {
						made = append(made, f.must(f.nodes[i%2], f.counted(f.callee.atOnce())))
					}
					f.settle()
				}
				do(10)
				var there *furniture
				f.togetherBack(o, func(n *node) { end(f, n) }, func() {
					do(20)
					there = f.furnish(a, b)
				})
				f.settle(there.standing()...)
				f.succeededOnce(f.everyStatusAgrees(), made)
				f.stillThere(there)
				for _, n := range f.nodes {
					if all := f.incidents(n); len(all) == 0 || !strings.Contains(all[0].Cause, "lost data") {
						t.Errorf("%s reports %+v", n.name, all)
					}
				}
				if s := f.sums(); s.Lost+s.Repeated+s.MaybeRepeated+s.SetAside != 0 || s.Replayed == 0 {
					t.Errorf("every task ran once, and the incidents say %+v", s)
				}
			})
		}
	}
}

package resilient

import (
	"testing"
	"time"

	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/sim"
)

type simulation struct {
	name        string
	faults      sim.Faults
	usual, soak int // seeds
	// known seeds break the promise with this number of the list in package
	// drill: what the engine does not hold yet. They are here to be mended.
	known map[uint64]int
}

// simulations are what a fleet of real cores has to live through, in virtual
// time; see package sim.
var simulations = []simulation{
	{"no faults", sim.Faults{}, 300, 10_000, nil},
	{"lost answers", sim.Faults{Drops: true}, 300, 10_000, nil},
	{"crashes", sim.Faults{Crashes: true}, 300, 15_000, nil},
	{"outages", sim.Faults{Outages: true}, 500, 25_000, map[uint64]int{632: 6, 9700: 9, 18757: 6}},
	{"outages and crashes", sim.Faults{Outages: true, Drops: true, Crashes: true}, 400, 25_000, nil},
	{"everything", sim.Faults{Outages: true, Drops: true, Crashes: true, Disks: true}, 300, 15_000, nil},
	{"losses", sim.Faults{Outages: true, Losses: true}, 200, 15_000, map[uint64]int{2093: 6}},
	{"losses and crashes", sim.Faults{Outages: true, Crashes: true, Losses: true}, 150, 15_000, map[uint64]int{2093: 6}},
}

// drainRate is how many entries a second a node delivers at least.
const drainRate = 50

func simConfig(f sim.Faults) sim.Config {
	return sim.Config{Open: openSim, Faults: f, Limits: func(lease time.Duration) drill.Limits {
		limits := drill.DefaultLimits(lease, drainRate)
		limits.StartWithin += 30 * time.Second // the only slot of a queue may have two of the longest handlers
		limits.EnqueueP99 = 0                  // of a handful of calls it would be the slowest, which the maximum bounds
		return limits
	}}
}

// A fleet keeps its promises whatever happens to it, seed by seed.
func TestSimulation(t *testing.T) {
	for _, s := range simulations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			first, n := sim.Range(t, s.usual, s.soak)
			steps := sim.Seeds(t, simConfig(s.faults), first, n, s.known)
			t.Logf("%d seeds, %d steps", n, steps)
		})
	}
}

// The core does the same again: it uses no clock, no randomness of its own and
// no order of a map.
func TestSimulationReplays(t *testing.T) {
	for _, s := range simulations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 20; seed++ {
				cfg := simConfig(s.faults)
				if a, b := sim.Run(cfg, seed), sim.Tell(cfg, seed); a.Digest != b.Digest {
					t.Errorf("seed %d does not replay", seed)
				}
			}
		})
	}
}

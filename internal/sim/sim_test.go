package sim

import (
	"bytes"
	"slices"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// A fleet of plain nodes keeps its promises while nothing is lost for good, if
// it makes none about outages.
func TestPlainFleet(t *testing.T) {
	for name, f := range map[string]Faults{
		"no faults": {}, "crashes": {Crashes: true}, "outages": {Outages: true}, "outages and crashes": {Outages: true, Crashes: true},
	} {
		t.Run(name, func(t *testing.T) {
			first, n := Range(t, 150, 10_000)
			t.Logf("%d steps", Seeds(t, Config{Open: openPlain, NoJournal: true, Faults: f}, first, n, nil))
		})
	}
}

// The same fleet fails as soon as more is expected of it: that it accepts tasks
// in an outage, and that it survives a loss.
func TestPlainFleetBreaksPromises(t *testing.T) {
	for name, c := range map[string]struct {
		cfg        Config
		invariants []int
		most       int // seeds until the first that fails
	}{
		"an outage is no reason to refuse": {Config{Open: openPlain, Faults: Faults{Outages: true}}, []int{19}, 20},
		"nothing is lost":                  {Config{Open: openPlain, NoJournal: true, Faults: Faults{Outages: true, Losses: true}}, []int{6, 7, 16}, 30},
		"commands outlive a loss":          {Config{Open: openPlain, NoJournal: true, Faults: Faults{Outages: true, Losses: true}}, []int{16}, 30},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); ; seed++ {
				r := Run(c.cfg, seed)
				if slices.ContainsFunc(r.Broken, func(v drill.Violation) bool { return slices.Contains(c.invariants, v.Invariant) }) {
					return
				}
				if int(seed) == c.most {
					t.Fatalf("none of %d seeds shows it", seed)
				}
			}
		})
	}
}

// The seeds must do what the checks are about.
func TestSeedsDoEverything(t *testing.T) {
	seen := map[drill.Kind]int{}
	codes := map[morningai.Code]int{}
	for seed := uint64(1); seed <= 60; seed++ {
		r := Run(Config{Open: openPlain, NoJournal: true, Faults: Faults{Outages: true, Crashes: true, Disks: true, Drops: true}}, seed)
		for op := range r.History.Ops() {
			seen[op.Kind]++
			codes[op.Code]++
		}
	}
	for _, k := range []drill.Kind{
		drill.Enqueue, drill.Read, drill.List, drill.Cancel, drill.Retry, drill.Run, drill.Delete, drill.Pause, drill.Resume, drill.Set,
		drill.Grant, drill.Start, drill.End, drill.Finish, drill.Reap, drill.Observe, drill.Applied,
		drill.Crash, drill.Restart, drill.RedisDown, drill.RedisUp, drill.Cut, drill.Mended, drill.DiskFull, drill.DiskSpace, drill.DiskFailed,
	} {
		if seen[k] < 5 {
			t.Errorf("%s happens %d times in 60 seeds", k, seen[k])
		}
	}
	for _, c := range []morningai.Code{morningai.CodeConflict, morningai.CodeNotFound, morningai.CodeWrongState, morningai.CodeUnavailable} {
		if codes[c] < 5 {
			t.Errorf("%s is answered %d times in 60 seeds", c, codes[c])
		}
	}
}

// A seed happens the same way every time, told or not.
func TestSeedsReplay(t *testing.T) {
	cfg := Config{Open: openPlain, NoJournal: true, Faults: Faults{Outages: true, Drops: true, Crashes: true, Disks: true, Losses: true}}
	text := func(r *Result) string {
		var b bytes.Buffer
		if err := r.History.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	digests := map[uint64]bool{}
	for seed := uint64(1); seed <= 40; seed++ {
		first, again, told := Run(cfg, seed), Run(cfg, seed), Tell(cfg, seed)
		if first.Digest != again.Digest || first.Digest != told.Digest || text(first) != text(again) || text(first) != text(told) {
			t.Fatalf("seed %d does not replay", seed)
		}
		if len(told.Lines) == 0 || len(first.Lines) > 0 {
			t.Fatalf("seed %d has a story of %d lines when told, and of %d when not", seed, len(told.Lines), len(first.Lines))
		}
		digests[first.Digest] = true
	}
	if len(digests) != 40 {
		t.Errorf("40 seeds have only %d stories", len(digests))
	}
}

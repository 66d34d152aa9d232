package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMeasures runs every measure on every system, briefly: it is about the
// counting, not about speed.
func TestMeasures(t *testing.T) {
	for _, c := range contenders(onSQLite) {
		for _, m := range compared(onSQLite) {
			t.Run(c.name+"/"+m, func(t *testing.T) {
				j := job{Store: onSQLite, System: c.name, Measure: m, Path: filepath.Join(t.TempDir(), "tasks.db"), Seconds: 0.05, Tasks: 50, Rate: 200}
				out, err := measure(t.Context(), j)
				if err != nil {
					t.Fatal(err)
				}
				if out.Tasks == 0 || out.Seconds <= 0 {
					t.Errorf("outcome %+v", out)
				}
			})
		}
	}
}

// TestMeasuresOnRedis does the same on real servers, and on the fleet.
func TestMeasuresOnRedis(t *testing.T) {
	for _, c := range contenders(onRedis) {
		for _, m := range append(compared(onRedis), fleet, alike, steady) {
			t.Run(c.name+"/"+m, func(t *testing.T) {
				server, err := startRedis(t.Context(), t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := server.stop(); err != nil {
						t.Error(err)
					}
				}()
				j := job{Store: onRedis, System: c.name, Measure: m, Path: "redis://" + server.addr(), Seconds: 0.05, Tasks: 50, Rate: 200}
				if m == steady {
					j.Seconds = 4
				}
				out, err := measure(t.Context(), j)
				if err != nil {
					t.Fatal(err)
				}
				if out.Tasks == 0 || out.Seconds <= 0 || out.Used.Memory <= 0 {
					t.Errorf("outcome %+v", out)
				}
			})
		}
	}
}

func TestGrowth(t *testing.T) {
	j := job{Rate: 1000, Seconds: 60}
	for _, tt := range []struct {
		out  outcome
		grew bool
	}{
		{outcome{Early: 50, Late: 149, Seconds: 60.5}, false},
		{outcome{Early: 50, Late: 151, Seconds: 60.5}, true},
		{outcome{Early: 50, Late: 50, Seconds: 61.5}, true}, // the producer was held up
	} {
		if err := growth(j, tt.out); (err != nil) != tt.grew {
			t.Errorf("%+v: %v", tt.out, err)
		}
	}
}

func TestLargeQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	if _, err := measure(t.Context(), job{Store: onSQLite, System: ours, Measure: fill1M, Path: path, Tasks: 3000}); err != nil {
		t.Fatal(err)
	}
	out, err := measure(t.Context(), job{Store: onSQLite, System: ours, Measure: claims1M, Path: path, Tasks: 1000})
	if err != nil || out.Tasks != 1000 {
		t.Fatalf("outcome %+v, %v", out, err)
	}
}

// forgetful loses a task and a finish.
type forgetful struct{ system }

func (forgetful) stored(context.Context) (counts, error) { return counts{waiting: 4, finished: 5}, nil }

func (forgetful) close(context.Context) error { return nil }

func TestLostTasksAreNoticed(t *testing.T) {
	c := contender{open: func(context.Context, string, tuning) (system, error) { return forgetful{}, nil }}
	for _, tt := range []struct {
		accepted, finished int64
		lost               bool
	}{{9, 5, false}, {10, 5, true}, {9, 6, true}, {8, 5, true}} {
		r := run{finished: tt.finished}
		r.accepted.Store(tt.accepted)
		if err := r.nothingLost(t.Context(), c); (err != nil) != tt.lost {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestRatiosAndGate(t *testing.T) {
	table := func(mine, peer, mineMS, peerMS float64) []row {
		return withRatios([]row{
			{Measure: "rate", System: ours, Unit: "tasks/s", Value: summary{Median: mine}},
			{Measure: "rate", System: "peer", Unit: "tasks/s", Value: summary{Median: peer}},
			{Measure: "wait", System: ours, Unit: "ms", Value: summary{Median: mineMS}},
			{Measure: "wait", System: "peer", Unit: "ms", Value: summary{Median: peerMS}},
		})
	}
	recorded := table(1000, 100, 1, 5)
	if recorded[1].Ratio != 10 || recorded[3].Ratio != 5 || recorded[0].Ratio != 0 {
		t.Fatalf("ratios %+v", recorded)
	}
	for name, tt := range map[string]struct {
		now  []row
		want string // in the only line, if any
	}{
		"half as fast, all of it": {table(500, 50, 2, 10), ""},
		"a little lower":          {table(710, 100, 1.4, 5), ""},
		"lower rate":              {table(690, 100, 1, 5), "rate / peer"},
		"longer wait":             {table(1000, 100, 1.5, 5), "wait / peer"},
		"missing":                 {recorded[:2], "not measured"},
	} {
		fallen := gate(recorded, tt.now)
		if tt.want == "" && len(fallen) > 0 || tt.want != "" && (len(fallen) != 1 || !strings.Contains(fallen[0], tt.want)) {
			t.Errorf("%s: %q, want %q", name, fallen, tt.want)
		}
	}
}

// What has fallen is measured again under the name of its measure, and the
// newer row counts.
func TestGateMeasuresAgain(t *testing.T) {
	at := func(measure, system string, ratio float64) row {
		return row{Measure: measure, System: system, Ratio: ratio}
	}
	recorded := []row{
		at(endToEnd, "peer", 20), at("start latency p50 at 500/s", "peer", 5), at("start latency p99 at 500/s", "peer", 9),
		at("claims, long queue", ours, 1), at(enqueue1, "peer", 2),
	}
	now := []row{
		at(endToEnd, "peer", 19), at("start latency p50 at 500/s", "peer", 1), at("start latency p99 at 500/s", "peer", 1),
		at("claims, long queue", ours, 0.5),
	}
	if got := fallenMeasures(recorded, now); !slices.Equal(got, []string{latency, claims1M}) {
		t.Errorf("to be measured again: %q", got)
	}
	second := []row{at("start latency p50 at 500/s", "peer", 5), at("claims, long queue", ours, 0.9)}
	fallen := strings.Join(gate(recorded, replaced(now, second)), "; ")
	if !strings.Contains(fallen, "p99") || !strings.Contains(fallen, enqueue1) || strings.Contains(fallen, "p50") || strings.Contains(fallen, "claims") {
		t.Errorf("fallen: %s", fallen)
	}
	if now[1].Ratio != 1 {
		t.Error("the first rows were changed")
	}
}

func TestSummarize(t *testing.T) {
	if s := summarize([]float64{5, 1, 3}); s != (summary{3, 1, 5}) {
		t.Errorf("%+v", s)
	}
	if s := summarize([]float64{4, 1, 3, 2}); s != (summary{2.5, 1, 4}) {
		t.Errorf("%+v", s)
	}
	if s := summarize(nil); s != (summary{}) {
		t.Errorf("%+v", s)
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
)

// settings say how long a run is.
type settings struct {
	store   store
	rounds  int
	seconds float64 // of each measure bounded by time
	part    float64 // of a contender's tasks that an end-to-end run takes
	million int     // tasks of the large queue
	dir     string
	only    []string // measures; empty: all
	profile string   // folder for CPU profiles of our side
	log     io.Writer
}

func fullRun() settings {
	return settings{rounds: 5, seconds: 3, part: 2, million: 1_000_000}
}

func quickRun() settings {
	return settings{rounds: 3, seconds: 1, part: 0.5, million: 200_000}
}

func (s settings) wants(measure string) bool {
	return len(s.only) == 0 || slices.Contains(s.only, measure)
}

const latencyRate = 500

// compared lists the measures that all systems on a store take.
func compared(on store) []string {
	if on == onRedis {
		return []string{endToEnd, enqueue16, enqueue256, enqueueIn, oneByOne, keeping, latency}
	}
	return []string{enqueue1, enqueue16, enqueueIn, endToEnd, backlog, latency}
}

// compare takes every compared measure with every system. Systems alternate
// within a round and rounds within a measure, so that a slow minute of the
// machine hits them all; the system that begins changes with the round.
func compare(ctx context.Context, s settings) ([]row, error) {
	var rows []row
	for _, m := range compared(s.store) {
		if !s.wants(m) {
			continue
		}
		systems := contenders(s.store)
		samples := make([]samples, len(systems))
		for round := range s.rounds {
			for k := range systems {
				i := (round + k) % len(systems)
				c := systems[i]
				j := job{Store: s.store, System: c.name, Measure: m, Seconds: s.seconds, Rate: latencyRate, Tasks: int(float64(c.tasks) * s.part)}
				if m == latency {
					j.Seconds = max(3, 2*s.seconds)
				}
				if s.profile != "" && (c.name == ours || c.name == withJournal) {
					j.Profile = profilePath(s.profile, c.name+" "+m)
				}
				if err := samples[i].take(ctx, s, j); err != nil {
					return nil, err
				}
			}
		}
		for i, c := range systems {
			rows = append(rows, samples[i].rows(m, c)...)
		}
	}
	return withRatios(rows), nil
}

// samples collects the rounds of one measure of one system.
type samples struct {
	outcomes    []outcome
	fsync, load []float64
}

func (a *samples) take(ctx context.Context, s settings, j job) error {
	fsync, err := fsyncRate(s.dir)
	if err != nil {
		return err
	}
	before := load()
	out, err := onFresh(ctx, s.dir, j)
	if err != nil {
		return err
	}
	a.add(out, fsync, before)
	fmt.Fprintf(s.log, "%-24s %-14s %s\n", j.Measure, j.System, describe(j.Measure, out))
	return nil
}

func (a *samples) add(out outcome, fsync, load float64) {
	a.outcomes = append(a.outcomes, out)
	a.fsync = append(a.fsync, fsync)
	a.load = append(a.load, load)
}

func describe(measure string, out outcome) string {
	if measure == latency {
		return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms (%d tasks)", out.P50, out.P99, out.Tasks)
	}
	return fmt.Sprintf("%.0f/s (%d tasks, %.0f µs of processor time each)", out.rate(), out.Tasks, out.CPU/float64(out.Tasks)*1e6)
}

// rows turns samples into one row of the table, or two for latencies.
func (a *samples) rows(measure string, c contender) []row {
	base := row{
		System: c.name, Version: version(c.module), Durability: c.durability,
		Fsync: summarize(a.fsync).Median, Load: summarize(a.load).Median,
	}
	var tasks []float64
	for _, o := range a.outcomes {
		tasks = append(tasks, float64(o.Tasks))
	}
	base.N = int64(summarize(tasks).Median)
	pick := func(name, unit string, value func(outcome) float64) row {
		r := base
		r.Measure, r.Unit = name, unit
		var values []float64
		for _, o := range a.outcomes {
			values = append(values, value(o))
		}
		r.Value = summarize(values)
		return r
	}
	if measure == latency {
		return []row{
			pick(fmt.Sprintf("start latency p50 at %d/s", latencyRate), "ms", func(o outcome) float64 { return o.P50 }),
			pick(fmt.Sprintf("start latency p99 at %d/s", latencyRate), "ms", func(o outcome) float64 { return o.P99 }),
		}
	}
	rows := []row{pick(measure, "tasks/s", outcome.rate)}
	if a.metered() {
		rows = append(rows, serverRows(measure, pick)...)
	}
	return rows
}

func profilePath(dir, measure string) string {
	name := []byte(measure)
	for i, b := range name {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') {
			name[i] = '-'
		}
	}
	return dir + string(os.PathSeparator) + string(name) + ".pprof"
}

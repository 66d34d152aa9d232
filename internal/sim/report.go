package sim

import (
	"fmt"
	"strings"
	"testing"
)

// told is how many lines of the story a failing seed prints, beside those about
// the task that is wrong.
const told = 60

// Seeds runs a number of seeds from a first one. Each that breaks a promise is
// told with its story; after a few it stops.
func Seeds(tb testing.TB, cfg Config, first uint64, n int, replay string) (steps int) {
	tb.Helper()
	failed := 0
	for seed := first; seed < first+uint64(n); seed++ {
		r := Run(cfg, seed)
		steps += r.Steps
		if !r.Failed() {
			continue
		}
		tb.Errorf("seed %d breaks promises; replay it with: %s\n%s", seed, fmt.Sprintf(replay, seed), Tell(cfg, seed).Story(told))
		if failed++; failed == 3 {
			tb.Fatalf("stopped after %d seeds of %d", seed-first+1, n)
		}
	}
	return steps
}

// Story is what is wrong, what happened to the tasks that it is about, and the
// last lines of all.
func (r *Result) Story(last int) string {
	var b strings.Builder
	if r.Trouble != "" {
		b.WriteString(r.Trouble + "\n")
	}
	about := map[string]bool{}
	for i, v := range r.Broken {
		if i == 5 {
			fmt.Fprintf(&b, "and %d more\n", len(r.Broken)-i)
			break
		}
		b.WriteString(r.names(v.String()) + "\n")
		if !v.Task.IsZero() {
			about[r.names(v.Task.String())] = true
		}
	}
	var lines []string
	for i, line := range r.Lines {
		if i >= len(r.Lines)-last && r.Trouble != "" || r.concerns(line, about) {
			lines = append(lines, line)
		}
	}
	b.WriteString(strings.Join(lines, "\n"))
	return b.String()
}

// concerns reports that a line is about one of the tasks, or about all.
func (r *Result) concerns(line string, about map[string]bool) bool {
	fields := strings.Fields(line)
	for i, f := range fields {
		if i > 1 && about[strings.Trim(f, ":,")] {
			return true
		}
	}
	for _, word := range []string{" is now ", "crashes", "starts again", "its disk", "its way", "circuit-", "comes back", "all faults", "declares", "says:", "come to rest"} {
		if strings.Contains(line, word) {
			return true
		}
	}
	return false
}

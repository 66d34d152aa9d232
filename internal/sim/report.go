package sim

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/drill"
)

// told is how many lines of the story a failing seed prints, beside those about
// the task that is wrong.
const told = 60

const (
	breaksPromises = "breaks promises"
	// rangeVariable says which seeds to run instead, as first:number.
	rangeVariable = "MORNINGAI_SIM"
	// soakVariable asks for many.
	soakVariable = "MORNINGAI_SOAK"
)

// Range is which seeds a test runs: those that it means to, a great many more in
// a soak, or those that the environment names.
func Range(tb testing.TB, usual, soak int) (first uint64, n int) {
	tb.Helper()
	if text := os.Getenv(rangeVariable); text != "" {
		if _, err := fmt.Sscanf(text, "%d:%d", &first, &n); err != nil {
			tb.Fatalf("%s=%s is not of the form first:number", rangeVariable, text)
		}
		return first, n
	}
	if os.Getenv(soakVariable) != "" {
		return 1, soak
	}
	return 1, usual
}

// Seeds runs a number of seeds from a first one. Each that breaks a promise is
// told with its story; after a few it stops. A seed that is known to break a
// promise has to break that one, or for promise 0 to come to no end that could be
// checked, so that the list of them stays true. It returns
// how much has happened.
func Seeds(tb testing.TB, cfg Config, first uint64, n int, known map[uint64]int) (steps int) {
	tb.Helper()
	failed := 0
	for seed := first; seed < first+uint64(n); seed++ {
		r := Run(cfg, seed)
		steps += r.Steps
		if invariant, ok := known[seed]; ok {
			if invariant == 0 && r.Trouble != "" {
				continue
			}
			if !slices.ContainsFunc(r.Broken, func(v drill.Violation) bool { return v.Invariant == invariant }) {
				tb.Errorf("seed %d is known to break promise %d, and does not any more: take it off the list", seed, invariant)
			}
			continue
		}
		if !r.Failed() {
			continue
		}
		tb.Errorf("seed %d %s; to see it again: %s=%d:1 go test -run '^%s$'\n%s", seed, breaksPromises, rangeVariable, seed, tb.Name(), Tell(cfg, seed).Story(told))
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

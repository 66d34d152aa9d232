//go:build unix

package redis_test

import (
	"fmt"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// spent counts the commands that the server carries out for f, and the kilobytes that
// it answers.
func spent(t *testing.T, s *redistest.Server, f func()) (count, kilobytes int64) {
	t.Helper()
	bytes := s.Info("stats", "total_net_output_bytes")
	before, _ := commands(t, s)
	f()
	after, _ := commands(t, s)
	return after - before, (s.Info("stats", "total_net_output_bytes") - bytes) / 1024
}

// Counts are maintained, and a page is found without a look at all tasks: what the
// server does for them is the same, however many tasks there are.
func TestReadsDoNotGrow(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	fill := func(batches int) {
		for range batches {
			list := specs(1000)
			for i := range list {
				list[i].Queue = fmt.Sprint("q", i%4)
			}
			enqueue(t, e, list)
		}
		for _, g := range claim(t, e, session, 128, 0) {
			finish(t, e, g)
		}
	}
	page := func(f morningai.Filter) func() {
		return func() {
			f.Limit = 50
			first, err := e.List(t.Context(), f)
			if err != nil || len(first.Tasks) != 50 || first.Next == "" {
				t.Fatalf("%d tasks, %v", len(first.Tasks), err)
			}
			next := f
			next.Cursor = first.Next
			if second, err := e.List(t.Context(), next); err != nil || len(second.Tasks) == 0 || second.Tasks[0].ID == first.Tasks[0].ID {
				t.Fatalf("%d tasks, %v", len(second.Tasks), err)
			}
		}
	}
	reads := map[string]func(){
		"stats": func() {
			if _, err := e.Stats(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"a page":       page(morningai.Filter{}),
		"of a queue":   page(morningai.Filter{Queue: "q1"}),
		"of a state":   page(morningai.Filter{State: morningai.StateQueued}),
		"of succeeded": page(morningai.Filter{State: morningai.StateSucceeded}),
		"of both":      page(morningai.Filter{Queue: "q3", State: morningai.StateQueued}),
	}
	type cost struct{ commands, kilobytes int64 }
	measure := func() map[string]cost {
		out := map[string]cost{}
		for name, read := range reads {
			commands, kilobytes := spent(t, server, read)
			out[name] = cost{commands, kilobytes}
		}
		return out
	}
	fill(4)
	few := measure()
	fill(36)
	for name, many := range measure() {
		// A beat, or a block of tasks more or less, may be between the two.
		if was := few[name]; many.commands > was.commands+was.commands/4+12 || many.kilobytes > was.kilobytes+was.kilobytes/4+8 || was.commands == 0 {
			t.Errorf("%s: %+v with 4,000 tasks, %+v with 40,000", name, was, many)
		}
	}
	t.Logf("with 4,000 tasks: %+v", few)
}

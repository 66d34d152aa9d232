package rqbridge_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/server"
)

// A Redis that is empty again before anybody has noticed that it was away gets its
// jobs back from the server, whose own tasks were lost with them.
func TestQuickEmptyRestart(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s, counts := redistest.Start(t), redistest.Start(t)
			n := start(t, s, t.TempDir())
			done := n.submit(t, counted(counts, "done", 0))
			w := v.Worker(t, s.Addr(), "before", "work['burst'] = True", "q")
			w.Ended()
			n.once(t, counts, done.ID, "done")
			running := n.submit(t, func() morningai.TaskSpec {
				sp := counted(counts, "running", 60)
				sp.Queue = "p"
				return sp
			}())
			killed := v.Worker(t, s.Addr(), "killed", "", "p")
			n.shows(t, running.ID, "started")
			redistest.Until(t, "the function to run", func() bool { return counts.Do("GET", "running") == "1" })
			killed.Kill()
			var ids []morningai.ID
			for i := range 12 {
				ids = append(ids, n.submit(t, counted(counts, fmt.Sprint("k", i), 0)).ID)
				n.shows(t, ids[i], "queued")
			}
			for range 2 { // also when it happens again
				s.Kill()
				s.Restart() // at once, without any file
				redistest.Until(t, "the queues to be filled again", func() bool {
					return s.Do("LLEN", "rq:queue:q") == "12" && s.Do("LLEN", "rq:queue:p") == "1"
				})
			}
			for _, id := range ids {
				n.shows(t, id, "queued")
			}
			if got := strings.Fields(s.Do("LRANGE", "rq:queue:q", "0", "-1")); len(got) != 12 || slices.ContainsFunc(ids, func(id morningai.ID) bool { return !slices.Contains(got, id.String()) }) {
				t.Errorf("in RQ's queue: %v", got)
			}
			v.Worker(t, s.Addr(), "after", "", "q", "p")
			for i, id := range ids {
				n.once(t, counts, id, fmt.Sprint("k", i))
				if task := n.end(t, id); task.MaybeRepeated {
					t.Errorf("k%d waited, and is marked: %s", i, task.Progress)
				}
			}
			n.shows(t, running.ID, "started")
			if task, err := n.Get(t.Context(), running.ID); err != nil || !task.MaybeRepeated {
				t.Errorf("it had begun before, and is not marked: %+v %v", task, err)
			}
			n.once(t, counts, done.ID, "done") // what had ended has not run again
		})
	}
}

// A queue whose workers are away, with more tasks than a server has in RQ at once,
// does not hold up the others.
func TestQueuesDoNotWaitForEachOther(t *testing.T) {
	v, s := rqtest.Debian(t), redistest.Start(t)
	c := bridged(t, s)
	var specs []morningai.TaskSpec
	for range 1300 {
		specs = append(specs, spec("tasks.nothing", `{}`))
	}
	for len(specs) > 0 {
		some := specs[:min(650, len(specs))]
		specs = specs[len(some):]
		if _, err := c.EnqueueBatch(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Until(t, "a window of jobs in RQ", func() bool { return s.Do("LLEN", "rq:queue:q") == "1000" })
	v.Worker(t, s.Addr(), "py", "", "p")
	other := spec("tasks.nothing", `{}`)
	other.Queue = "p"
	c.ends(t, submit(t, c, other), morningai.StateSucceeded)
	if n := s.Do("LLEN", "rq:queue:q"); n != "1000" {
		t.Errorf("%s jobs are in RQ's queue at once", n)
	}
}

// Two fleets share one Redis and RQ's queue in it: each follows its own jobs, and the
// workers see no difference.
func TestTwoFleets(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s, counts := redistest.Start(t), redistest.Start(t)
			fleets := []*node{start(t, s, t.TempDir()), start(t, s, t.TempDir(), func(c *server.Config) { c.Redis.URL += "?prefix=other&partitions=3" })}
			id, err := morningai.NewID()
			if err != nil {
				t.Fatal(err)
			}
			var ids [2][]morningai.ID
			for i := range 8 {
				ids[i%2] = append(ids[i%2], fleets[i%2].submit(t, counted(counts, fmt.Sprint(i%2, "-", i/2), 0)).ID)
			}
			// An id is one job in RQ: the second fleet that has it does not take the
			// other's for its own.
			for i, f := range fleets {
				sp := counted(counts, fmt.Sprint("same", i), 0)
				sp.ID = id
				f.submit(t, sp)
				if i == 0 {
					f.shows(t, id, "queued")
				} else if task := f.end(t, id); task.State != morningai.StateFailed || task.Error.Code != "rq_conflict" {
					t.Errorf("%s %v", task.State, task.Error)
				}
			}
			v.Worker(t, s.Addr(), "py", "", "q")
			for i, f := range fleets {
				for n, id := range ids[i] {
					f.once(t, counts, id, fmt.Sprint(i, "-", n))
				}
				if _, err := f.Get(t.Context(), ids[1-i][0]); !errors.Is(err, morningai.ErrNotFound) {
					t.Errorf("a task of the other fleet: %v", err)
				}
			}
			fleets[0].once(t, counts, id, "same0")
			if counts.Do("EXISTS", "same1") != "0" {
				t.Error("the job of the second fleet has run")
			}
		})
	}
}

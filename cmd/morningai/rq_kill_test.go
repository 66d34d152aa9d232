//go:build unix

package main

import (
	"fmt"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
)

// Two servers deliver to the same queue of RQ, and one is killed in the middle: the
// other follows its jobs to their end, and each has run once.
func TestRQServerKilled(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s, counts := redistest.Start(t), redistest.Start(t)
			start := func(name string) *daemon {
				return serve(t, t.TempDir(), "--redis", s.URL(), "--node", name, "--lease", "1s", "--rq-queues", "q")
			}
			victim, other := start("victim"), start("other")
			ids := map[morningai.ID]string{}
			for i := range 24 {
				to := connect(t, []*daemon{victim, other}[i%2])
				key := fmt.Sprint("k", i)
				spec := morningai.NewTaskSpec("rq:tasks.count", fmt.Appendf(nil, `{"args":[%d,%q],"kwargs":{"wait":0.05}}`, counts.Port(), key))
				spec.Queue = "q"
				task, err := to.Enqueue(t.Context(), spec)
				if err != nil {
					t.Fatal(err)
				}
				ids[task.ID] = key
			}
			v.Worker(t, s.Addr(), "py", "", "q")
			redistest.Until(t, "some of the jobs to have run", func() bool { return counts.Do("EXISTS", "k0", "k1", "k2", "k3") == "4" })
			victim.kill()
			c := connect(t, other)
			for id, key := range ids {
				task, err := c.Wait(t.Context(), id)
				if err != nil || task.State != morningai.StateSucceeded || string(task.Result) != "1" || counts.Do("GET", key) != "1" {
					t.Errorf("%s: %+v %v, %s runs", key, task, err, counts.Do("GET", key))
				}
			}
		})
	}
}

package rqbridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/server"
)

// counted is a task that counts its runs, where no outage of the test reaches.
func counted(counts *redistest.Server, key string, seconds float64) morningai.TaskSpec {
	return spec("tasks.count", fmt.Sprintf(`{"args":[%d,%q],"kwargs":{"wait":%v}}`, counts.Port(), key, seconds))
}

func (n *node) contact(t *testing.T, want string) {
	t.Helper()
	redistest.Until(t, "the server to be "+want, func() bool {
		h, err := n.Health(t.Context())
		return err == nil && string(h.Status) == want
	})
}

// once checks that a task has succeeded, and its function ran once.
func (n *node) once(t *testing.T, counts *redistest.Server, id morningai.ID, key string) {
	t.Helper()
	task := n.end(t, id)
	if task.State != morningai.StateSucceeded || string(task.Result) != "1" || counts.Do("GET", key) != "1" {
		t.Errorf("%s: %s %s %v, %s runs", key, task.State, task.Result, task.Error, counts.Do("GET", key))
	}
}

// While Redis is away tasks for RQ are accepted; afterwards each is delivered
// once, and what was canceled meanwhile is not.
func TestAcceptedInAnOutage(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s, counts := redistest.Start(t, "--appendonly", "yes"), redistest.Start(t)
			n := start(t, s, t.TempDir())
			waiting := n.submit(t, counted(counts, "waiting", 0))
			n.shows(t, waiting.ID, "queued")
			drop := n.submit(t, counted(counts, "drop", 0))
			n.shows(t, drop.ID, "queued")
			s.Kill()
			n.contact(t, "degraded")
			var ids []morningai.ID
			for i := range 5 {
				task := n.submit(t, counted(counts, fmt.Sprint("k", i), 0))
				if task.Durable != "journal" || task.Runs != morningai.RunsLater {
					t.Fatalf("%+v", task)
				}
				ids = append(ids, task.ID)
			}
			again := n.submit(t, func() morningai.TaskSpec { sp := counted(counts, "k0", 0); sp.ID = ids[0]; return sp }())
			if again.ID != ids[0] {
				t.Errorf("%+v", again)
			}
			for _, id := range []morningai.ID{ids[4], drop.ID} {
				if _, err := n.Cancel(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			s.Restart()
			for i, id := range ids[:4] {
				n.shows(t, id, "queued")
				if i == 0 {
					n.contact(t, "ok")
				}
			}
			for _, id := range []morningai.ID{ids[4], drop.ID} {
				if task := n.end(t, id); task.State != morningai.StateCanceled {
					t.Errorf("%+v", task)
				}
			}
			redistest.Until(t, "what was canceled to leave RQ", func() bool { return s.Do("LLEN", "rq:queue:q") == "5" })
			v.Worker(t, s.Addr(), "py", "", "q")
			for i, id := range ids[:4] {
				n.once(t, counts, id, fmt.Sprint("k", i))
			}
			n.once(t, counts, waiting.ID, "waiting")
			if got := counts.Do("EXISTS", "k4", "drop"); got != "0" {
				t.Errorf("%s canceled tasks ran", got)
			}
		})
	}
}

// A Redis that comes back empty gets what waited in RQ again; what may have run
// is marked, and nothing else.
func TestQueueIsFilledAgain(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s, counts := redistest.Start(t), redistest.Start(t)
			n := start(t, s, t.TempDir())
			running := n.submit(t, counted(counts, "running", 60))
			w := v.Worker(t, s.Addr(), "py", "", "q")
			n.shows(t, running.ID, "started")
			w.Kill()
			s.Do("DEL", "rq:workers:q") // as if it had left: nobody can begin with what comes
			var ids []morningai.ID
			for i := range 20 {
				task := n.submit(t, counted(counts, fmt.Sprint("k", i), 0))
				ids = append(ids, task.ID)
			}
			for _, id := range ids {
				n.shows(t, id, "queued")
			}
			s.Kill()
			s.Restart() // without any file
			redistest.Until(t, "the queue to be filled again", func() bool { return s.Do("LLEN", "rq:queue:q") == "21" })
			counts.Do("DEL", "running")
			v.Worker(t, s.Addr(), "py2", "", "q")
			for i, id := range ids {
				n.once(t, counts, id, fmt.Sprint("k", i))
				if task, err := n.Get(t.Context(), id); err != nil || strings.Contains(string(task.Progress), "maybe_repeated") {
					t.Errorf("%s %v", task.Progress, err)
				}
			}
			redistest.Until(t, "the mark", func() bool {
				task, err := n.Get(t.Context(), running.ID)
				return err == nil && strings.Contains(string(task.Progress), `"maybe_repeated":true`)
			})
			if _, err := n.Cancel(t.Context(), running.ID); err != nil {
				t.Fatal(err)
			}
			n.end(t, running.ID)
		})
	}
}

// A server that stops leaves its jobs in RQ; the next one follows them, whatever
// became of them meanwhile, and with no journal too.
func TestServerComesBack(t *testing.T) {
	v := rqtest.Debian(t)
	for name, change := range map[string]func(*server.Config){"journal": func(*server.Config) {}, "no journal": func(c *server.Config) { c.Redis.NoJournal = true }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, counts, data := redistest.Start(t), redistest.Start(t), t.TempDir()
			n := start(t, s, data, change)
			var ids []morningai.ID
			for i := range 4 {
				ids = append(ids, n.submit(t, counted(counts, fmt.Sprint("k", i), 0.2)).ID)
				n.shows(t, ids[i], "queued")
			}
			n.stop(t)
			if got := s.Do("LLEN", "rq:queue:q"); got != "4" {
				t.Fatalf("%s jobs are left in RQ", got)
			}
			w := v.Worker(t, s.Addr(), "py", "work['burst'] = True", "q")
			w.Ended()
			v.Run(t, s.Addr(), `fetch(args[0]).delete()`, ids[3].String())
			other := start(t, s, t.TempDir(), change) // whichever server gets them
			for i, id := range ids[:3] {
				other.once(t, counts, id, fmt.Sprint("k", i))
			}
			if task := other.end(t, ids[3]); task.State != morningai.StateCanceled || task.Error.Code != "rq_deleted" || counts.Do("GET", "k3") != "1" {
				t.Errorf("%+v", task)
			}
		})
	}
}

// A job whose worker has died, and which no other worker cleans up, ends all the
// same.
func TestWorkerLost(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			n := start(t, s, t.TempDir())
			task := n.submit(t, spec("tasks.nap", `{"args":[60]}`))
			w := v.Worker(t, s.Addr(), "py", "", "q")
			n.shows(t, task.ID, "started")
			w.Kill()
			for _, member := range strings.Fields(s.Do("ZRANGE", "rq:wip:q", "0", "-1")) {
				s.Do("ZADD", "rq:wip:q", "1", member) // as if it were long ago
			}
			if end := n.end(t, task.ID); end.State != morningai.StateFailed || end.Error.Code != "rq_worker_lost" {
				t.Errorf("%+v", end)
			}
			if said := v.Run(t, s.Addr(), `say([fetch(args[0]).get_status(), r.zcard('rq:wip:q'), r.zcard('rq:failed:q')])`, task.ID.String()); said != `["failed", 0, 1]` {
				t.Error(said)
			}
		})
	}
}

package rqbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqbridge"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/rq"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
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
			// Once the server has said that it handles the type, it would run such
			// tasks itself in an outage if they were not for RQ.
			redistest.Until(t, "the type to be known", func() bool {
				nodes, _, err := n.Nodes(t.Context())
				return err == nil && slices.ContainsFunc(nodes, func(n client.Node) bool { return slices.Contains(n.Types, "rq:tasks.count") })
			})
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
// is marked, and nothing else. The engine is one that loses nothing, so that this
// is the bridge's work alone.
func TestQueueIsFilledAgain(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s, counts := redistest.Start(t), redistest.Start(t)
			c := bridged(t, s)
			long := counted(counts, "running", 60)
			long.Queue = "p"
			running := submit(t, c, long)
			w := v.Worker(t, s.Addr(), "py", "", "p")
			c.shows(t, running, "started")
			w.Kill()
			var ids []morningai.ID
			for i := range 120 {
				ids = append(ids, submit(t, c, counted(counts, fmt.Sprint("k", i), 0)))
			}
			for _, id := range ids {
				c.shows(t, id, "queued")
			}
			v.Run(t, s.Addr(), `fetch(args[0]).delete()`, ids[7].String())
			c.ends(t, ids[7], morningai.StateCanceled)
			for range 2 { // also when it happens again
				s.Kill()
				s.Restart() // without any file
				redistest.Until(t, "the queue to be filled again", func() bool {
					return s.Do("LLEN", "rq:queue:q") == "119" && s.Do("LLEN", "rq:queue:p") == "1"
				})
			}
			for _, id := range ids[20:] { // a process for each takes its time
				if _, err := c.Cancel(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range ids[20:] {
				c.ends(t, id, morningai.StateCanceled)
			}
			v.Worker(t, s.Addr(), "py2", "", "q")
			for i, id := range ids[:20] {
				if i == 7 {
					continue
				}
				task := c.ends(t, id, morningai.StateSucceeded)
				if string(task.Result) != "1" || task.MaybeRepeated || strings.Contains(string(task.Progress), "maybe_repeated") {
					t.Errorf("%s %s", task.Result, task.Progress)
				}
			}
			for i, id := range ids {
				if (i == 7 || i >= 20) && counts.Do("EXISTS", fmt.Sprint("k", i)) != "0" {
					task, err := c.Get(t.Context(), id)
					t.Errorf("k%d was canceled, and ran: %+v %v %s", i, task, err, s.Do("HGETALL", "rq:job:"+id.String()))
				}
			}
			task, err := c.Get(t.Context(), running)
			if err != nil || !task.MaybeRepeated || !strings.Contains(string(task.Progress), `"maybe_repeated":true`) {
				t.Errorf("marked %t, %s %v", task.MaybeRepeated, task.Progress, err)
			}
		})
	}
}

// direct is a bridge on an embedded engine, and what enqueues there.
type direct struct{ *morningai.Client }

func bridged(t *testing.T, s *redistest.Server) direct {
	t.Helper()
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	queues, err := rq.Open(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	b, err := rqbridge.New(engine, queues, rqbridge.Options{Queues: []string{"q", "p"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := morningai.NewClient(engine, morningai.WithEnqueueMiddleware(rqbridge.Check))
	t.Cleanup(func() {
		if err := errors.Join(b.Stop(context.Background()), queues.Close()); err != nil {
			t.Error(err)
		}
		c.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return direct{c}
}

func submit(t *testing.T, c direct, s morningai.TaskSpec) morningai.ID {
	t.Helper()
	task, err := c.Enqueue(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return task.ID
}

func (c direct) shows(t *testing.T, id morningai.ID, status string) {
	t.Helper()
	redistest.Until(t, "the job to be "+status, func() bool {
		task, err := c.Get(t.Context(), id)
		return err == nil && strings.Contains(string(task.Progress), `"rq_status":"`+status+`"`)
	})
}

func (c direct) ends(t *testing.T, id morningai.ID, want morningai.State) *morningai.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	task, err := c.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if task.State != want {
		t.Errorf("%s is %s: %v", id, task.State, task.Error)
	}
	return task
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

// A task that is canceled while no server follows its job takes the job with it all the
// same: the next one that serves the queue sees to it.
func TestCanceledBetweenServers(t *testing.T) {
	v, s, counts := rqtest.Debian(t), redistest.Start(t), redistest.Start(t)
	n := start(t, s, t.TempDir())
	runs := n.submit(t, spec("tasks.nap", `{"args":[60]}`)).ID
	v.Worker(t, s.Addr(), "py", "", "q")
	n.shows(t, runs, "started")
	waits := n.submit(t, counted(counts, "waits", 0)).ID
	again := n.submit(t, counted(counts, "again", 0)).ID
	n.shows(t, waits, "queued")
	n.shows(t, again, "queued")
	n.stop(t)
	api := start(t, s, t.TempDir(), func(c *server.Config) { c.RQQueues = nil })
	for _, id := range []morningai.ID{runs, waits, again} {
		redistest.Until(t, "the task to be canceled", func() bool {
			task, err := api.Cancel(t.Context(), id)
			return err == nil && task.State == morningai.StateCanceled
		})
	}
	if _, err := api.Retry(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	n = start(t, s, t.TempDir())
	n.once(t, counts, again, "again")
	redistest.Until(t, "the jobs to be withdrawn", func() bool {
		return s.Do("HGET", "rq:job:"+runs.String(), "status") == "stopped" && s.Do("HGET", "rq:job:"+waits.String(), "status") == "canceled"
	})
	if counts.Do("EXISTS", "waits") != "0" {
		t.Error("a canceled job has run")
	}
}

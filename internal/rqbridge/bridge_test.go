package rqbridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a server that delivers to RQ.
type node struct {
	*client.Client
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, s *redistest.Server, data string, change ...func(*server.Config)) *node {
	t.Helper()
	cfg := server.Config{Data: data, Docs: t.TempDir(), Concurrency: 4, Grace: time.Second, Lease: 2 * time.Second, RetainSucceeded: time.Hour, RetainFailed: time.Hour,
		Options:  server.Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)},
		Redis:    server.Redis{URL: s.URL()},
		RQQueues: []string{"q", "p"}}
	for _, f := range change {
		f(&cfg)
	}
	ready := make(chan string, 1)
	cfg.Ready = func(url, _ string) { ready <- url }
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := server.Open(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	n := &node{cancel: cancel, ended: make(chan error, 1)}
	go func() { n.ended <- srv.Run(ctx) }()
	select {
	case url := <-ready:
		if n.Client, err = client.New(url); err != nil {
			t.Fatal(err)
		}
	case err := <-n.ended:
		t.Fatal(err)
	}
	t.Cleanup(func() { n.stop(t) })
	return n
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.ended; err != nil {
		t.Error(err)
	}
	n.Close()
}

func spec(function, payload string, change ...func(*morningai.TaskSpec)) morningai.TaskSpec {
	s := morningai.NewTaskSpec("rq:"+function, json.RawMessage(payload))
	s.Queue = "q"
	for _, f := range change {
		f(&s)
	}
	return s
}

func (n *node) submit(t *testing.T, s morningai.TaskSpec) *morningai.Task {
	t.Helper()
	task, err := n.Enqueue(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func (n *node) end(t *testing.T, id morningai.ID) *morningai.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	task, err := n.Wait(ctx, id)
	if err != nil {
		now, _ := n.Get(t.Context(), id)
		t.Fatalf("the task does not end: %v, it is %+v", err, now)
	}
	return task
}

// shows waits until a task is somewhere in RQ.
func (n *node) shows(t *testing.T, id morningai.ID, status string) {
	t.Helper()
	redistest.Until(t, "the job to be "+status, func() bool {
		task, err := n.Get(t.Context(), id)
		return err == nil && strings.Contains(string(task.Progress), `"rq_status":"`+status+`"`)
	})
}

// A task for RQ is delivered, run by a Python worker, and ends as its job does.
func TestDelivered(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			n := start(t, s, t.TempDir())
			add := n.submit(t, spec("tasks.add", `{"args":[9007199254740993],"kwargs":{"b":2}}`))
			fail := n.submit(t, spec("tasks.fail", `{"args":["no such colour"]}`))
			none := n.submit(t, spec("tasks.nothing", `null`))
			die := n.submit(t, spec("tasks.die", `{}`))
			late := n.submit(t, spec("tasks.nap", `{"args":[30]}`, func(s *morningai.TaskSpec) { s.Timeout = time.Second }))
			again := n.submit(t, spec("tasks.flaky", fmt.Sprintf(`{"args":[%d,"n",1]}`, s.Port()), func(s *morningai.TaskSpec) { s.MaxAttempts = 2 }))
			other := n.submit(t, spec("tasks.nothing", `{}`, func(s *morningai.TaskSpec) { s.Queue = "elsewhere" }))
			box := n.submit(t, spec("tasks.box", `{"args":[1]}`))
			large := n.submit(t, spec("tasks.repeat", `{"args":["x",2000000]}`))
			n.shows(t, late.ID, "queued")
			n.shows(t, box.ID, "queued")
			if j := v.Run(t, s.Addr(), `j = fetch(args[0]); say([j.origin, j.timeout, r.ttl(j.key), j.ttl, j.meta])`, late.ID.String()); j != fmt.Sprintf(`["q", 1, -1, null, {"morningai_trace_id": "%s"}]`, late.TraceID) {
				t.Error(j)
			}
			v.Worker(t, s.Addr(), "py", "", "q")
			for id, want := range map[morningai.ID]string{
				add.ID: "succeeded 9007199254740995", fail.ID: "failed rq_failed: ValueError: no such colour", none.ID: "succeeded ", die.ID: "failed rq_worker_lost", large.ID: "succeeded ",
				late.ID: "failed timeout", again.ID: "succeeded 2", box.ID: map[bool]string{false: "failed rq_failed", true: `succeeded "Unserializable`}[v.Two()]} {
				task := n.end(t, id)
				got := string(task.State) + " " + string(task.Result)
				if task.Error != nil {
					got = string(task.State) + " " + task.Error.Error()
				}
				if !strings.HasPrefix(got, want) {
					t.Errorf("%s: %q, not %q", task.Type, got, want)
				}
			}
			if task, err := n.Get(t.Context(), large.ID); err != nil || !strings.Contains(string(task.Progress), `"result_lost":true`) {
				t.Errorf("a result that is too large: %+v %v", task, err)
			}
			lines, err := n.Logs(t.Context(), fail.ID)
			if err != nil || len(lines) != 1 || !strings.Contains(string(lines[0].Attrs), "Traceback") {
				t.Errorf("%v %v", lines, err)
			}
			if task, err := n.Get(t.Context(), other.ID); err != nil || task.State != morningai.StateQueued {
				t.Errorf("%+v %v", task, err)
			}
			redistest.Until(t, "RQ's own time for a result that is recorded", func() bool {
				ttl := v.Run(t, s.Addr(), `say(0 < r.ttl('rq:job:' + args[0]) <= 500)`, add.ID.String())
				return ttl == "true"
			})
			// An operator's retry is a run of its own.
			if _, err := n.Retry(t.Context(), fail.ID); err != nil {
				t.Fatal(err)
			}
			redistest.Until(t, "another life", func() bool {
				task, err := n.Get(t.Context(), fail.ID)
				return err == nil && task.Life == 2 && task.State == morningai.StateFailed
			})
		})
	}
}

// What RQ would not take is refused with the field that is wrong, and leaves no
// trace, by a server that delivers to RQ and by one that does not.
func TestRefused(t *testing.T) {
	s := redistest.Start(t)
	for _, n := range []*node{start(t, s, t.TempDir()), start(t, s, t.TempDir(), func(c *server.Config) { c.RQQueues = nil })} {
		for location, sp := range map[string]morningai.TaskSpec{
			"body.type":        spec("nothing", `{}`),
			"body.type ":       spec("tasks.a-b", `{}`),
			"body.type  ":      spec("", `{}`),
			"body.payload":     spec("tasks.add", `[1]`),
			"body.payload ":    spec("tasks.add", `{"args":{}}`),
			"body.payload  ":   spec("tasks.add", `{"kwargs":[]}`),
			"body.payload   ":  spec("tasks.add", `{"args":[],"more":1}`),
			"body.timeout":     spec("tasks.add", `{}`, func(s *morningai.TaskSpec) { s.Timeout = 1500 * time.Millisecond }),
			"body.timeout    ": spec("tasks.add", `{}`, func(s *morningai.TaskSpec) { s.Timeout = 10 * time.Millisecond }),
		} {
			_, err := n.Enqueue(t.Context(), sp)
			e, ok := errors.AsType[*morningai.Error](err)
			if !ok || e.Code != morningai.CodeInvalidInput || len(e.Fields) != 1 || e.Fields[0].Location != strings.TrimSpace(location) {
				t.Errorf("%s: %v", location, err)
			}
		}
		_, err := n.EnqueueBatch(t.Context(), []morningai.TaskSpec{spec("tasks.add", `{}`), spec("add", `{}`)})
		if e, ok := errors.AsType[*morningai.Error](err); !ok || len(e.Fields) != 1 || e.Fields[0].Location != "body.tasks[1].type" {
			t.Errorf("batch: %v", err)
		}
		if page, err := n.List(t.Context(), morningai.Filter{}); err != nil || len(page.Tasks) != 0 {
			t.Errorf("%d tasks, %v", len(page.Tasks), err)
		}
	}
	if keys := s.Do("KEYS", "rq:*"); keys != "" {
		t.Error(keys)
	}
	for name, change := range map[string]func(*server.Config){
		"no Redis":  func(c *server.Config) { c.Redis.URL = "" },
		"role":      func(c *server.Config) { c.Role = server.RoleAPI },
		"a name":    func(c *server.Config) { c.RQQueues = []string{"a b"} },
		"a cluster": func(c *server.Config) { c.Redis.URL = strings.Replace(s.URL(), "redis:", "redis+cluster:", 1) },
		"form":      func(c *server.Config) { c.RQSerializer = "yaml" },
	} {
		cfg := server.Config{Data: t.TempDir(), Docs: t.TempDir(), Concurrency: 1, Options: server.Options{Listen: "127.0.0.1:0"}, Redis: server.Redis{URL: s.URL()}, RQQueues: []string{"q"}}
		change(&cfg)
		srv, err := server.Open(t.Context(), cfg)
		if err == nil {
			t.Errorf("%s is accepted", name)
			_ = srv.Close()
		} else if name != "a cluster" && !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Canceling a task cancels its job, whether it waits or runs; and what Python
// cancels, stops or deletes ends the task.
func TestCanceled(t *testing.T) {
	for _, v := range rqtest.All(t) {
		t.Run(v.Version, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			n := start(t, s, t.TempDir())
			ids := map[string]morningai.ID{}
			for _, name := range []string{"ours", "canceled", "deleted", "running", "stopped"} {
				ids[name] = n.submit(t, spec("tasks.nap", `{"args":[60]}`)).ID
				n.shows(t, ids[name], "queued")
			}
			if _, err := n.Cancel(t.Context(), ids["ours"]); err != nil {
				t.Fatal(err)
			}
			v.Run(t, s.Addr(), `fetch(args[0]).cancel(); fetch(args[1]).delete()`, ids["canceled"].String(), ids["deleted"].String())
			for name, code := range map[string]string{"ours": "canceled", "canceled": "rq_canceled", "deleted": "rq_deleted"} {
				if task := n.end(t, ids[name]); task.State != morningai.StateCanceled || task.Error.Code != code {
					t.Errorf("%s: %s %v", name, task.State, task.Error)
				}
			}
			if said := v.Run(t, s.Addr(), `say([fetch(args[0]).get_status(), queue().job_ids == args[1:]])`, ids["ours"].String(), ids["running"].String(), ids["stopped"].String()); said != `["canceled", true]` {
				t.Error(said)
			}
			v.Worker(t, s.Addr(), "py", "", "q")
			for _, name := range []string{"running", "stopped"} { // one after the other
				n.shows(t, ids[name], "started")
				if name == "running" {
					if _, err := n.Cancel(t.Context(), ids[name]); err != nil {
						t.Fatal(err)
					}
				} else {
					v.Run(t, s.Addr(), `
from rq.command import send_stop_job_command
send_stop_job_command(r, args[0], JSONSerializer)`, ids[name].String())
				}
				if task := n.end(t, ids[name]); task.State != morningai.StateCanceled {
					t.Errorf("%s: %s %v", name, task.State, task.Error)
				}
				if said := v.Run(t, s.Addr(), `say(fetch(args[0]).get_status())`, ids[name].String()); said != `"stopped"` {
					t.Errorf("%s: %s", name, said)
				}
			}
		})
	}
}

// Other keys in the same Redis stay as they are, and no key of an unknown kind
// comes about.
func TestNothingElseIsTouched(t *testing.T) {
	v, s := rqtest.Debian(t), redistest.Start(t)
	s.Do("SET", "session:17", "somebody")
	s.Do("HSET", "celery-task-meta-1", "a", "b")
	s.Do("RPUSH", "rq:queue:others", "x")
	s.Do("SELECT", "0")
	foreign := []string{"session:17", "celery-task-meta-1", "rq:queue:others"}
	var digests []string
	for _, k := range foreign {
		digests = append(digests, s.Do("DEBUG", "DIGEST-VALUE", k))
	}
	n := start(t, s, t.TempDir())
	stop := s.Monitor(func(_ string, words []string) {
		for _, w := range words[1:] {
			if slices.Contains(foreign, w) {
				t.Errorf("touched: %q", words)
			}
		}
	})
	v.Worker(t, s.Addr(), "py", "", "q")
	n.end(t, n.submit(t, spec("tasks.nothing", `{}`)).ID)
	stop()
	for i, k := range foreign {
		if s.Do("DEBUG", "DIGEST-VALUE", k) != digests[i] {
			t.Errorf("%s has changed", k)
		}
	}
	for _, k := range strings.Split(s.Do("KEYS", "*"), "\n") {
		if !strings.HasPrefix(k, "mai:") && !strings.HasPrefix(k, "rq:") && k != "morningai:rq:sent" && !slices.Contains(foreign, k) {
			t.Errorf("an unknown key: %s", k)
		}
	}
}

//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
)

// The command enqueues what a Python worker runs, and waits for it.
func TestRQEnqueue(t *testing.T) {
	v, s := rqtest.Debian(t), redistest.Start(t)
	v.Worker(t, s.Addr(), "py", "", "q", "default")
	out := perform(t, 0, "rq", "enqueue", "tasks.add", "--args", "[1]", "--kwargs", `{"b":2}`, "--queue", "q", "--id", "three", "--wait", "--redis", s.URL())
	if !strings.HasPrefix(out, "three\n") || !strings.Contains(out, "result: 3") {
		t.Error(out)
	}
	if out := perform(t, 1, "rq", "enqueue", "tasks.fail", "--wait", "--redis", s.URL()); !strings.Contains(out, "failed: ValueError: no such size") {
		t.Error(out)
	}
	out = perform(t, 0, "rq", "enqueue", "tasks.add", "--args", "[9007199254740993]", "--timeout", "7s", "--delay", "1h", "--json", "--redis", s.URL())
	out = out[:strings.LastIndex(out, "}")+1]
	var job map[string]any
	if err := json.Unmarshal([]byte(out), &job); err != nil || job["status"] != "scheduled" || !strings.Contains(out, "9007199254740993") {
		t.Errorf("%v %s", err, out)
	}
	for _, args := range [][]string{{"nothing"}, {"tasks.add", "--args", "{}"}, {"tasks.add", "--kwargs", "1"}, {"tasks.add", "--timeout", "1500ms"}, {"tasks.add", "--id", "a:b"}, {"tasks.add", "--at", "noon"}, {"tasks.add", "--meta", "[]"}} {
		perform(t, 2, append(append([]string{"rq", "enqueue"}, args...), "--redis", s.URL())...)
	}
	perform(t, 5, "rq", "enqueue", "tasks.add", "--args", "[5]", "--queue", "q", "--id", "three", "--redis", s.URL())
	perform(t, 4, "rq", "enqueue", "tasks.add", "--after", "nobody", "--redis", s.URL())
	s.Kill()
	perform(t, 3, "rq", "enqueue", "tasks.add", "--redis", s.URL())
	t.Setenv("REDIS_URL", "")
	perform(t, 2, "rq", "enqueue", "tasks.add")
}

// Jobs that Python enqueues run as tasks of a server, or at an address.
func TestRQWorker(t *testing.T) {
	t.Parallel()
	v, s := rqtest.Debian(t), redistest.Start(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/hook" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		fmt.Fprintf(w, `{"got":%s}`, body)
	}))
	defer web.Close()
	d := serve(t, t.TempDir(), "--http-allow", "127.0.0.0/8")
	v.Run(t, s.Addr(), `
q = queue()
q.enqueue('app.echo', 1, x='y', job_id='task')
q.enqueue('app.hook', 2, job_id='web')
q.enqueue('app.hook.missing', job_id='refused')
q.enqueue('app.flaky', fail_times=5, job_id='bad')
q.enqueue('app.other', job_id='other')
`)
	perform(t, 0, "rq", "worker", "q", "--redis", s.URL(), "--server", d.url, "--burst", "--name", "go", "--concurrency", "2", "--route", "python",
		"--map", "app.echo=echo", "--map", "app.hook="+web.URL+"/hook", "--map", "app.hook.missing="+web.URL+"/nothing")
	said := v.Run(t, s.Addr(), `
say([fetch('task').get_status(), fetch('web').get_status(), fetch('refused').get_status(), '418' in fetch('refused').exc_info, queue('python').job_ids, queue().job_ids])
say([json.loads(json.dumps(fetch(i).result)) for i in ('task', 'web')])`)
	if want := `["finished", "finished", "failed", true, ["bad", "other"], []]
[{"args": [1], "kwargs": {"x": "y"}}, {"got": {"args": [2], "kwargs": {}}}]`; said != want {
		t.Errorf("Python says\n%s\nnot\n%s", said, want)
	}
	perform(t, 0, "rq", "worker", "python", "--redis", s.URL(), "--server", d.url, "--burst", "--payload", "kwargs", "--map", "app.flaky=flaky", "--map", "*=echo")
	if said := v.Run(t, s.Addr(), `say([fetch('bad').get_status(), 'flaky: attempt 1' in fetch('bad').exc_info, fetch('other').get_status(), fetch('other').result])`); said != `["failed", true, "finished", {}]` {
		t.Error(said)
	}
	for _, args := range [][]string{{"q"}, {"q", "--map", "x=y"}, {"q", "--map", "a.b"}, {"q", "--map", "a.b=c d"}, {"q", "--map", "a.b=c", "--concurrency", "0"}, {"q", "--map", "a.b=c", "--route", "q"}} {
		perform(t, 2, append(append([]string{"rq", "worker"}, args...), "--redis", s.URL(), "--server", d.url)...)
	}
}

// What waits in RQ becomes tasks, once, and first the command only says so.
func TestRQImport(t *testing.T) {
	t.Parallel()
	v, s := rqtest.Debian(t), redistest.Start(t)
	d := serve(t, t.TempDir())
	v.Run(t, s.Addr(), `
import datetime
from rq import Retry
q = queue()
q.enqueue('tasks.fail', job_id='failed')
Worker([q], connection=r, name='w', serializer=JSONSerializer).work(burst=True, logging_level='ERROR')
q.enqueue('app.echo', 1, job_id='one', retry=Retry(max=2))
q.enqueue('app.echo', 2, k='v', job_id='two')
q.enqueue('app.other', job_id='other')
q.enqueue('app.echo', job_id='parent')
q.enqueue('app.echo', job_id='child', depends_on='parent')
q.enqueue_at(datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc), 'app.echo', job_id='later')
`)
	before := s.Do("DEBUG", "DIGEST")
	args := []string{"rq", "import", "q", "--redis", s.URL(), "--server", d.url, "--map", "app.echo=echo", "--map", "tasks.fail=echo"}
	out := perform(t, 0, args...)
	for _, want := range []string{"4 jobs would be taken over", "2 stay", "no --map for app.other", "other jobs wait for it"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if s.Do("DEBUG", "DIGEST") != before {
		t.Error("the dry run has changed Redis")
	}
	out = perform(t, 0, append(args, "--apply", "--json")...)
	var report struct {
		Applied bool
		Jobs    []struct {
			Job, Was string
			TaskID   *string `json:"task_id"`
			Stays    *string
		}
	}
	if err := json.Unmarshal([]byte(out[:strings.LastIndex(out, "}")+1]), &report); err != nil || !report.Applied || len(report.Jobs) != 6 {
		t.Fatalf("%v %s", err, out)
	}
	c := connect(t, d)
	for _, j := range report.Jobs {
		if (j.TaskID == nil) == (j.Stays == nil) {
			t.Errorf("%+v", j)
		}
		if j.TaskID == nil {
			continue
		}
		id, err := morningai.ParseID(*j.TaskID)
		if err != nil {
			t.Fatal(err)
		}
		task, err := c.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case j.Job == "later" && (task.State != morningai.StateScheduled || task.RunAt.Year() != 2100):
			t.Errorf("%+v", task)
		case j.Job == "one" && task.MaxAttempts != 3, task.Metadata["rq_job"] != j.Job, task.Queue != "q":
			t.Errorf("%+v", task)
		case j.Job != "later":
			if task, err = c.Wait(t.Context(), id); err != nil || task.State != morningai.StateSucceeded {
				t.Errorf("%+v %v", task, err)
			}
		}
	}
	if said := v.Run(t, s.Addr(), `say([queue().job_ids, [Job.exists(i, connection=r) for i in ('one', 'two', 'later', 'failed')], r.zcard('rq:scheduled:q'), r.zcard('rq:failed:q'), fetch('child').get_status()])`); said != `[["other", "parent"], [false, false, false, false], 0, 0, "deferred"]` {
		t.Error(said)
	}
	if out := perform(t, 0, append(args, "--apply")...); !strings.Contains(out, "0 jobs taken over, 2 stay") {
		t.Error(out)
	}
}

// An import that was cut off between the two systems is taken up, and a job runs
// in one of them only.
func TestRQImportTakenUp(t *testing.T) {
	t.Parallel()
	v, s := rqtest.Debian(t), redistest.Start(t)
	d := serve(t, t.TempDir())
	v.Run(t, s.Addr(), `queue().enqueue('app.echo', 1, job_id='one')`)
	gone := perform(t, 3, "rq", "import", "q", "--redis", s.URL(), "--server", "http://127.0.0.1:1", "--map", "*=echo", "--apply")
	if s.Do("LLEN", "rq:queue:q") != "0" || s.Do("HGET", "rq:job:one", "status") != "deferred" {
		t.Errorf("after a failure: %s", gone)
	}
	if out := perform(t, 0, "rq", "import", "q", "--redis", s.URL(), "--server", d.url, "--map", "*=echo", "--apply"); !strings.Contains(out, "1 jobs taken over") {
		t.Error(out)
	}
	if s.Do("EXISTS", "rq:job:one") != "0" {
		t.Error("the job is still there")
	}
}

// A server that delivers to RQ needs the Redis that RQ uses.
func TestRQQueuesNeedRedis(t *testing.T) {
	t.Setenv("MORNINGAI_REDIS", "")
	t.Setenv("REDIS_URL", "")
	for _, args := range [][]string{{}, {"--redis", "redis://127.0.0.1:1", "--role", "api"}, {"--redis", "redis://127.0.0.1:1", "--engine", "sqlite"}} {
		out := perform(t, 2, append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--rq-queues", "q"}, args...)...)
		if !strings.Contains(out, "--rq-queues") {
			t.Error(out)
		}
	}
}

package rq_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/rq"
)

var quiet = slog.New(slog.DiscardHandler)

// work starts a worker; the returned function stops it and waits for its end.
func work(t *testing.T, c *rq.Client, cfg rq.WorkerConfig) func() {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	w, err := c.NewWorker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// burstGo runs a worker of ours until nothing is left.
func burstGo(t *testing.T, c *rq.Client, cfg rq.WorkerConfig) {
	t.Helper()
	cfg.Burst, cfg.Logger = true, quiet
	w, err := c.NewWorker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func echo(_ context.Context, j *rq.Job) (any, error) {
	return json.RawMessage(`{"args":` + string(j.Args) + `,"kwargs":` + string(j.Kwargs) + `}`), nil
}

func failing(context.Context, *rq.Job) (any, error) { return nil, errors.New("no such size") }

// What Python enqueues runs here, and Python sees what came of it as from a
// worker of its own, whichever serializer it uses.
func TestGoRunsWhatPythonEnqueues(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		v.Run(t, s.Addr(), `
import tasks
from rq import Retry
q, p = queue(), queue('p', DefaultSerializer)
q.enqueue('tasks.echo', 1, 'ü', k=[2**70], job_id='json')
p.enqueue(tasks.echo, (1, 2.0), b={'x': None}, job_id='pickle')
q.enqueue('tasks.nothing', job_id='none', result_ttl=60)
q.enqueue('tasks.nothing', job_id='ever', result_ttl=-1)
q.enqueue('tasks.nothing', job_id='gone', result_ttl=0)
q.enqueue('tasks.fail', job_id='bad', failure_ttl=100)
q.enqueue('tasks.fail', job_id='again', retry=Retry(max=2))
q.enqueue('tasks.fail', job_id='later', retry=Retry(max=2, interval=[3600]))
q.enqueue('tasks.panic', job_id='panic')
q.enqueue('tasks.slow', job_id='slow', job_timeout=1)
q.enqueue('tasks.nothing', job_id='child', depends_on='json')
q.enqueue('tasks.nothing', job_id='orphan', depends_on='bad')
from rq.job import Dependency
q.enqueue('tasks.nothing', job_id='anyway', depends_on=Dependency(jobs=['bad', 'json'], allow_failure=True))
`)
		again := 0
		burstGo(t, c, rq.WorkerConfig{Name: "go", Queues: []string{"q", "p"}, Handlers: map[string]rq.Handler{
			"tasks.echo": echo, "tasks.nothing": func(context.Context, *rq.Job) (any, error) { return nil, nil },
			"tasks.fail": func(ctx context.Context, j *rq.Job) (any, error) {
				if j.ID == "again" {
					if again++; again == 3 {
						return 3, nil
					}
				}
				return failing(ctx, j)
			},
			"tasks.panic": func(context.Context, *rq.Job) (any, error) { panic("oh") },
			"tasks.slow":  func(ctx context.Context, _ *rq.Job) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
		}})
		value := "j.return_value()"
		if !v.Two() {
			value = "j.return_value"
			if v.Run(t, s.Addr(), `say(callable(getattr(Job, 'return_value', None)))`) == "true" {
				value = "j.return_value()"
			}
		}
		said := v.Run(t, s.Addr(), `
import tasks
from rq.registry import FinishedJobRegistry, FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry, DeferredJobRegistry
def status(id): return fetch(id).get_status()
say({i: status(i) for i in ['json', 'none', 'ever', 'bad', 'again', 'later', 'panic', 'slow', 'child', 'orphan', 'anyway']})
def value(j): return `+value+`
say([value(fetch('json')), value(fetch('pickle', DefaultSerializer)), value(fetch('none')), value(fetch('again')), Job.exists('gone', connection=r)])
say([sorted(FinishedJobRegistry('q', connection=r).get_job_ids()), sorted(FailedJobRegistry('q', connection=r).get_job_ids()),
  ScheduledJobRegistry('q', connection=r).get_job_ids(), StartedJobRegistry('q', connection=r).get_job_ids(), DeferredJobRegistry('q', connection=r).get_job_ids()])
say(['no such size' in fetch('bad').exc_info, 'oh' in fetch('panic').exc_info, 'Timeout' in fetch('slow').exc_info, fetch('later').retries_left,
  0 < r.ttl('rq:job:none') <= 60, r.ttl('rq:job:ever'), 0 < r.ttl('rq:job:bad') <= 100, fetch('json').worker_name, fetch('json').ended_at >= fetch('json').started_at])
`)
		want := `{"again": "finished", "anyway": "finished", "bad": "failed", "child": "finished", "ever": "finished", "json": "finished", "later": "scheduled", "none": "finished", "orphan": "deferred", "panic": "failed", "slow": "failed"}
[{"args": [1, "\u00fc"], "kwargs": {"k": [1180591620717411303424]}}, {"args": [[1, 2.0]], "kwargs": {"b": {"x": null}}}, null, 3, false]
[["again", "anyway", "child", "ever", "json", "none"], ["bad", "panic", "slow"], ["later"], [], ["orphan"]]
[true, true, true, 1, true, -1, true, "go", true]`
		if said != want {
			t.Errorf("Python says\n%s\nnot\n%s", said, want)
		}
	})
}

// A worker of ours is one of RQ's: it is on its list, obeys its commands, and
// pauses with the others.
func TestCommands(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		began, done := make(chan string, 10), make(chan struct{})
		stop := work(t, c, rq.WorkerConfig{Name: "go", Queues: []string{"q"}, Otherwise: func(ctx context.Context, j *rq.Job) (any, error) {
			began <- j.ID
			if j.Func == "tasks.nothing" {
				return nil, nil
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-done:
				return "done", nil
			}
		}})
		defer stop()
		v.Run(t, s.Addr(), `
from rq.suspension import suspend, resume
w = lambda: [x for x in Worker.all(connection=r) if x.name == 'go']
until(lambda: w() and w()[0].get_state() == 'idle')
queue().enqueue('tasks.nap', job_id='long')
until(lambda: w()[0].get_state() == 'busy' and w()[0].get_current_job_id() == 'long')
`)
		if id := <-began; id != "long" {
			t.Fatal(id)
		}
		v.Run(t, s.Addr(), `
from rq.command import send_stop_job_command
send_stop_job_command(r, 'long', JSONSerializer)
until(lambda: fetch('long').get_status() == 'stopped')
until(lambda: Worker.all(connection=r)[0].get_state() == 'idle')
from rq.registry import FailedJobRegistry, StartedJobRegistry
assert FailedJobRegistry('q', connection=r).get_job_ids() == ['long'], 'failed'
assert StartedJobRegistry('q', connection=r).get_job_ids() == [], 'started'
r.set('rq:suspended', 1)
queue().enqueue('tasks.nothing', job_id='held')
`)
		redistest.Until(t, "the worker to have looked", func() bool { return len(began) == 0 && s.Do("LLEN", "rq:queue:q") == "1" })
		s.Do("DEL", "rq:suspended")
		if id := <-began; id != "held" {
			t.Fatal(id)
		}
		v.Run(t, s.Addr(), `
queue().enqueue('tasks.nap', job_id='last')
until(lambda: fetch('last').get_status() == 'started')
from rq.command import send_shutdown_command
send_shutdown_command(r, 'go')
queue().enqueue('tasks.nothing', job_id='after')
`)
		close(done)
		reaches(t, c, "last", rq.Finished)
		redistest.Until(t, "the worker to leave", func() bool { return s.Do("SCARD", "rq:workers") == "0" })
		stop()
		if j := get(t, c, "after"); j.Status != rq.Queued || s.Do("EXISTS", "rq:scheduler-lock:q") != "0" {
			t.Errorf("%+v", j)
		}
		if said := v.Run(t, s.Addr(), `say([r.hget('rq:worker:go', 'successful_job_count').decode(), r.hexists('rq:worker:go', 'death')])`); said != `["2", true]` {
			t.Error(said)
		}
	})
}

// Jobs that only Python can run are left where they are, or go to the queue that
// they are routed to; what lies behind them runs.
func TestForeignJobs(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		plant := `
import tasks
q = queue(serializer=DefaultSerializer)
for i in range(args[0]):
    q.enqueue('tasks.unknown', job_id='unknown%d' % i)
q.enqueue('tasks.echo', 1, job_id='callback', on_success=tasks.on_end)
q.enqueue('tasks.echo', tasks.Box(1), job_id='object')
q.enqueue('tasks.echo', 1, job_id='mine')
`
		v.Run(t, s.Addr(), plant, 150)
		var log safeBuffer
		cfg := rq.WorkerConfig{Queues: []string{"q"}, Burst: true, Handlers: map[string]rq.Handler{"tasks.echo": echo}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		w, err := c.NewWorker(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if j := get(t, c, "mine"); j.Status != rq.Finished {
			t.Errorf("%+v", j)
		}
		ids, err := c.IDs(t.Context(), "q", rq.Waiting, 0, 200)
		if err != nil || len(ids) != 152 || ids[0] != "unknown0" || ids[151] != "object" {
			t.Errorf("%v %v", ids, err)
		}
		for _, want := range []string{"no handler of this worker", "calls back into Python", "not a plain value"} {
			if strings.Count(log.String(), want) != 1 {
				t.Errorf("%q is said %d times", want, strings.Count(log.String(), want))
			}
		}
		burstGo(t, c, rq.WorkerConfig{Queues: []string{"q"}, Route: "python", Handlers: map[string]rq.Handler{"tasks.echo": echo}})
		if n := s.Do("LLEN", "rq:queue:python"); n != "152" || s.Do("LLEN", "rq:queue:q") != "0" {
			t.Errorf("%s jobs were routed", n)
		}
		s.Do("LTRIM", "rq:queue:python", "-2", "-1") // the others take a process each
		burst(t, v, s, "setup['serializer'] = DefaultSerializer", "python")
		if j := get(t, c, "callback"); j.Status != rq.Finished || j.Queue != "python" {
			t.Errorf("%+v", j)
		}
	})
}

// safeBuffer takes log lines of several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A job whose Go worker has died is failed, or tried again, by the cleaning of
// every version of RQ; and one whose Python worker has died by ours.
func TestDeadWorkers(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		hung := make(chan struct{})
		enqueue(t, c, rq.Spec{ID: "f", Queue: "q", Func: "tasks.nothing"})
		w := work(t, c, rq.WorkerConfig{Queues: []string{"q"}, Otherwise: func(context.Context, *rq.Job) (any, error) { <-hung; return nil, nil }})
		reaches(t, c, "f", rq.Started)
		// As if the worker had been silent for two minutes.
		s.Do("ZADD", "rq:wip:q", decimal(time.Now().Add(-time.Minute).Unix()), "f")
		v.Run(t, s.Addr(), `
from rq.registry import clean_registries, StartedJobRegistry
clean_registries(queue())
say(StartedJobRegistry('q', connection=r).get_job_ids())
`)
		if j := get(t, c, "f"); j.Status != rq.Failed {
			t.Errorf("%+v", j)
		}
		// The worker lives after all: what it did counts.
		close(hung)
		if j := reaches(t, c, "f", rq.Finished); j.Result.Type != rq.Successful || s.Do("ZCARD", "rq:failed:q") != "0" {
			t.Errorf("%+v", j)
		}
		w()

		enqueue(t, c, rq.Spec{ID: "p", Queue: "p", Func: "tasks.nap", Args: []any{60}})
		enqueue(t, c, rq.Spec{ID: "r", Queue: "r", Func: "tasks.nap", Args: []any{60}, Retries: 1})
		for _, q := range []string{"p", "r"} {
			py := v.Worker(t, s.Addr(), "py"+q, "", q)
			reaches(t, c, q, rq.Started)
			py.Kill()
			for _, member := range strings.Fields(s.Do("ZRANGE", "rq:wip:"+q, "0", "-1")) {
				s.Do("ZADD", "rq:wip:"+q, decimal(time.Now().Add(-time.Minute).Unix()), member)
			}
			s.Do("DEL", "rq:clean_registries:"+q)
		}
		stop := work(t, c, rq.WorkerConfig{Queues: []string{"p", "r"}, Handlers: map[string]rq.Handler{"tasks.nap": echo}})
		defer stop()
		if j := reaches(t, c, "p", rq.Failed); !strings.Contains(j.Result.Exception(), "AbandonedJobError") {
			t.Errorf("%+v", j.Result)
		}
		if j := reaches(t, c, "r", rq.Finished); j.RetriesLeft != 0 {
			t.Errorf("%+v", j)
		}
	})
}

func decimal(n int64) string { return jsonOf(n) }

// A job that ends while Redis is away is recorded afterwards, and runs once.
func TestWorkerInAnOutage(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes")
	c := open(t, s)
	runs, hold := make(chan string, 10), make(chan struct{})
	enqueue(t, c, rq.Spec{ID: "one", Queue: "q", Func: "tasks.nothing"})
	enqueue(t, c, rq.Spec{ID: "two", Queue: "q", Func: "tasks.nothing"})
	stop := work(t, c, rq.WorkerConfig{Queues: []string{"q"}, Otherwise: func(_ context.Context, j *rq.Job) (any, error) {
		runs <- j.ID
		<-hold
		return j.ID, nil
	}})
	defer stop()
	reaches(t, c, "one", rq.Started)
	s.Kill()
	close(hold)
	if _, err := c.Get(t.Context(), "one"); !errors.Is(err, morningai.ErrUnavailable) {
		t.Errorf("while Redis is away: %v", err)
	}
	s.Restart()
	redistest.Until(t, "both to be finished", func() bool {
		one, err := c.Get(t.Context(), "one")
		two, err2 := c.Get(t.Context(), "two")
		return err == nil && err2 == nil && one.Status == rq.Finished && two.Status == rq.Finished
	})
	if got := []string{<-runs, <-runs}; len(runs) != 0 || got[0] != "one" || got[1] != "two" {
		t.Errorf("runs: %v and %d more", got, len(runs))
	}
	if n := s.Do("XLEN", "rq:results:one"); n != "1" {
		t.Errorf("%s results", n)
	}
}

// Due jobs move by our scheduler, which leaves a queue that another one has.
func TestScheduler(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	s.Do("SET", "rq:scheduler-lock:taken", "1")
	for _, q := range []string{"free", "taken"} {
		enqueue(t, c, rq.Spec{ID: q, Queue: q, Func: "tasks.nothing", At: time.Now().Add(-time.Second)})
	}
	stop := work(t, c, rq.WorkerConfig{Queues: []string{"taken", "free"}, Otherwise: echo})
	reaches(t, c, "free", rq.Finished)
	if j := get(t, c, "taken"); j.Status != rq.Scheduled {
		t.Errorf("%+v", j)
	}
	s.Do("DEL", "rq:scheduler-lock:taken")
	reaches(t, c, "taken", rq.Finished)
	stop()
	if s.Do("EXISTS", "rq:scheduler-lock:free") != "0" {
		t.Error("the lock is left behind")
	}
}

func TestWorkerConfigIsChecked(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	for name, cfg := range map[string]rq.WorkerConfig{
		"no queue":     {Otherwise: echo},
		"no handler":   {Queues: []string{"q"}},
		"its own":      {Queues: []string{"q"}, Route: "q", Otherwise: echo},
		"a function":   {Queues: []string{"q"}, Handlers: map[string]rq.Handler{"add": echo}},
		"a nil one":    {Queues: []string{"q"}, Handlers: map[string]rq.Handler{"tasks.add": nil}},
		"a queue name": {Queues: []string{""}, Otherwise: echo},
		"a name":       {Name: "a:b", Queues: []string{"q"}, Otherwise: echo},
	} {
		if _, err := c.NewWorker(cfg); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop := work(t, c, rq.WorkerConfig{Name: "one", Queues: []string{"q"}, Otherwise: echo})
	defer stop()
	redistest.Until(t, "the worker to be on record", func() bool { return s.Do("SCARD", "rq:workers") == "1" })
	w, err := c.NewWorker(rq.WorkerConfig{Name: "one", Queues: []string{"q"}, Otherwise: echo, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, morningai.ErrConflict) {
		t.Errorf("a second one of the name: %v", err)
	}
}

package rq_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/rq"
)

// burst runs a Python worker until the queue is empty.
func burst(t *testing.T, v rqtest.RQ, s *redistest.Server, more string, queues ...string) string {
	t.Helper()
	return v.Worker(t, s.Addr(), "py", "work['burst'] = True\n"+more, queues...).Ended()
}

// What Go enqueues a Python worker runs, and Go reads what came of it; Python
// reads the same.
func TestPythonRunsWhatGoEnqueues(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		const big = "90071992547409931234567890"
		job := enqueue(t, c, rq.Spec{ID: "one", Queue: "q", Func: "tasks.echo", Args: []any{1, "zwei <&>", json.RawMessage(big), 1.5, nil, true},
			Kwargs: map[string]any{"k": []int{1, 2}}, Meta: map[string]any{"who": "go"}, Timeout: 17 * time.Second})
		if job.Status != rq.Queued || job.Func != "tasks.echo" || job.Timeout != 17*time.Second || string(job.Meta) != `{"who":"go"}` {
			t.Errorf("%+v", job)
		}
		enqueue(t, c, rq.Spec{ID: "bad", Queue: "q", Func: "tasks.fail", Args: []any{"too large"}})
		enqueue(t, c, rq.Spec{ID: "none", Queue: "q", Func: "tasks.nothing"})
		enqueue(t, c, rq.Spec{ID: "static", Queue: "q", Func: "tasks.Box.double", Args: []any{21}})
		enqueue(t, c, rq.Spec{ID: "dropped", Queue: "q", Func: "tasks.nothing", ResultTTL: rq.Drop})
		if log := burst(t, v, s, "", "q"); !strings.Contains(log, "too large") {
			t.Errorf("the worker said: %s", log)
		}
		one := get(t, c, "one")
		want := `{"args":[1,"zwei <&>",` + big + `,1.5,null,true],"kwargs":{"k":[1,2]}}`
		if one.Status != rq.Finished || one.Result == nil || one.Result.Type != rq.Successful || strings.ReplaceAll(string(one.Result.Value), ", ", ",") != strings.ReplaceAll(want, `":`, `": `) {
			t.Errorf("%+v %s", one, one.Result.Value)
		}
		if one.StartedAt.IsZero() || one.EndedAt.Before(one.StartedAt) || one.Worker != "py" {
			t.Errorf("%+v", one)
		}
		bad := get(t, c, "bad")
		if bad.Status != rq.Failed || bad.Result.Exception() != "ValueError: too large" || !strings.Contains(bad.Result.Trace, "Traceback") {
			t.Errorf("%+v", bad.Result)
		}
		if none := get(t, c, "none"); none.Status != rq.Finished || string(none.Result.Value) != "null" {
			t.Errorf("%+v", none)
		}
		if static := get(t, c, "static"); string(static.Result.Value) != "42" {
			t.Errorf("%+v", static)
		}
		if _, err := c.Get(t.Context(), "dropped"); !errors.Is(err, morningai.ErrNotFound) {
			t.Errorf("%v", err)
		}
		said := v.Run(t, s.Addr(), `
j = fetch('one')
say([j.get_status(), j.timeout, j.result_ttl, j.failure_ttl, j.meta, j.description, j.origin, r.ttl(j.key) > 0])`)
		if want := `["finished", 17, 500, 31536000, {"who": "go"}, "tasks.echo(1,\"zwei <&>\",` + big + `,1.5,null,true, **{\"k\":[1,2]})", "q", true]`; said != want {
			t.Errorf("Python says %s\nnot %s", said, want)
		}
		if again := enqueue(t, c, rq.Spec{ID: "none", Queue: "q", Func: "tasks.nothing"}); again.Status != rq.Finished {
			t.Errorf("enqueued again: %+v", again)
		}
		if n := s.Do("LLEN", "rq:queue:q"); n != "0" {
			t.Errorf("%s jobs in the queue after a repeat", n)
		}
		if _, err := c.Enqueue(t.Context(), rq.Spec{ID: "none", Queue: "q", Func: "tasks.nothing", Args: []any{1}}); !errors.Is(err, rq.ErrExists) || !errors.Is(err, morningai.ErrConflict) {
			t.Errorf("another job of the id: %v", err)
		}
	})
}

// Jobs that come after others wait for them, and scheduled ones for their time.
func TestOrderAndTime(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		enqueue(t, c, rq.Spec{ID: "a", Queue: "q", Func: "tasks.add", Args: []any{1}})
		enqueue(t, c, rq.Spec{ID: "f", Queue: "q", Func: "tasks.fail"})
		if b := enqueue(t, c, rq.Spec{ID: "b", Queue: "q", Func: "tasks.add", Args: []any{2}, After: []string{"a"}}); b.Status != rq.Deferred || !slices.Equal(b.After, []string{"a"}) {
			t.Errorf("%+v", b)
		}
		enqueue(t, c, rq.Spec{ID: "never", Queue: "q", Func: "tasks.add", Args: []any{3}, After: []string{"a", "f"}})
		enqueue(t, c, rq.Spec{ID: "anyway", Queue: "q", Func: "tasks.add", Args: []any{4}, After: []string{"f"}, AnyEnd: true})
		due := time.Now().Add(time.Hour).Truncate(time.Second)
		if later := enqueue(t, c, rq.Spec{ID: "later", Queue: "q", Func: "tasks.add", Args: []any{5}, At: due}); later.Status != rq.Scheduled || !later.DueAt.Equal(due) {
			t.Errorf("%+v", later)
		}
		enqueue(t, c, rq.Spec{ID: "soon", Queue: "q", Func: "tasks.add", Args: []any{6}, At: time.Now().Add(-time.Minute)})
		if _, err := c.Enqueue(t.Context(), rq.Spec{Queue: "q", Func: "tasks.add", After: []string{"nobody"}}); !errors.Is(err, morningai.ErrNotFound) {
			t.Errorf("%v", err)
		}
		said := v.Run(t, s.Addr(), `
from rq.registry import DeferredJobRegistry, ScheduledJobRegistry
say([sorted(DeferredJobRegistry('q', connection=r).get_job_ids()), ScheduledJobRegistry('q', connection=r).get_scheduled_time('later').timestamp(),
  fetch('b').dependency.id, sorted(d.id for d in fetch('never').fetch_dependencies())])`)
		if want := `[["anyway", "b", "never"], ` + jsonOf(due.Unix()) + `.0, "a", ["a", "f"]]`; said != want {
			t.Errorf("Python says %s, not %s", said, want)
		}
		burst(t, v, s, "", "q")
		for id, want := range map[string]rq.Status{"a": rq.Finished, "b": rq.Finished, "f": rq.Failed, "never": rq.Deferred, "later": rq.Scheduled, "soon": rq.Scheduled} {
			if j := get(t, c, id); j.Status != want {
				t.Errorf("%s is %s, not %s", id, j.Status, want)
			}
		}
		if late := enqueue(t, c, rq.Spec{ID: "late", Queue: "q", Func: "tasks.add", Args: []any{7}, After: []string{"a"}}); late.Status != rq.Queued {
			t.Errorf("after a finished one: %+v", late)
		}
		w := v.Worker(t, s.Addr(), "py", "work['with_scheduler'] = True", "q")
		reaches(t, c, "soon", rq.Finished)
		reaches(t, c, "late", rq.Finished)
		w.Kill()
	})
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestRetries(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		enqueue(t, c, rq.Spec{ID: "r", Queue: "q", Func: "tasks.flaky", Args: []any{s.Port(), "n", 2}, Retries: 3})
		enqueue(t, c, rq.Spec{ID: "w", Queue: "q", Func: "tasks.fail", Retries: 1, Interval: []time.Duration{time.Hour}})
		burst(t, v, s, "", "q")
		if r := get(t, c, "r"); r.Status != rq.Finished || string(r.Result.Value) != "3" || r.RetriesLeft != 1 {
			t.Errorf("%+v", r)
		}
		if w := get(t, c, "w"); w.Status != rq.Scheduled || w.RetriesLeft != 0 || time.Until(w.DueAt) < 50*time.Minute {
			t.Errorf("%+v", w)
		}
	})
}

// What waits can be canceled, what runs can be stopped, what has failed can be
// put into its queue again.
func TestControl(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c, ctx := open(t, s), t.Context()
		for _, id := range []string{"one", "two"} {
			enqueue(t, c, rq.Spec{ID: id, Queue: "q", Func: "tasks.nothing"})
		}
		enqueue(t, c, rq.Spec{ID: "child", Queue: "q", Func: "tasks.nothing", After: []string{"one"}})
		for range 2 {
			if err := c.Cancel(ctx, "one"); err != nil {
				t.Fatal(err)
			}
		}
		if said := v.Run(t, s.Addr(), `
from rq.registry import CanceledJobRegistry
say([fetch('one').get_status(), CanceledJobRegistry('q', connection=r).get_job_ids(), queue().job_ids, fetch('child').get_status()])`); said != `["canceled", ["one"], ["two"], "deferred"]` {
			t.Error(said)
		}
		if err := c.Requeue(ctx, "one"); err != nil {
			t.Fatal(err)
		}
		enqueue(t, c, rq.Spec{ID: "f", Queue: "q", Func: "tasks.fail"})
		burst(t, v, s, "", "q")
		for _, id := range []string{"one", "two", "child"} {
			reaches(t, c, id, rq.Finished)
		}
		for what, f := range map[string]func() error{"cancel": func() error { return c.Cancel(ctx, "two") }, "stop": func() error { return c.Stop(ctx, "two") }, "requeue": func() error { return c.Requeue(ctx, "two") }} {
			if err := f(); !errors.Is(err, morningai.ErrWrongState) {
				t.Errorf("%s of a finished job: %v", what, err)
			}
		}
		if err := c.Requeue(ctx, "f"); err != nil || s.Do("LLEN", "rq:queue:q") != "1" || s.Do("ZCARD", "rq:failed:q") != "0" {
			t.Errorf("requeue: %v, %s waiting, %s failed", err, s.Do("LLEN", "rq:queue:q"), s.Do("ZCARD", "rq:failed:q"))
		}
		if err := c.Delete(ctx, "f"); err != nil {
			t.Error(err)
		}
		if _, err := c.Get(ctx, "f"); !errors.Is(err, morningai.ErrNotFound) {
			t.Errorf("%v", err)
		}
		enqueue(t, c, rq.Spec{ID: "long", Queue: "q", Func: "tasks.nap", Args: []any{60}})
		v.Worker(t, s.Addr(), "py", "", "q")
		reaches(t, c, "long", rq.Started)
		if err := c.Cancel(ctx, "long"); !errors.Is(err, morningai.ErrWrongState) {
			t.Errorf("cancel of a running job: %v", err)
		}
		if err := c.Delete(ctx, "long"); !errors.Is(err, morningai.ErrWrongState) {
			t.Errorf("delete of a running job: %v", err)
		}
		redistest.Until(t, "the worker to be told", func() bool { return c.Stop(ctx, "long") == nil })
		reaches(t, c, "long", rq.Stopped)
	})
}

// What would end a Python worker, or be misread, never reaches Redis.
func TestRefused(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	wrong := map[string]rq.Spec{
		"id":          {ID: "a.b"},
		"id ":         {ID: "a:b"},
		"id  ":        {ID: strings.Repeat("a", 257)},
		"func":        {Func: "nothing"},
		"func ":       {Func: "tasks.no thing"},
		"queue":       {Queue: "a\nb"},
		"timeout":     {Timeout: 1500 * time.Millisecond},
		"timeout ":    {Timeout: -5 * time.Second},
		"timeout  ":   {Timeout: rq.Drop},
		"result_ttl":  {ResultTTL: time.Millisecond},
		"failure_ttl": {FailureTTL: time.Nanosecond},
		"retries":     {Retries: -1},
		"interval":    {Retries: 1, Interval: []time.Duration{time.Millisecond}},
		"interval ":   {Interval: []time.Duration{time.Second}},
		"after":       {After: []string{"x:y"}},
		"args":        {Args: []any{func() {}}},
		"kwargs":      {Kwargs: map[string]any{"x": make(chan int)}},
		"meta":        {Meta: map[string]any{"x": func() {}}},
		"at":          {At: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"at ":         {At: time.Now(), After: []string{"x"}},
		"description": {Description: "\xff"},
	}
	for location, spec := range wrong {
		if spec.Func == "" {
			spec.Func = "tasks.nothing"
		}
		_, err := c.Enqueue(t.Context(), spec)
		e, ok := errors.AsType[*morningai.Error](err)
		if !ok || e.Code != morningai.CodeInvalidInput || len(e.Fields) != 1 || e.Fields[0].Location != strings.TrimSpace(location) {
			t.Errorf("%s: %v", location, err)
		}
	}
	if n := s.Do("DBSIZE"); n != "0" {
		t.Errorf("%s keys were written", n)
	}
	for _, url := range []string{"redis+cluster://127.0.0.1:1", "http://x"} {
		if _, err := rq.Open(url); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := rq.Open(s.URL(), rq.WithSerializer("yaml")); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Error(err)
	}
}

// Pickles are read for plain values, and written when asked to; nothing in one
// is run.
func TestPickle(t *testing.T) {
	each(t, func(t *testing.T, v rqtest.RQ, s *redistest.Server) {
		c := open(t, s)
		said := v.Run(t, s.Addr(), `
import tasks, datetime, collections
q = queue(serializer=DefaultSerializer)
plain = {'a': (1, 2**80, -1, 2.0, 1e300), 'b': [None, True, 'ü"\\', b'\x00\xff'], 3: {}, 'nan': float('nan'), 'inf': float('-inf'), None: 1, 2.5: 2, False: 3}
class Evil:
    def __reduce__(self):
        return (open, ('`+t.TempDir()+`/evil', 'w'))
say([q.enqueue(tasks.echo, plain, k='v', job_id='plain').id, q.enqueue(tasks.box, tasks.Box(1), job_id='object').id,
  q.enqueue(tasks.echo, Evil(), job_id='evil').id, q.enqueue(tasks.Box(4).__class__.double, 4, job_id='static').id])
import pickle, zlib
deep, wide, same, text = [], {}, [1], 'one' * 9
for _ in range(300): deep = [deep]
for _ in range(60): wide = {'a': wide, 'b': wide}
def plant(id, protocol, *values):
    data = pickle.dumps(('tasks.echo', None, values, {}), protocol=protocol)
    r.hset('rq:job:' + id, mapping={'data': zlib.compress(data) if protocol else data, 'origin': 'q', 'status': 'queued'})
plant('deep', 5, deep)
plant('wide', 5, wide)
plant('half', 5, 'a\ud800')
for protocol in (2, 3, 4, 5):
    plant('same%d' % protocol, protocol, 0, same, 1 << 70, {'k': same})
    plant('fine%d' % protocol, protocol, text, text, (1, 2), [[], []], {}, 'hq.', b'hj' * 200, 2**300)
r.hset('rq:job:broken', mapping={'data': b'\x80\x05\x95\xff', 'origin': 'q', 'status': 'queued', 'created_at': '2026-01-01T00:00:00Z'})
`)
		if said != `["plain", "object", "evil", "static"]` {
			t.Fatal(said)
		}
		plain := get(t, c, "plain")
		var got map[string]json.RawMessage
		var args []json.RawMessage
		if err := json.Unmarshal(plain.Args, &args); err != nil || plain.Unreadable != nil {
			t.Fatalf("%s %v %v", plain.Args, err, plain.Unreadable)
		}
		if err := json.Unmarshal(args[0], &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"a": `[1,1208925819614629174706176,-1,2.0,1e+300]`, "b": `[null,true,"ü\"\\","AP8="]`, "3": "{}", "nan": `"NaN"`, "inf": `"-Infinity"`, "null": "1", "2.5": "2", "false": "3"}
		for k, w := range want {
			if string(got[k]) != w {
				t.Errorf("%s is %s, not %s", k, got[k], w)
			}
		}
		if len(got) != len(want) || string(plain.Kwargs) != `{"k":"v"}` {
			t.Errorf("%s %s", plain.Args, plain.Kwargs)
		}
		for id, function := range map[string]string{"object": "tasks.box", "evil": "tasks.echo", "wide": "tasks.echo", "deep": "tasks.echo", "half": "tasks.echo",
			"same2": "", "same3": "tasks.echo", "same4": "tasks.echo", "same5": "tasks.echo"} {
			if j := get(t, c, id); !errors.Is(j.Unreadable, rq.ErrNotPlain) || function != "" && j.Func != function || j.Args != nil {
				t.Errorf("%s: %q %s %v", id, j.Func, j.Args, j.Unreadable)
			}
		}
		for _, id := range []string{"fine3", "fine4", "fine5"} {
			if j := get(t, c, id); j.Unreadable != nil || !strings.HasPrefix(string(j.Args), `["oneoneoneoneoneoneoneoneone","oneoneoneoneoneoneoneoneone",[1,2],[[],[]],{},"hq.","`) {
				t.Errorf("%s: %s %v", id, j.Args, j.Unreadable)
			}
		}
		if j := get(t, c, "broken"); !errors.Is(j.Unreadable, rq.ErrNotPlain) {
			t.Errorf("%+v", j)
		}

		p := open(t, s, rq.WithSerializer(rq.Pickle))
		enqueue(t, p, rq.Spec{ID: "sent", Queue: "p", Func: "tasks.echo", Args: []any{1, 2.5, "ü", nil, false, json.RawMessage("1208925819614629174706176")}, Kwargs: map[string]any{"d": map[string]any{"x": []int{1}}}})
		enqueue(t, p, rq.Spec{ID: "boxed", Queue: "p", Func: "tasks.box", Args: []any{1}})
		burst(t, v, s, "setup['serializer'] = DefaultSerializer", "p")
		sent := get(t, p, "sent")
		if sent.Result == nil || !strings.Contains(string(sent.Result.Value), `[1,2.5,"ü",null,false,1208925819614629174706176]`) || !strings.Contains(string(sent.Result.Value), `{"d":{"x":[1]}}`) {
			t.Errorf("%+v %+v", sent, sent.Result)
		}
		if boxed := get(t, p, "boxed"); boxed.Status != rq.Finished || !errors.Is(boxed.Result.Unreadable, rq.ErrNotPlain) {
			t.Errorf("%+v", boxed)
		}
	})
}

// Values of Python's JSON that JSON has no form for are read too.
func TestPythonNumbers(t *testing.T) {
	v, s := rqtest.Debian(t), redistest.Start(t)
	c := open(t, s)
	v.Run(t, s.Addr(), `queue().enqueue('tasks.echo', float('nan'), [float('inf'), -float('inf')], 'NaN "Infinity', 12345678901234567890123, job_id='n')`)
	j := get(t, c, "n")
	if got := strings.ReplaceAll(string(j.Args), " ", ""); got != `["NaN",["Infinity","-Infinity"],"NaN\"Infinity",12345678901234567890123]` {
		t.Errorf("%s %v", got, j.Unreadable)
	}
}

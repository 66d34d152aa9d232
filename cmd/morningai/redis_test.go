//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
)

// node starts a server on a Redis.
func node(t *testing.T, redis *redistest.Server, name string, args ...string) *daemon {
	t.Helper()
	args = append([]string{"--redis", redis.URL(), "--no-journal", "--node", name, "--lease", "1s"}, args...)
	return serve(t, t.TempDir(), args...)
}

func enqueueSleeps(t *testing.T, c *client.Client, n int, payload, queue string) []morningai.Task {
	t.Helper()
	specs := make([]morningai.TaskSpec, n)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("sleep", []byte(payload))
		specs[i].Queue = queue
	}
	tasks, err := c.EnqueueBatch(t.Context(), specs)
	if err != nil || len(tasks) != n {
		t.Fatalf("%d of %d accepted: %v", len(tasks), n, err)
	}
	return tasks
}

func attemptsOf(t *testing.T, c *client.Client, id morningai.ID) []morningai.Attempt {
	t.Helper()
	list, err := c.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// perform runs one command line in this process and checks its exit code.
func perform(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	if got := run(args, streams{strings.NewReader(""), &out, &said}); got != code {
		t.Fatalf("%s ended with %d, not %d:\n%s%s", strings.Join(args, " "), got, code, out.String(), said.String())
	}
	return out.String() + said.String()
}

// One of three servers is killed under load: what it ran runs elsewhere, what
// had ended is not run again, nothing is lost, and every server can tell.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	victim := node(t, redis, "victim", "--concurrency", "4")
	one := connect(t, node(t, redis, "one", "--concurrency", "4"))
	two := connect(t, node(t, redis, "two", "--concurrency", "4"))
	tasks := enqueueSleeps(t, one, 72, `{"ms":250}`, "default")
	// Each server runs four at a time, in order: this one ends in the middle.
	if _, err := two.Wait(t.Context(), tasks[30].ID); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the victim to run tasks", func() bool {
		page, err := one.List(t.Context(), morningai.Filter{State: morningai.StateRunning})
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range page.Tasks {
			for _, a := range attemptsOf(t, one, task.ID) {
				if a.Node == "victim" {
					return true
				}
			}
		}
		return false
	})
	ended := succeeded(t, one)
	killed := time.Now()
	victim.kill()

	ran, moved, slowest := map[string]int{}, 0, time.Duration(0)
	for i, task := range tasks {
		end, err := []*client.Client{one, two}[i%2].Wait(t.Context(), task.ID)
		if err != nil || end.State != morningai.StateSucceeded || end.Failures != 0 || string(end.Result) != `{"ms":250}` {
			t.Fatalf("task %d: %+v, %v", i, end, err)
		}
		other, err := []*client.Client{two, one}[i%2].Get(t.Context(), task.ID)
		if err != nil || string(other.Result) != string(end.Result) || other.Version != end.Version {
			t.Fatalf("task %d is %+v on another server, %v", i, other, err)
		}
		if before, was := ended[end.ID]; was && before != end.Attempt {
			t.Errorf("task %d had ended and ran again", i)
		}
		attempts := attemptsOf(t, one, task.ID)
		last := attempts[len(attempts)-1]
		ran[attempts[0].Node]++
		if len(attempts) == 1 {
			continue
		}
		if len(attempts) > 2 || attempts[0].Node != "victim" || attempts[0].Outcome != morningai.OutcomeLost || last.Node == "victim" {
			t.Errorf("task %d has the attempts %+v", i, attempts)
		}
		moved++
		slowest = max(slowest, last.StartedAt.Sub(killed))
	}
	if ran["victim"] == 0 || ran["one"] == 0 || ran["two"] == 0 || moved == 0 || moved > 4 {
		t.Errorf("first attempts %v, %d tasks moved", ran, moved)
	}
	t.Logf("%d tasks moved, the last started %v after the kill, with a lease of 1s", moved, slowest)
}

// A pause, a concurrency and a rate hold over all servers, whichever was told.
func TestQueueSettingsOnAllServers(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	a, b := node(t, redis, "a"), node(t, redis, "b")
	ca, cb := connect(t, a), connect(t, b)

	perform(t, 0, "queue", "pause", "q", "--server", a.url)
	tasks := enqueueSleeps(t, cb, 8, `{"ms":20}`, "q")
	if said := perform(t, 0, "task", "why", tasks[0].ID.String(), "--server", b.url); !strings.Contains(said, "paused") {
		t.Fatalf("why: %s", said)
	}
	perform(t, 0, "queue", "set", "q", "--concurrency", "1", "--server", b.url)
	if q, err := ca.Queue(t.Context(), "q"); err != nil || !q.Paused || q.Concurrency != 1 || q.Counts[morningai.StateQueued] != 8 {
		t.Fatalf("the queue is %+v, %v", q, err)
	}
	perform(t, 0, "queue", "resume", "q", "--server", b.url)
	var before morningai.Attempt
	for _, task := range tasks {
		if _, err := ca.Wait(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		attempts := attemptsOf(t, ca, task.ID)
		if len(attempts) != 1 || attempts[0].StartedAt.Before(before.FinishedAt) {
			t.Errorf("one at a time, but %+v came after %+v", attempts, before)
		}
		before = attempts[0]
	}

	perform(t, 0, "queue", "set", "slow", "--rate", "2/h", "--server", a.url)
	tasks = enqueueSleeps(t, cb, 6, `{"ms":1}`, "slow")
	for _, task := range tasks[:2] {
		if end, err := ca.Wait(t.Context(), task.ID); err != nil || end.State != morningai.StateSucceeded {
			t.Fatalf("%+v, %v", end, err)
		}
	}
	for _, d := range []*daemon{a, b} {
		if said := perform(t, 0, "task", "why", tasks[2].ID.String(), "--server", d.url, "--json"); !strings.Contains(said, "rate_limit") {
			t.Errorf("why: %s", said)
		}
	}
	if q, err := cb.Queue(t.Context(), "slow"); err != nil || q.Counts[morningai.StateQueued] != 4 {
		t.Errorf("the queue is %+v, %v", q, err)
	}
}

// A cancel reaches the handler on another server.
func TestCancelOnAnotherServer(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	runner, asked := node(t, redis, "runner"), node(t, redis, "asked", "--queues", "nothing=1")
	c := connect(t, asked)
	task := enqueueSleeps(t, c, 1, `{"ms":3600000}`, "default")[0]
	redistest.Until(t, "the task to run", func() bool {
		got, err := c.Get(t.Context(), task.ID)
		return err == nil && got.State == morningai.StateRunning
	})
	at := time.Now()
	perform(t, 0, "task", "cancel", task.ID.String(), "--server", asked.url)
	end, err := c.Wait(t.Context(), task.ID)
	if err != nil || end.State != morningai.StateCanceled {
		t.Fatalf("%+v, %v", end, err)
	}
	t.Logf("canceled elsewhere after %v", time.Since(at))
	if a := attemptsOf(t, connect(t, runner), task.ID); len(a) != 1 || a[0].Node != "runner" {
		t.Errorf("attempts %+v", a)
	}
}

// ask sends a request and returns status, body and the header Retry-After.
func ask(t *testing.T, method, url, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(text)), res.Header.Get("Retry-After")
}

// Without Redis the server says so and guesses nothing; the handler that runs
// goes on, and its outcome is there when Redis is back.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no") // with everysec a kill may lose what was answered
	started, free := make(chan struct{}, 9), make(chan struct{})
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		select {
		case <-free:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(site.Close)
	d := node(t, redis, "n", "--http-allow", "127.0.0.0/8")
	c := connect(t, d)
	health := func(want int, body string) bool {
		status, got, _ := ask(t, "GET", d.url+"/health/redis", "")
		return status == want && got == body
	}
	if !health(200, `{"status":"Redis is up"}`) {
		t.Fatal("a healthy Redis is not up")
	}
	done := enqueueSleeps(t, c, 1, `{"ms":1}`, "default")[0]
	if _, err := c.Wait(t.Context(), done.ID); err != nil {
		t.Fatal(err)
	}
	task, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("http", []byte(`{"url":"`+site.URL+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	<-started // that Redis calls it running does not mean that the node knows
	redis.Kill()

	for _, r := range [][3]string{
		{"GET", "/v1/tasks/" + task.ID.String()}, {"GET", "/v1/tasks/" + done.ID.String()}, {"GET", "/v1/tasks"}, {"GET", "/v1/queues"},
		{"GET", "/v1/stats"}, {"GET", "/v1/tasks/" + task.ID.String() + "/attempts"},
		{"POST", "/v1/tasks", `{"type":"echo"}`}, {"POST", "/api/agent/faq", `{"question":"why?"}`},
	} {
		status, body, retry := ask(t, r[0], d.url+r[1], r[2])
		if status != 503 || !strings.Contains(body, `"code":"redis_unavailable"`) || retry == "" {
			t.Errorf("%s %s: %d %s, Retry-After %q", r[0], r[1], status, body, retry)
		}
	}
	redistest.Until(t, "Redis to be called down", func() bool { return health(503, `{"status":"Redis is down"}`) })
	redistest.Until(t, "readiness to end", func() bool { // from a write that may be a second old
		status, body, retry := ask(t, "GET", d.url+"/readyz", "")
		return status == 503 && strings.Contains(body, `"code":"redis_unavailable"`) && retry != ""
	})
	status, body, _ := ask(t, "GET", d.url+"/health", "")
	var h struct {
		Status, Engine string
		Redis          struct{ Status, Cause, Since, Hint string }
	}
	if err := json.Unmarshal([]byte(body), &h); err != nil || status != 503 || h.Status != "down" || h.Engine != "redis" ||
		h.Redis.Status != "down" || h.Redis.Cause == "" || h.Redis.Since == "" || h.Redis.Hint == "" {
		t.Errorf("health: %d %s, %v", status, body, err)
	}
	if status, _, _ := ask(t, "GET", d.url+"/livez", ""); status != 200 {
		t.Errorf("livez: %d", status)
	}
	perform(t, exitUnreachable, "health", "--server", d.url)
	perform(t, exitUnreachable, "task", "get", task.ID.String(), "--server", d.url)

	close(free)
	redistest.Until(t, "the handler to end without Redis", func() bool { return strings.Contains(d.said(), "outcomes cannot be recorded") })
	redis.Restart()
	redistest.Until(t, "Redis to be up", func() bool { return health(200, `{"status":"Redis is up"}`) })
	end, err := c.Wait(t.Context(), task.ID)
	if err != nil || end.State != morningai.StateSucceeded || end.Attempt != 1 || len(attemptsOf(t, c, task.ID)) != 1 {
		t.Errorf("the task that ran is %+v, %v", end, err)
	}
	if end, err := c.Get(t.Context(), done.ID); err != nil || end.Attempt != 1 {
		t.Errorf("the task that had ended is %+v, %v", end, err)
	}

	redis.Freeze() // it takes connections, and answers nothing
	redistest.Until(t, "a frozen Redis to be called down", func() bool { return health(503, `{"status":"Redis is down"}`) })
	redis.Thaw()
	redistest.Until(t, "Redis to be up again", func() bool { return health(200, `{"status":"Redis is up"}`) })
	next := enqueueSleeps(t, c, 1, `{"ms":1}`, "default")[0]
	if end, err := c.Wait(t.Context(), next.ID); err != nil || end.State != morningai.StateSucceeded {
		t.Errorf("the task after it is %+v, %v", end, err)
	}
}

// Without ca in the address, the system's authorities decide.
func TestRedisWithSystemRoots(t *testing.T) {
	own := redistest.NewAuthority(t)
	port := redistest.FreePort(t)
	redis := redistest.Start(t, own.TLSArgs(port, "127.0.0.1")...)
	cert, key := own.Issue("client")
	t.Setenv("REDIS_URL", fmt.Sprintf("rediss://127.0.0.1:%d?cert=%s&key=%s&client_name=tls", port, cert, key))
	t.Setenv("SSL_CERT_FILE", own.File)
	data := t.TempDir()
	serve(t, data)
	perform(t, 0, "task", "submit", "echo", "--wait", "--data", data)
	if list := redis.Do("CLIENT", "LIST"); !strings.Contains(list, "name=tls") {
		t.Errorf("clients: %s", list)
	}
}

//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// held makes the folder of a server that died in an outage with n tasks of which
// Redis knows nothing.
func held(t *testing.T, n int) (folder string, ids []morningai.ID) {
	t.Helper()
	folder = t.TempDir()
	d := serve(t, folder, "--redis", "redis://127.0.0.1:1", "--node", "gone")
	c := connect(t, d)
	specs := make([]morningai.TaskSpec, n)
	for i := range specs {
		specs[i] = morningai.NewTaskSpec("echo", []byte(`"c0rrect"`))
		specs[i].DuringOutage = morningai.OutageHold
	}
	tasks, err := c.EnqueueBatch(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tasks {
		ids = append(ids, tasks[i].ID)
	}
	d.kill()
	return folder, ids
}

// drain delivers a journal to a Redis that is there. One that is slow to answer is
// asked again, as the exit code says.
func drain(t *testing.T, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	code := exitUnreachable
	redistest.Until(t, "Redis to answer", func() bool {
		out.Reset()
		said.Reset()
		code = run(append([]string{"journal", "drain"}, args...), streams{strings.NewReader(""), &out, &said})
		return code != exitUnreachable
	})
	if code != exitDone {
		t.Fatalf("the drain ended with %d:\n%s%s", code, out.String(), said.String())
	}
	return out.String() + said.String()
}

// What a journal holds is delivered once, to a Redis that may be used, and by
// whatever server that runs there it is found.
func TestJournalDrain(t *testing.T) {
	evicting := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	redis := redistest.Start(t, "--requirepass", "hunter2")
	url := "redis://:hunter2@" + redis.Addr()
	folder, ids := held(t, 3)
	if said := perform(t, exitRefused, "journal", "drain", "--data", folder, "--redis", evicting.URL()); !strings.Contains(said, "noeviction") {
		t.Errorf("an evicting Redis: %s", said)
	}

	// One of the three is refused for good: another task has its id there.
	d := serve(t, t.TempDir(), "--redis", url, "--role", "api", "--node", "other")
	c := connect(t, d)
	rival := morningai.NewTaskSpec("sleep", []byte(`{"ms":1}`))
	rival.ID = ids[1]
	if _, err := c.Enqueue(t.Context(), rival); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REDIS_URL", url)
	said := drain(t, "--data", folder)
	for _, want := range []string{"(from REDIS_URL)", "held for Redis: 3 tasks", "set aside: 1 task\n", ids[1].String(), "everything else is delivered"} {
		if !strings.Contains(said, want) {
			t.Errorf("the drain does not say %q:\n%s", want, said)
		}
	}
	for _, secret := range []string{"hunter2", "c0rrect"} {
		if strings.Contains(said, secret) {
			t.Errorf("the drain tells %q:\n%s", secret, said)
		}
	}
	for i, id := range ids {
		task, err := c.Get(t.Context(), id)
		if want := map[bool]string{true: "sleep", false: "echo"}[i == 1]; err != nil || task.Type != want || task.State != morningai.StateQueued {
			t.Errorf("task %d is %+v, %v", i, task, err)
		}
	}
	third := connect(t, serve(t, t.TempDir(), "--redis", url, "--role", "api", "--node", "third"))
	redistest.Until(t, "the third server to know who is there", func() bool {
		nodes, _, err := third.Nodes(t.Context())
		var names []string
		for i := range nodes {
			names = append(names, nodes[i].Node)
		}
		slices.Sort(names)
		return err == nil && slices.Equal(names, []string{"other", "third"})
	})

	// Again: there is nothing to do, and nothing happens twice.
	again := perform(t, exitDone, "journal", "drain", "--data", folder, "--json")
	var told struct {
		Held     []entryJSON `json:"held"`
		Rest     []entryJSON `json:"left_entries"`
		SetAside []entryJSON `json:"set_aside"`
		Left     int         `json:"left"`
	}
	if err := json.Unmarshal([]byte(again[:strings.LastIndex(again, "}")+1]), &told); err != nil || strings.Contains(again, `"where":"journal"`) || len(told.Rest) != 0 || told.Left != 0 ||
		len(told.SetAside) != 1 || *told.SetAside[0].TaskID != ids[1] || told.SetAside[0].Reason == "" {
		t.Errorf("the second drain: %v\n%s", err, again)
	}
	if page, err := c.List(t.Context(), morningai.Filter{}); err != nil || len(page.Tasks) != 3 {
		t.Errorf("there are %d tasks, %v", len(page.Tasks), err)
	}
}

// What a server has finished without Redis is reported in its place: the task is
// not run again. Nothing counts as undelivered when the journal is opened; the
// drain has to look.
func TestJournalDrainOfAnOutcome(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	folder := t.TempDir()
	started, free := make(chan struct{}), make(chan struct{})
	callee := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(started)
		<-free
	}))
	defer callee.Close()
	gone := serve(t, folder, "--redis", redis.URL(), "--node", "gone", "--http-allow", "127.0.0.0/8")
	c := connect(t, gone)
	task, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("http", []byte(`{"url":"`+callee.URL+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	<-started
	redistest.Until(t, "nothing to be left in doubt", func() bool { // the task itself, where Redis has answered late
		_, body, _ := ask(t, "GET", gone.url+"/health", "")
		return strings.Contains(body, `"entries":0`)
	})
	redis.Kill()
	close(free)
	redistest.Until(t, "the outcome to be in the journal alone", func() bool {
		_, body, _ := ask(t, "GET", gone.url+"/health", "")
		// The entry alone may be the task, in doubt since Redis is away.
		return strings.Contains(body, `"entries":1`) && strings.Contains(gone.said(), "task succeeded")
	})
	gone.kill()
	redis.Restart()
	if said := perform(t, exitDone, "journal", "list", "--data", folder); !strings.Contains(said, "1 outcome; set aside") {
		t.Errorf("the list says\n%s", said)
	}
	said := drain(t, "--data", folder, "--redis", redis.URL())
	if !strings.Contains(said, "1 outcome") {
		t.Errorf("the drain says\n%s", said)
	}
	other := connect(t, serve(t, t.TempDir(), "--redis", redis.URL(), "--role", "api", "--node", "other"))
	end, err := other.Get(t.Context(), task.ID)
	if err != nil || end.State != morningai.StateSucceeded || end.Attempt != 1 {
		t.Errorf("the task is %+v, %v", end, err)
	}
}

// What waits for the tasks of another server is left, and the exit code says so.
// When that server's journal is delivered too, the rest goes.
func TestJournalDrainLeavesWhatWaits(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	folder, others := t.TempDir(), t.TempDir()
	one := serve(t, folder, "--redis", redis.URL(), "--node", "one")
	two := serve(t, others, "--redis", redis.URL(), "--node", "two")
	for _, d := range []*daemon{one, two} {
		redistest.Until(t, "the servers to know each other", func() bool {
			nodes, _, err := connect(t, d).Nodes(t.Context())
			return err == nil && len(nodes) == 2 && nodes[0].URL != "" && nodes[1].URL != ""
		})
	}
	redis.Kill()
	for _, d := range []*daemon{one, two} {
		redistest.Until(t, "the outage to be noticed", func() bool {
			_, body, _ := ask(t, "GET", d.url+"/health", "")
			return strings.Contains(body, `"degraded"`)
		})
	}
	spec := morningai.NewTaskSpec("echo", []byte(`1`))
	spec.DuringOutage = morningai.OutageHold
	task, err := connect(t, two).Enqueue(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if status, body, _ := ask(t, "POST", one.url+"/v1/tasks/"+task.ID.String()+"/cancel", ""); status != 202 {
		t.Fatalf("the cancel on the server that does not have the task is answered with %d %s", status, body)
	}
	one.kill()
	two.kill()
	redis.Restart()
	if said := perform(t, exitFailed, "journal", "drain", "--data", folder, "--redis", redis.URL()); !strings.Contains(said, "left: 1 entries") {
		t.Errorf("the drain says\n%s", said)
	}
	drain(t, "--data", others, "--redis", redis.URL())
	drain(t, "--data", folder, "--redis", redis.URL())
	third := connect(t, serve(t, t.TempDir(), "--redis", redis.URL(), "--role", "api", "--node", "third"))
	end, err := third.Get(t.Context(), task.ID)
	if err != nil || end.State != morningai.StateCanceled {
		t.Errorf("the task is %+v, %v", end, err)
	}
}

// Whoever looks into a folder makes nothing in it.
func TestJournalOfAnotherFolder(t *testing.T) {
	folder := t.TempDir()
	perform(t, exitNotFound, "journal", "list", "--data", folder)
	perform(t, exitNotFound, "journal", "drain", "--data", filepath.Join(folder, "none"), "--redis", "redis://127.0.0.1:1")
	if files, err := os.ReadDir(folder); err != nil || len(files) != 0 {
		t.Errorf("in the folder there are %v, %v", files, err)
	}
}

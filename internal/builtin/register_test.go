package builtin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/builtin"
	"github.com/RC918/morningai/morningaitest"
)

func TestMain(m *testing.M) {
	// Nobody listens there. The environment is read once in a process, so this
	// comes before every test.
	os.Setenv("HTTP_PROXY", "http://127.0.0.1:9")
	goleak.VerifyTestMain(m)
}

func newKit(t *testing.T, allow ...netip.Prefix) *morningaitest.Kit {
	t.Helper()
	kit := morningaitest.New(t)
	if err := builtin.Register(kit.App, builtin.Options{HTTPAllow: allow}); err != nil {
		t.Fatal(err)
	}
	return kit
}

// submit enqueues a task, lets it run and returns it.
func submit(t *testing.T, kit *morningaitest.Kit, taskType, payload string) *morningai.Task {
	t.Helper()
	task, err := kit.App.Enqueue(t.Context(), morningai.NewTaskSpec(taskType, json.RawMessage(payload)))
	if err != nil {
		t.Fatal(err)
	}
	return work(t, kit, task.ID)
}

func work(t *testing.T, kit *morningaitest.Kit, id morningai.ID) *morningai.Task {
	t.Helper()
	if _, err := kit.Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	task, err := kit.App.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestRegister(t *testing.T) {
	kit := morningaitest.New(t)
	err := builtin.Register(kit.App, builtin.Options{HTTPAllow: make([]netip.Prefix, 1)})
	if morningai.CodeOf(err) != morningai.CodeInvalidInput || len(kit.App.Types()) != 0 {
		t.Errorf("a wrong range: %v, types %v", err, kit.App.Types())
	}
}

func TestTypesAsTasks(t *testing.T) {
	kit := newKit(t)
	for _, tt := range []struct{ taskType, payload, result string }{
		{"echo", `{"n":1.50,"big":123456789012345678901234567890}`, `{"n":1.50,"big":123456789012345678901234567890}`},
		{"sleep", `{"ms":1}`, `{"ms":1}`},
		{"flaky", `{"fail_times":0}`, `{"attempt":1}`},
	} {
		task := submit(t, kit, tt.taskType, tt.payload)
		if task.State != morningai.StateSucceeded || string(task.Result) != tt.result {
			t.Errorf("%s: %s, result %s, error %v", tt.taskType, task.State, task.Result, task.Error)
		}
	}
	for _, taskType := range []string{"sleep", "flaky", "http"} {
		task := submit(t, kit, taskType, `{"unknown":1}`)
		if task.State != morningai.StateFailed || task.Attempt != 1 || task.Error.Code != morningai.ErrorCodePayload {
			t.Errorf("%s: %s after %d attempts, error %v", taskType, task.State, task.Attempt, task.Error)
		}
	}
}

func TestFlakyAsTask(t *testing.T) {
	kit := newKit(t)
	task := submit(t, kit, "flaky", `{"fail_times":2}`)
	for range 2 {
		if task.State != morningai.StateScheduled || task.Error.Code != "flaky" {
			t.Fatalf("%s, error %v", task.State, task.Error)
		}
		kit.Advance(time.Minute)
		task = work(t, kit, task.ID)
	}
	if task.State != morningai.StateSucceeded || task.Attempt != 3 || task.Failures != 2 {
		t.Errorf("%s after %d attempts and %d failures", task.State, task.Attempt, task.Failures)
	}
}

func TestHTTPAsTask(t *testing.T) {
	var status int
	var attempts []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		attempts = append(attempts, r.Header.Get("Morningai-Attempt"))
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(status)
	}))
	defer s.Close()
	payload := `{"url":"` + s.URL + `"}`

	guarded := newKit(t)
	task := submit(t, guarded, "http", payload)
	if task.State != morningai.StateFailed || task.Attempt != 1 || task.Error.Code != builtin.CodeAddressNotAllowed {
		t.Fatalf("guarded: %s after %d attempts, error %v", task.State, task.Attempt, task.Error)
	}

	kit := newKit(t, netip.MustParsePrefix("127.0.0.0/8"))
	status = http.StatusServiceUnavailable
	task = submit(t, kit, "http", payload)
	if task.State != morningai.StateScheduled || task.RunAt.Sub(kit.Now()) != time.Hour {
		t.Fatalf("Retry-After of an hour: %s until %v, it is %v", task.State, task.RunAt, kit.Now())
	}
	status = http.StatusOK
	kit.Advance(time.Hour)
	task = work(t, kit, task.ID)
	if task.State != morningai.StateSucceeded || string(task.Result) != `{"status":200,"body":""}` {
		t.Fatalf("%s, result %s", task.State, task.Result)
	}
	if len(attempts) != 2 || attempts[1] != "2" {
		t.Fatalf("attempts %v", attempts)
	}
	status = http.StatusNotFound
	task = submit(t, kit, "http", payload)
	if task.State != morningai.StateFailed || task.Attempt != 1 || task.Error.Code != "http_status" {
		t.Fatalf("404: %s, error %v", task.State, task.Error)
	}
}

func TestSleepIsCanceled(t *testing.T) {
	kit := newKit(t)
	task, err := kit.App.Enqueue(t.Context(), morningai.NewTaskSpec("sleep", json.RawMessage(`{"ms":2592000000}`)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var canceler sync.WaitGroup
	defer canceler.Wait()
	defer cancel()
	canceler.Go(func() {
		// Cancels the task as soon as it runs.
		for cursor := ""; ctx.Err() == nil; {
			page, err := kit.App.Engine().Events(ctx, morningai.EventsRequest{Cursor: cursor, Wait: time.Second})
			if err != nil {
				return
			}
			cursor = page.Cursor
			if got, err := kit.App.Get(ctx, task.ID); err == nil && got.State == morningai.StateRunning {
				_, _ = kit.App.Cancel(ctx, task.ID)
				return
			}
		}
	})
	if got := work(t, kit, task.ID); got.State != morningai.StateCanceled {
		t.Errorf("state %s, error %v", got.State, got.Error)
	}
}

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
	"github.com/RC918/morningai/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is a server on the real engine, with workers for the types echo, fail
// and gate. Every answer it gives is held against the OpenAPI document.
type testServer struct {
	*httptest.Server
	t      *testing.T
	app    *morningai.App
	api    *api
	log    *lockedBuffer
	gate   chan struct{} // a task of type gate ends for each value
	token  string
	schema *huma.OpenAPI
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T) *sqlite.Engine {
	t.Helper()
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func start(t *testing.T, engine morningai.Engine, opts Options) *testServer {
	t.Helper()
	b := &testServer{t: t, log: &lockedBuffer{}, gate: make(chan struct{})}
	opts.Version = "test"
	opts.Logger = slog.New(slog.NewTextHandler(b.log, nil))
	b.app = morningai.New(engine, morningai.WithLogger(slog.New(slog.DiscardHandler)))
	b.app.HandleFunc("echo", func(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
		morningai.Logger(ctx).Info("echoing", "size", len(task.Payload))
		return task.Payload, nil
	})
	b.app.HandleFunc("fail", func(context.Context, *morningai.Task) (json.RawMessage, error) {
		return nil, fmt.Errorf("no luck: %w", morningai.ErrSkipRetry)
	})
	b.app.HandleFunc("later", func(context.Context, *morningai.Task) (json.RawMessage, error) {
		return nil, errors.New("not yet")
	})
	b.app.HandleFunc("gate", func(ctx context.Context, _ *morningai.Task) (json.RawMessage, error) {
		select {
		case <-b.gate:
			return json.RawMessage(`"through"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	if err := b.app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.api, err = newAPI(b.app.Client, opts); err != nil {
		t.Fatal(err)
	}
	b.api.prober.limit = time.Minute // however busy the machine is
	if b.schema, err = describe(routes(), ""); err != nil {
		t.Fatal(err)
	}
	b.Server = httptest.NewServer(b.api)
	t.Cleanup(func() {
		b.Server.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // no grace
		if err := b.app.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return b
}

// response is an answer with its body read.
type response struct {
	*http.Response
	raw []byte
}

func (r response) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.raw, v); err != nil {
		t.Fatalf("%v: %s", err, r.raw)
	}
}

func (r response) task(t *testing.T) morningai.Task {
	t.Helper()
	var task morningai.Task
	r.into(t, &task)
	return task
}

// do sends a request; a body that is not empty is sent as JSON. header holds
// names and values in turn.
func (b *testServer) do(method, path, body string, header ...string) response {
	b.t.Helper()
	return b.send(method, path, strings.NewReader(body), header...)
}

func (b *testServer) send(method, path string, body io.Reader, header ...string) response {
	b.t.Helper()
	r, err := b.try(method, path, body, header...)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// later sends a request from another goroutine; the channel has the answer.
func (b *testServer) later(method, path, body string, header ...string) <-chan response {
	done := make(chan response, 1)
	go func() {
		r, err := b.try(method, path, strings.NewReader(body), header...)
		if err != nil {
			b.t.Error(err)
			r.Response = &http.Response{}
		}
		done <- r
	}()
	return done
}

func (b *testServer) try(method, path string, body io.Reader, header ...string) (response, error) {
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.URL+path, body)
	if err != nil {
		return response{}, err
	}
	if req.ContentLength != 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if b.token != "" {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.Client().Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return response{}, err
	}
	b.checkAnswer(req, resp, raw)
	return response{resp, raw}, nil
}

// until reads a task again and again until it is as it should be.
func (b *testServer) until(path string, as func(morningai.Task) bool) morningai.Task {
	b.t.Helper()
	for {
		if task := b.want(200, "GET", path, "").task(b.t); as(task) {
			return task
		}
	}
}

// want sends a request and holds the status.
func (b *testServer) want(status int, method, path, body string, header ...string) response {
	b.t.Helper()
	r := b.do(method, path, body, header...)
	if r.StatusCode != status {
		b.t.Fatalf("%s %s %.200s: %d, want %d: %.500s", method, path, body, r.StatusCode, status, r.raw)
	}
	return r
}

// refused sends a request and holds code and locations of the problem.
func (b *testServer) refused(code morningai.Code, method, path, body string, locations ...string) response {
	b.t.Helper()
	r := b.want(kindOf(code).status, method, path, body)
	var p wire.Problem
	r.into(b.t, &p)
	var got []string
	for _, f := range p.Errors {
		got = append(got, f.Location)
	}
	if p.Code != code || p.Status != r.StatusCode || p.Title != http.StatusText(r.StatusCode) || p.Detail == "" ||
		locations != nil && !reflect.DeepEqual(got, locations) {
		b.t.Errorf("%s %s %.200s: %s, want %s at %q", method, path, body, r.raw, code, locations)
	}
	return r
}

// checkAnswer holds an answer against the OpenAPI document.
func (b *testServer) checkAnswer(req *http.Request, resp *http.Response, raw []byte) {
	b.t.Helper()
	_, pattern := b.api.mux.Handler(req)
	item, ok := b.schema.Paths[pattern]
	if !ok || req.Method == http.MethodHead || bytes.Contains(raw, []byte("no such route")) {
		return
	}
	op := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete}[req.Method]
	if op == nil {
		return
	}
	documented, ok := op.Responses[strconv.Itoa(resp.StatusCode)]
	if !ok {
		b.t.Errorf("%s %s: %d is not in the document", req.Method, pattern, resp.StatusCode)
		return
	}
	media, ok := documented.Content[resp.Header.Get("Content-Type")]
	if !ok {
		b.t.Errorf("%s %s: %d as %s is not in the document", req.Method, pattern, resp.StatusCode, resp.Header.Get("Content-Type"))
		return
	}
	if !strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return
	}
	var value any
	numbers := json.NewDecoder(bytes.NewReader(raw))
	numbers.UseNumber()
	if err := numbers.Decode(&value); err != nil {
		b.t.Errorf("%s %s: %v", req.Method, pattern, err)
		return
	}
	value = floats(value)
	var result huma.ValidateResult
	path := huma.NewPathBuffer([]byte(pattern), len(pattern))
	huma.Validate(b.schema.Components.Schemas, media.Schema, path, huma.ModeReadFromServer, value, &result)
	for _, err := range result.Errors {
		b.t.Errorf("%s %s: %d: the document says %v: %.500s", req.Method, pattern, resp.StatusCode, err, raw)
	}
}

// floats makes numbers what the validation knows; payloads have some that no
// float can hold, and no rule either.
func floats(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = floats(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = floats(v[k])
		}
	}
	return v
}

func TestTaskFromRequestToResult(t *testing.T) {
	b := start(t, open(t), Options{})
	const payload = `{"n":1.50,"big":12345678901234567890123456789,"html":"<a&b>","e":1e400,"u":"\u00e9\u2028"}`
	r := b.want(202, "POST", "/v1/tasks", `{"type":"echo","payload":`+payload+`,"metadata":{"a":"<b>"},"trace_id":"01937c4e-0000-7000-8000-000000000001"}`)
	accepted := r.task(t)
	if accepted.Durable != "sqlite" || accepted.Runs != "here" || accepted.Queue != "default" || accepted.Priority != 5 ||
		accepted.MaxAttempts != 25 || accepted.TraceID.String() != "01937c4e-0000-7000-8000-000000000001" || r.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("receipt %s", r.raw)
	}
	r = b.want(200, "GET", "/v1/tasks/"+accepted.ID.String()+"?wait=1m", "")
	done := r.task(t)
	if done.State != morningai.StateSucceeded || done.Attempt != 1 || done.Durable != "" {
		t.Errorf("ended as %s", r.raw)
	}
	for _, field := range []string{`"payload":` + payload, `"result":` + payload, `"metadata":{"a":"<b>"}`, `"error":null`, `"run_at":null`} {
		if !bytes.Contains(r.raw, []byte(field)) {
			t.Errorf("%s is not in %s", field, r.raw)
		}
	}

	var attempts wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+done.ID.String()+"/attempts", "").into(t, &attempts)
	if len(attempts.Attempts) != 1 || attempts.Attempts[0].Number != 1 || *attempts.Attempts[0].Outcome != morningai.OutcomeSucceeded || attempts.Attempts[0].Node == "" {
		t.Errorf("attempts %+v", attempts)
	}
	var logs wire.Logs
	b.want(200, "GET", "/v1/tasks/"+done.ID.String()+"/logs", "").into(t, &logs)
	if len(logs.Logs) != 1 || logs.Logs[0].Message != "echoing" || logs.Logs[0].Level != "info" {
		t.Errorf("logs %+v", logs)
	}
	var why morningai.Explanation
	b.want(200, "GET", "/v1/tasks/"+done.ID.String()+"/why", "").into(t, &why)
	if len(why.Reasons) != 1 || why.Reasons[0].Code != morningai.ReasonEnded {
		t.Errorf("why %+v", why)
	}
}

func TestUnknownTasks(t *testing.T) {
	b := start(t, open(t), Options{})
	for _, id := range []string{"01937c4e-0000-7000-8000-00000000000f", "nonsense", "00000000-0000-0000-0000-000000000000", "%2e%2e%2f", "a%00b"} {
		for _, path := range []string{"", "?wait=10s", "/attempts", "/logs", "/why"} {
			b.refused(morningai.CodeNotFound, "GET", "/v1/tasks/"+id+path, "")
		}
		for _, verb := range []string{"/cancel", "/retry", "/run"} {
			b.refused(morningai.CodeNotFound, "POST", "/v1/tasks/"+id+verb, "")
		}
		b.refused(morningai.CodeNotFound, "DELETE", "/v1/tasks/"+id, "")
	}
}

func TestWaitEndsWithTheTimeOrTheServer(t *testing.T) {
	stopping := make(chan struct{})
	b := start(t, open(t), Options{Stopping: stopping})
	b.want(200, "PATCH", "/v1/queues/shut", `{"paused":true}`)
	path := "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"echo","queue":"shut"}`).task(t).ID.String()
	for _, wait := range []string{"0s", "1ms", "20ms"} {
		if task := b.want(200, "GET", path+"?wait="+wait, "").task(t); task.State != morningai.StateQueued {
			t.Errorf("after %s: %s", wait, task.State)
		}
	}
	for _, wait := range []string{"soon", "-1s", "6m", "5"} {
		b.refused(morningai.CodeInvalidInput, "GET", path+"?wait="+wait, "", "query.wait")
	}
	done := b.later("GET", path+"?wait=5m", "")
	close(stopping)
	if r := <-done; r.StatusCode != 200 {
		t.Errorf("a wait when the server stops: %d %s", r.StatusCode, r.raw)
	}
	b.refused(morningai.CodeClosed, "GET", "/readyz", "")
}

func TestWaitSeesResultsThatAreNotKept(t *testing.T) {
	b := start(t, open(t), Options{})
	path := "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"gate","retention":"0s"}`).task(t).ID.String()
	done := b.later("GET", path+"?wait=1m", "")
	b.gate <- struct{}{}
	if r := <-done; r.StatusCode != 200 || !bytes.Contains(r.raw, []byte(`"result":"through"`)) {
		t.Errorf("the waiting caller got %d %s", r.StatusCode, r.raw)
	}
	if r := b.want(200, "GET", path+"?wait=0s", ""); r.task(t).State != morningai.StateSucceeded {
		t.Errorf("a moment later: %s", r.raw)
	}
	b.refused(morningai.CodeNotFound, "GET", path, "")
}

func TestCommands(t *testing.T) {
	b := start(t, open(t), Options{})
	submit := func(body string) string {
		return "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", body).task(t).ID.String()
	}
	state := func(want morningai.State, r response) {
		t.Helper()
		if got := r.task(t).State; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	later := submit(`{"type":"echo","delay":"1h"}`)
	state(morningai.StateScheduled, b.want(200, "GET", later, ""))
	state(morningai.StateCanceled, b.want(200, "POST", later+"/cancel", ""))
	state(morningai.StateCanceled, b.want(200, "POST", later+"/cancel", `{}`))
	b.refused(morningai.CodeWrongState, "POST", later+"/run", "")
	b.want(200, "POST", later+"/retry", "")
	state(morningai.StateSucceeded, b.want(200, "GET", later+"?wait=1m", ""))
	b.refused(morningai.CodeWrongState, "POST", later+"/retry", "")
	b.refused(morningai.CodeWrongState, "POST", later+"/cancel", "")
	b.want(200, "DELETE", later, "")
	b.refused(morningai.CodeNotFound, "GET", later, "")

	soon := submit(`{"type":"echo","run_at":"2099-01-01T00:00:00Z"}`)
	b.want(200, "POST", soon+"/run", "")
	state(morningai.StateSucceeded, b.want(200, "GET", soon+"?wait=1m", ""))

	running := submit(`{"type":"gate"}`)
	b.until(running, func(task morningai.Task) bool { return task.State == morningai.StateRunning })
	b.refused(morningai.CodeWrongState, "DELETE", running, "")
	if !b.want(200, "POST", running+"/cancel", "").task(t).CancelRequested {
		t.Error("no sign of the cancel")
	}
	state(morningai.StateCanceled, b.want(200, "GET", running+"?wait=1m", ""))

	b.refused(morningai.CodeInvalidInput, "POST", running+"/cancel", `{"force":true}`, "body.force")
	b.refused("invalid_json", "POST", running+"/cancel", `{`)
}

func TestRetriedTasksAreShown(t *testing.T) {
	b := start(t, open(t), Options{})
	path := "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"later"}`).task(t).ID.String()
	b.until(path, func(task morningai.Task) bool { return task.Failures > 0 })
	var page wire.TaskPage
	b.want(200, "GET", "/v1/tasks?state=retrying", "").into(t, &page)
	if len(page.Tasks) != 1 || page.Tasks[0].State != morningai.StateScheduled || page.Tasks[0].Error == nil {
		t.Errorf("retrying: %+v", page)
	}
	failed := b.want(202, "POST", "/v1/tasks", `{"type":"fail"}`).task(t).ID.String()
	b.want(200, "GET", "/v1/tasks/"+failed+"?wait=1m", "")
	var attempts wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+failed+"/attempts", "").into(t, &attempts)
	if len(attempts.Attempts) != 1 || attempts.Attempts[0].Error == nil {
		t.Errorf("attempts %+v", attempts)
	}
}

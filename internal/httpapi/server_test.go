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
	"github.com/RC918/morningai/internal/sessions"
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
	if opts.Workers == nil {
		opts.Workers = sessions.New(engine, morningai.DefaultLease, slog.New(slog.NewTextHandler(b.log, nil)))
	}
	var err error
	if b.api, err = newAPI(b.app.Client, opts); err != nil {
		t.Fatal(err)
	}
	b.api.prober.limit = time.Minute // however busy the machine is
	b.api.metrics.age = 0
	if b.schema, err = describe(routes(), ""); err != nil {
		t.Fatal(err)
	}
	b.Server = httptest.NewServer(b.api)
	t.Cleanup(func() {
		b.Server.Close()
		opts.Workers.Close()
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

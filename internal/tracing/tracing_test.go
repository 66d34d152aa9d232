package tracing_test

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/tracing"
	"github.com/RC918/morningai/sqlite"
)

// The steps of an attempt are told with it; their errors and panics by code only,
// and a step whose result is known is not told again.
func TestSteps(t *testing.T) {
	received := make(chan *coltrace.ExportTraceServiceRequest, 16)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		raw, err := io.ReadAll(body)
		var req coltrace.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(raw, &req) != nil {
			t.Errorf("what was sent cannot be read: %v", err)
		}
		received <- &req
	}))
	defer web.Close()
	quiet := slog.New(slog.DiscardHandler)
	tracer, err := tracing.Start(t.Context(), tracing.Options{Endpoint: web.URL, Version: "test", Node: "n", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	app := morningai.New(engine, morningai.WithLogger(quiet))
	app.UseEnqueue(tracer.Enqueue)
	app.Use(tracer.Run)
	app.UseSteps(tracer.Step)
	app.HandleFunc("stepwise", func(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
		step := func(name string, err error) error {
			_, got := morningai.Step(ctx, name, func(context.Context) (int, error) {
				if errors.Is(err, errPanic) {
					panic("hunter2")
				}
				return 1, err
			})
			return got
		}
		if err := step("fetch", nil); err != nil {
			return nil, err
		}
		switch task.Attempt {
		case 1:
			return nil, morningai.RetryAfter(1, step("check", errors.New("hunter2")))
		case 2:
			return nil, morningai.RetryAfter(1, step("check", errPanic))
		}
		return nil, step("check", nil)
	})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	task, err := app.Enqueue(t.Context(), morningai.NewTaskSpec("stepwise", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	if end, err := app.Wait(t.Context(), task.ID); err != nil || end.State != morningai.StateSucceeded && end.State != morningai.StateScheduled {
		t.Fatalf("%+v, %v", end, err)
	}
	if err := app.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	close(received)
	names := map[string]string{}
	var got []string
	for req := range received {
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					names[hex.EncodeToString(s.SpanId)] = s.Name
				}
				for _, s := range ss.Spans {
					got = append(got, names[hex.EncodeToString(s.ParentSpanId)]+" > "+s.Name+" "+s.Status.GetMessage())
				}
			}
		}
	}
	slices.Sort(got)
	want := []string{" > enqueue stepwise ", "enqueue stepwise > run stepwise ", "enqueue stepwise > run stepwise error", "enqueue stepwise > run stepwise panic",
		"run stepwise > step check ", "run stepwise > step check error", "run stepwise > step check panic", "run stepwise > step fetch "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

var errPanic = errors.New("a panic")

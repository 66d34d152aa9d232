// Package tracing tells a collector of spans, by OTLP over HTTP, what became of
// tasks: how each was accepted, its attempts, and the steps of these.
//
// Nothing is carried beside the task for this. The trace id of a task is the trace
// id of its spans, and the id of the span of its acceptance is made from the task's
// id: so whichever server runs it, after whatever has happened to Redis or to the
// server that took it, knows the span that its own belong to.
package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/RC918/morningai"
)

const (
	// stopTime bounds the sending of the last spans.
	stopTime = 3 * time.Second
	// sendTime bounds each export.
	sendTime = 5 * time.Second
)

// Options say where spans go and who tells them.
type Options struct {
	// Endpoint is the address of an OTLP/HTTP collector, such as
	// http://127.0.0.1:4318. "": what the variables OTEL_EXPORTER_OTLP_… say.
	Endpoint string
	Version  string
	Node     string
	Logger   *slog.Logger
}

// Configured reports whether the environment names a collector.
func Configured() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv(variable) != "" || os.Getenv(tracesVariable) != ""
}

// Tracer makes the spans of one server. A collector that is away costs nothing but
// the spans: they are dropped when too many wait.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	log      *slog.Logger
}

// Start begins to collect spans. Close sends the last ones. What it cannot begin with
// is an ErrInvalidInput.
func Start(ctx context.Context, o Options) (*Tracer, error) {
	if err := checkEndpoint(o.Endpoint); err != nil {
		return nil, err
	}
	listen(o.Logger)
	opts := []otlptracehttp.Option{otlptracehttp.WithTimeout(sendTime)}
	if o.Endpoint != "" {
		opts = append(opts, otlptracehttp.WithEndpointURL(strings.TrimSuffix(o.Endpoint, "/")+"/v1/traces"))
	}
	exporter, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("prepare the export of spans: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "morningai"), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", o.Node)), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil && about == nil {
		return nil, fmt.Errorf("describe the source of spans: %w", err)
	}
	if err != nil {
		o.Logger.Warn("spans do not say everything about their source", "error", err)
	}
	t := &Tracer{log: o.Logger}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(quietly{exporter, o.Logger}), sdktrace.WithResource(about), sdktrace.WithIDGenerator(ids{}))
	t.tracer = t.provider.Tracer("github.com/RC918/morningai")
	return t, nil
}

// Close sends what waits, for a bounded time.
func (t *Tracer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.log.Warn("the last spans could not be sent", "error", err)
	}
	return nil
}

// quietly logs failed exports, which the SDK would write to stderr by itself.
type quietly struct {
	sdktrace.SpanExporter
	log *slog.Logger
}

func (q quietly) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := q.SpanExporter.ExportSpans(ctx, spans); err != nil {
		q.log.Debug("spans could not be sent to the collector, and are dropped", "spans", len(spans), "error", err)
	}
	return nil
}

// Handler takes over the trace of whoever calls.
func (t *Tracer) Handler(next http.Handler) http.Handler {
	var format propagation.TraceContext
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("traceparent") != "" {
			r = r.WithContext(format.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		}
		next.ServeHTTP(w, r)
	})
}

// Enqueue makes the span of each task's acceptance. A task whose request names no
// trace id joins the trace of the caller.
func (t *Tracer) Enqueue(next morningai.EnqueueFunc) morningai.EnqueueFunc {
	return func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
		caller := trace.SpanContextFromContext(ctx)
		for i := range specs {
			if s := &specs[i]; caller.IsValid() && s.TraceID == s.ID {
				s.TraceID = morningai.ID(caller.TraceID())
			}
		}
		began := time.Now()
		receipts, err := next(ctx, specs)
		if err != nil {
			return receipts, err
		}
		for i := range receipts {
			if r := &receipts[i]; r.Err == nil && !r.Existing {
				t.accepted(ctx, &r.Task, caller, began)
			}
		}
		return receipts, nil
	}
}

func (t *Tracer) accepted(ctx context.Context, task *morningai.Task, caller trace.SpanContext, began time.Time) {
	opts := []trace.SpanStartOption{trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(describe(task), attribute.String("morningai.durable", task.Durable))...)}
	if caller.IsValid() && caller.TraceID() != trace.TraceID(task.TraceID) {
		// The task belongs to another trace: this one is only pointed at.
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: caller}), trace.WithNewRoot())
	}
	ctx = context.WithValue(ctx, wantedKey{}, wanted{trace.TraceID(task.TraceID), acceptanceOf(task.ID)})
	_, span := t.tracer.Start(ctx, "enqueue "+task.Type, opts...)
	span.End()
}

// acceptanceOf is the id of the span of a task's acceptance.
func acceptanceOf(id morningai.ID) trace.SpanID {
	digest := sha256.Sum256(append([]byte("morningai span of acceptance\x00"), id[:]...))
	return trace.SpanID(digest[:8])
}

// of returns a context in which spans belong to the acceptance of the task.
func of(ctx context.Context, task *morningai.Task) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(task.TraceID), SpanID: acceptanceOf(task.ID), TraceFlags: trace.FlagsSampled, Remote: true}))
}

func describe(task *morningai.Task) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("morningai.task.id", task.ID.String()), attribute.String("morningai.task.type", task.Type),
		attribute.String("morningai.task.queue", task.Queue)}
}

// Run makes the span of an attempt that a handler of this process runs, and has the
// handler's context lead to it.
func (t *Tracer) Run(next morningai.HandlerFunc) morningai.HandlerFunc {
	return func(ctx context.Context, task *morningai.Task) (result json.RawMessage, err error) {
		ctx, span := t.tracer.Start(of(ctx, task), "run "+task.Type, trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(append(describe(task), attribute.Int("morningai.task.attempt", task.Attempt), attribute.String("morningai.ran", "here"))...))
		defer func() {
			if p := recover(); p != nil {
				span.SetStatus(codes.Error, morningai.ErrorCodePanic)
				span.End()
				panic(p)
			}
			finish(span, err)
		}()
		return next(ctx, task)
	}
}

// finish ends a span. The text of the error may hold anything, so only its code is
// told.
func finish(span trace.Span, err error) {
	if err != nil {
		code := string(morningai.CodeOf(err))
		if e, ok := errors.AsType[*morningai.TaskError](err); ok {
			code = e.Code
		}
		if code == "" {
			code = "error"
		}
		span.SetStatus(codes.Error, code)
	}
	span.End()
}

// Step makes the span of a step.
func (t *Tracer) Step(ctx context.Context, name string) (context.Context, func(error)) {
	ctx, span := t.tracer.Start(ctx, "step "+name)
	return ctx, func(err error) { finish(span, err) }
}

// Remote makes the span of an attempt that a worker over HTTP has run.
func (t *Tracer) Remote(a morningai.Attempted) {
	_, span := t.tracer.Start(of(context.Background(), a.Task), "run "+a.Task.Type, trace.WithTimestamp(a.Report.StartedAt), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(append(describe(a.Task), attribute.Int("morningai.task.attempt", a.Report.Attempt), attribute.String("morningai.ran", "http"))...))
	if e := a.Report.Error; e != nil {
		span.SetStatus(codes.Error, e.Code)
	}
	span.End(trace.WithTimestamp(a.Report.FinishedAt))
}

package tracing_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/tracing"
)

// An address that spans would not reach is refused, and its secrets are not shown.
func TestAddressIsChecked(t *testing.T) {
	for _, address := range []string{"collector:4318", "ftp://collector", "http://", "http://u:hunter2@:x", "http://u:hunter2@collector:4318",
		"http://collector/?token=hunter2", "http://collector/#hunter2", "http://col lector"} {
		for _, where := range []string{"", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
			t.Run(where+" "+address, func(t *testing.T) {
				var said bytes.Buffer
				o := tracing.Options{Logger: slog.New(slog.NewTextHandler(&said, nil))}
				if where == "" {
					o.Endpoint = address
				} else {
					t.Setenv(where, address)
				}
				_, err := tracing.Start(t.Context(), o)
				if !errors.Is(err, morningai.ErrInvalidInput) || !strings.Contains(err.Error(), where) || strings.Contains(err.Error()+said.String(), "hunter2") {
					t.Errorf("%v, and the log says %s", err, said.String())
				}
			})
		}
	}
}

// What OpenTelemetry says about variables goes to the log, without what is in them.
func TestVariablesAreNotShown(t *testing.T) {
	var said bytes.Buffer
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization Bearer hunter2")
	t.Setenv("OTEL_TRACES_SAMPLER", "sometimes")
	tracer, err := tracing.Start(t.Context(), tracing.Options{Endpoint: "http://127.0.0.1:1", Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
	if text := said.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "parse headers") || !strings.Contains(text, "sampler") {
		t.Errorf("the log says %s", text)
	}
}

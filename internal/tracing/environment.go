package tracing

import (
	"context"
	"log/slog"
	"net/url"
	"os"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"

	"github.com/RC918/morningai"
)

const (
	variable       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesVariable = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// checkEndpoint refuses an address that spans would not reach, wherever it was
// given. The exporter itself would go to another one, and show this one as it is.
func checkEndpoint(given string) error {
	for _, at := range []struct{ where, address string }{{"the address of the collector", given}, {variable, os.Getenv(variable)}, {tracesVariable, os.Getenv(tracesVariable)}} {
		if at.address == "" {
			continue
		}
		u, err := url.Parse(at.address)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "":
			return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "trace", Detail: at.where + " must be a URL such as http://127.0.0.1:4318"}
		case u.User != nil || u.RawQuery != "":
			return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "trace", Detail: at.where + " holds a user, a password or a query, which are not sent",
				Hint: "give credentials in OTEL_EXPORTER_OTLP_HEADERS"}
		}
		if given != "" {
			return nil // the variables do not count
		}
	}
	return nil
}

// listen has what OpenTelemetry says about itself go to the log, without the values
// of variables: headers are credentials.
func listen(log *slog.Logger) {
	otel.SetLogger(logr.FromSlogHandler(bare{log.Handler()}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("OpenTelemetry cannot do what it was asked for", "error", err)
	}))
}

// bare passes on what is said and drops everything beside it.
type bare struct{ slog.Handler }

func (b bare) Handle(ctx context.Context, r slog.Record) error {
	level := r.Level
	if level < slog.LevelError { // how the SDK goes about it
		level = slog.LevelDebug
	}
	if !b.Handler.Enabled(ctx, level) {
		return nil
	}
	return b.Handler.Handle(ctx, slog.NewRecord(r.Time, level, "OpenTelemetry: "+r.Message, 0))
}

func (b bare) WithAttrs([]slog.Attr) slog.Handler { return b }

func (b bare) WithGroup(string) slog.Handler { return b }

package server

import (
	"context"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/tracing"
)

// openTracer has spans made of everything that the app does; nil if nobody wants
// them.
func (c *Config) openTracer(ctx context.Context, app *morningai.App, opening func(func() error)) (*tracing.Tracer, error) {
	if c.OTLP == "" && !tracing.Configured() {
		return nil, nil
	}
	tracer, err := tracing.Start(ctx, tracing.Options{Endpoint: c.OTLP, Version: c.Version, Node: nodeName(c.Node), Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	opening(tracer.Close)
	app.UseEnqueue(tracer.Enqueue)
	app.Use(tracer.Run)
	app.UseSteps(tracer.Step)
	return tracer, nil
}

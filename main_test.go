package morningai_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = morningai.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))

// openEngine opens an embedded engine on a new folder.
func openEngine(t testing.TB) morningai.Engine {
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

// newApp returns an app on a new engine that logs nothing.
func newApp(t testing.TB, opts ...morningai.AppOption) *morningai.App {
	t.Helper()
	return morningai.New(openEngine(t), append([]morningai.AppOption{quiet}, opts...)...)
}

// start starts the app and stops it at the end of the test.
func start(t testing.TB, app *morningai.App) {
	t.Helper()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// must returns v, or ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// hooks is an engine some of whose methods a test has replaced. A hook gets the
// engine below it.
type hooks struct {
	morningai.Engine
	claim  func(context.Context, morningai.ClaimRequest, morningai.Engine) (morningai.ClaimReply, error)
	finish func(context.Context, []morningai.Report, morningai.Engine) ([]morningai.Verdict, error)
	beat   func(context.Context, morningai.BeatRequest, morningai.Engine) (morningai.BeatReply, error)
	events func(context.Context, morningai.EventsRequest, morningai.Engine) (morningai.EventsPage, error)
	points func(context.Context, []morningai.Checkpoint, morningai.Engine) ([]error, error)
}

func (h *hooks) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	if h.claim == nil {
		return h.Engine.Claim(ctx, req)
	}
	return h.claim(ctx, req, h.Engine)
}

func (h *hooks) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if h.finish == nil {
		return h.Engine.Finish(ctx, reports)
	}
	return h.finish(ctx, reports, h.Engine)
}

func (h *hooks) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if h.beat == nil {
		return h.Engine.Beat(ctx, req)
	}
	return h.beat(ctx, req, h.Engine)
}

func (h *hooks) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	if h.events == nil {
		return h.Engine.Events(ctx, req)
	}
	return h.events(ctx, req, h.Engine)
}

func (h *hooks) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if h.points == nil {
		return h.Engine.Checkpoint(ctx, points)
	}
	return h.points(ctx, points, h.Engine)
}

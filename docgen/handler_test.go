package docgen

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFAQTask(t *testing.T) {
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	g := open(t, write(t, map[string]string{"docs/lamp.md": "# Lamps\n\n## Replacing a bulb\n\nUnscrew the bulb.\n"}))
	app := morningai.New(engine)
	faq := morningai.Handle(app, TaskType, g.Handler)
	if err := app.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	task, err := faq.Enqueue(ctx, Request{Question: "How do I replace a bulb?", Repo: "some/where"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := faq.Result(ctx, task.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Document, "Unscrew the bulb.") || !strings.Contains(r.Document, "- Trace ID: `"+task.TraceID.String()+"`\n") ||
		!strings.Contains(r.Document, "- Repository: some/where\n") || len(r.Sources) != 1 || r.Sources[0] != "docs/lamp.md" {
		t.Errorf("result %+v", r)
	}
	for question, want := range map[string]string{"How do I bake bread?": CodeNoRelevantDocuments, "": morningai.ErrorCodePayload} {
		task, err := faq.Enqueue(ctx, Request{Question: question})
		if err != nil {
			t.Fatal(err)
		}
		_, err = faq.Result(ctx, task.ID)
		var failed *morningai.TaskError
		if !errors.As(err, &failed) || failed.Code != want {
			t.Errorf("%q: %v, want %s", question, err, want)
		}
		if ended, err := app.Get(ctx, task.ID); err != nil || ended.Attempt != 1 || ended.State != morningai.StateFailed {
			t.Errorf("%q was tried %d times and is %s, %v", question, ended.Attempt, ended.State, err)
		}
	}
}

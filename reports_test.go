package morningai_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/RC918/morningai"
)

// wanting is an engine that says how many outcomes it wants at once.
type wanting struct {
	morningai.Engine
	reports int
}

func (e wanting) Capabilities() morningai.Capabilities {
	c := e.Engine.Capabilities()
	c.Reports = e.reports
	return c
}

// Outcomes that wait are handed over in the number that the engine wants.
func TestOutcomesComeInTheNumberWanted(t *testing.T) {
	const tasks, want = 60, 7
	var ran, most atomic.Int32
	all := make(chan struct{})
	engine := &hooks{Engine: openEngine(t), finish: func(ctx context.Context, reports []morningai.Report, next morningai.Engine) ([]morningai.Verdict, error) {
		<-all // so that they pile up
		for n := int32(len(reports)); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				return next.Finish(ctx, reports)
			}
		}
	}}
	app := morningai.New(wanting{engine, want}, quiet, morningai.WithConcurrency(tasks))
	job := morningai.Handle(app, "job", func(context.Context, int) (int, error) {
		if ran.Add(1) == tasks {
			close(all)
		}
		return 0, nil
	})
	start(t, app)
	for _, task := range must(job.EnqueueBatch(t.Context(), make([]int, tasks)))(t) {
		if _, err := job.Result(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
	}
	if most.Load() != want {
		t.Errorf("at most %d outcomes were handed over at once, %d were wanted", most.Load(), want)
	}
}

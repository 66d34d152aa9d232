package docgen

import (
	"context"
	"errors"
	"fmt"

	"github.com/RC918/morningai"
)

// TaskType is the type of task that [Generator.Handler] runs.
const TaskType = "faq"

// Request is the payload of a faq task.
type Request struct {
	Question string `json:"question"`
	Repo     string `json:"repo,omitempty"` // OWNER/NAME; "" for the server's default
}

// Handler answers one faq task:
//
//	morningai.Handle(app, docgen.TaskType, generator.Handler)
//
// The document carries the task's trace id. What trying again cannot help fails
// at once; progress of a long indexing is reported as the task's progress.
func (g *Generator) Handler(ctx context.Context, in Request) (Result, error) {
	task, _ := morningai.CurrentTask(ctx)
	var failed error
	progress := func(done, total int) {
		if failed == nil {
			failed = morningai.ReportProgress(ctx, map[string]int{"indexed": done, "files": total})
		}
	}
	result, err := g.answer(ctx, in.Question, in.Repo, task.TraceID, progress)
	if _, final := errors.AsType[*morningai.TaskError](err); final {
		return Result{}, fmt.Errorf("%w: %w", morningai.ErrSkipRetry, err)
	}
	if err == nil && failed != nil {
		morningai.Logger(ctx).Warn("progress was not recorded", "error", failed)
	}
	return result, err
}

package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// Enqueue accepts a task, as morningai.Client.Enqueue does. If a live task
// holds the unique key, that one is returned, marked Duplicate. The retention,
// ids and times of the spec may be left zero for the server to fill in.
func (c *Client) Enqueue(ctx context.Context, spec morningai.TaskSpec) (*morningai.Task, error) {
	return c.enqueue(ctx, spec, nil)
}

// EnqueueOnce accepts a task under an idempotency key: repeating the call with
// the same key and spec returns the same task, however often it is repeated,
// and another spec under the same key is an error with code
// morningai.CodeIdempotencyConflict. Keys belong to the token.
func (c *Client) EnqueueOnce(ctx context.Context, key string, spec morningai.TaskSpec) (*morningai.Task, error) {
	return c.enqueue(ctx, spec, http.Header{"Idempotency-Key": {key}})
}

func (c *Client) enqueue(ctx context.Context, spec morningai.TaskSpec, header http.Header) (*morningai.Task, error) {
	task := new(morningai.Task)
	err := c.do(ctx, call{op: "enqueue", method: http.MethodPost, path: []string{"v1", "tasks"},
		body: wire.NewTaskRequest(spec), header: header}, task)
	return found(task, err)
}

// EnqueueBatch accepts up to morningai.MaxBatch tasks, all of them or, if one
// is invalid, none. The tasks come back in the order of the specs. One that
// could not be taken beside the others, because its id is known with other
// content, has a zero ID in its place. If some may have been accepted, the error
// is a morningai.ErrAcceptUnknown whose *AnswerError has their ids; the tasks
// that are certain come with it.
func (c *Client) EnqueueBatch(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Task, error) {
	batch := wire.BatchRequest{Tasks: make([]wire.TaskRequest, len(specs))}
	for i, spec := range specs {
		batch.Tasks[i] = wire.NewTaskRequest(spec)
	}
	var out wire.Tasks
	err := c.do(ctx, call{op: "enqueue", method: http.MethodPost, path: []string{"v1", "tasks", "batch"}, body: batch}, &out)
	if err != nil {
		return nil, err
	}
	return out.Aligned(len(specs)), doubtful(out.Refused, len(specs))
}

// doubtful is the error for those of n tasks that may have been accepted.
func doubtful(refused []wire.Refused, n int) error {
	ids, detail := make([]morningai.ID, n), ""
	for _, r := range refused {
		if r.Code == morningai.CodeAcceptUnknown && r.Index >= 0 && r.Index < n {
			ids[r.Index], detail = r.ID, r.Detail
		}
	}
	if detail == "" {
		return nil
	}
	return &morningai.Error{Code: morningai.CodeAcceptUnknown, Op: "enqueue", Detail: detail, Err: &AnswerError{http.StatusAccepted, ids}}
}

// Get returns a task as it is now, or a morningai.ErrNotFound.
func (c *Client) Get(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	task := new(morningai.Task)
	err := c.do(ctx, call{op: "get task", method: http.MethodGet, path: []string{"v1", "tasks", id.String()}}, task)
	return found(task, err)
}

// Attempts returns the executions of a task, oldest first.
func (c *Client) Attempts(ctx context.Context, id morningai.ID) ([]morningai.Attempt, error) {
	var out wire.Attempts
	err := c.do(ctx, call{op: "get attempts", method: http.MethodGet, path: []string{"v1", "tasks", id.String(), "attempts"}}, &out)
	return out.Model(), err
}

// Logs returns what the handlers of a task have written to its log, oldest
// first.
func (c *Client) Logs(ctx context.Context, id morningai.ID) ([]morningai.LogLine, error) {
	var out wire.Logs
	err := c.do(ctx, call{op: "get logs", method: http.MethodGet, path: []string{"v1", "tasks", id.String(), "logs"}}, &out)
	return out.Model(), err
}

// Why explains why a task is not running.
func (c *Client) Why(ctx context.Context, id morningai.ID) (morningai.Explanation, error) {
	var out morningai.Explanation
	err := c.do(ctx, call{op: "explain task", method: http.MethodGet, path: []string{"v1", "tasks", id.String(), "why"}}, &out)
	return out, err
}

// List returns tasks, newest first, a page at a time.
func (c *Client) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	query := url.Values{}
	add := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	add("state", string(f.State))
	add("queue", f.Queue)
	add("type", f.Type)
	add("cursor", f.Cursor)
	if !f.TraceID.IsZero() {
		add("trace_id", f.TraceID.String())
	}
	if f.Limit != 0 {
		add("limit", strconv.Itoa(f.Limit))
	}
	var out wire.TaskPage
	err := c.do(ctx, call{op: "list tasks", method: http.MethodGet, path: []string{"v1", "tasks"}, query: query}, &out)
	return out.Page(), err
}

// Cancel ends a task that does not run; one that runs has its handler's context
// cancelled and ends when the handler returns.
func (c *Client) Cancel(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	return c.command(ctx, "cancel task", id, "cancel")
}

// Retry starts another life of a failed or canceled task, and makes one that
// waits for a retry run now.
func (c *Client) Retry(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	return c.command(ctx, "retry task", id, "retry")
}

// RunNow makes a scheduled task run now.
func (c *Client) RunNow(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	return c.command(ctx, "run task", id, "run")
}

// Delete removes a task that does not run, and returns it as it was.
func (c *Client) Delete(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	task := new(morningai.Task)
	err := c.do(ctx, call{op: "delete task", method: http.MethodDelete, path: []string{"v1", "tasks", id.String()}}, task)
	return found(task, err)
}

func (c *Client) command(ctx context.Context, op string, id morningai.ID, verb string) (*morningai.Task, error) {
	task := new(morningai.Task)
	err := c.do(ctx, call{op: op, method: http.MethodPost, path: []string{"v1", "tasks", id.String(), verb}}, task)
	return found(task, err)
}

func found(task *morningai.Task, err error) (*morningai.Task, error) {
	if err != nil {
		return nil, err
	}
	return task, nil
}

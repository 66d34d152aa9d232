package morningai

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Client produces tasks and inspects them. It runs none; [App] does. A Client
// may be used from any number of goroutines.
type Client struct {
	engine Engine
	pump   *eventPump

	mu         sync.RWMutex
	middleware []EnqueueMiddleware
	enqueue    EnqueueFunc
}

// ClientOption configures a [Client].
type ClientOption func(*Client)

// WithEnqueueMiddleware wraps every enqueue, as [Client.UseEnqueue] does.
func WithEnqueueMiddleware(mw ...EnqueueMiddleware) ClientOption {
	return func(c *Client) { c.UseEnqueue(mw...) }
}

// NewClient returns a client of the engine. It starts no goroutine until Wait
// is called; Close releases it. The engine stays open.
func NewClient(engine Engine, opts ...ClientOption) *Client {
	c := &Client{engine: engine, pump: newEventPump(engine)}
	c.enqueue = c.enqueueDirect
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// Engine returns the engine the client works on.
func (c *Client) Engine() Engine { return c.engine }

// Close ends every Wait under way with [ErrClosed] and releases what they used.
// The engine stays open, and all other methods go on working. It may be called
// more than once.
func (c *Client) Close() { c.pump.close() }

// UseEnqueue adds middleware around every enqueue that follows; the one added
// first is outermost.
func (c *Client) UseEnqueue(mw ...EnqueueMiddleware) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.middleware = append(slices.Clip(c.middleware), mw...)
	c.enqueue = chain(EnqueueFunc(c.enqueueDirect), c.middleware)
}

func (c *Client) enqueueDirect(ctx context.Context, specs []TaskSpec) ([]Receipt, error) {
	c.mu.RLock()
	changed := len(c.middleware) > 0
	c.mu.RUnlock()
	if changed && len(specs) > 1 {
		// EnqueueBatch has checked what the caller gave; this is what the
		// middleware made of it.
		if err := normalizeBatch(specs); err != nil {
			return nil, err
		}
	}
	return c.engine.Enqueue(ctx, specs)
}

func (c *Client) runEnqueue(ctx context.Context, specs []TaskSpec) ([]Receipt, error) {
	c.mu.RLock()
	enqueue := c.enqueue
	c.mu.RUnlock()
	receipts, err := enqueue(ctx, specs)
	if err == nil && len(receipts) != len(specs) {
		return nil, fmt.Errorf("enqueue: %d receipts came back for %d tasks: a middleware must return one for each", len(receipts), len(specs))
	}
	return receipts, err
}

// Enqueue accepts one task and returns it as stored. When it returns without
// error, the task is durable where Task.Durable says. An error whose code is
// [CodeInvalidInput], [CodeTooLarge] or [CodeStorageFull] means that nothing
// was accepted; after any other error, repeating the call with the same spec.ID
// tells what became of it.
func (c *Client) Enqueue(ctx context.Context, spec TaskSpec) (*Task, error) {
	receipts, err := c.runEnqueue(ctx, []TaskSpec{spec})
	if err != nil {
		return nil, err
	}
	if receipts[0].Err != nil {
		return nil, receipts[0].Err
	}
	return &receipts[0].Task, nil
}

// EnqueueBatch accepts up to [MaxBatch] tasks in one durable write. The batch
// is checked as a whole: if one spec is wrong, the error names every wrong
// field as tasks[i].field and nothing is accepted. After that, what is wrong
// with one task (an [ErrConflict]) is in its own receipt.
func (c *Client) EnqueueBatch(ctx context.Context, specs []TaskSpec) ([]Receipt, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	if len(specs) > MaxBatch {
		return nil, InvalidInput("enqueue", FieldError{"tasks", fmt.Sprintf("must be at most %d tasks", MaxBatch)})
	}
	specs = slices.Clone(specs)
	if err := normalizeBatch(specs); err != nil {
		return nil, err
	}
	return c.runEnqueue(ctx, specs)
}

// normalizeBatch normalizes all specs in place, or returns one error that names
// every wrong field of every spec.
func normalizeBatch(specs []TaskSpec) error {
	var fields []FieldError
	for i := range specs {
		err := specs[i].Normalize()
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*Error](err)
		switch {
		case !ok:
			return err
		case e.Code != CodeInvalidInput:
			located := *e
			located.Detail = fmt.Sprintf("tasks[%d]: %s", i, e.Detail)
			return &located
		}
		for _, f := range e.Fields {
			fields = append(fields, FieldError{fmt.Sprintf("tasks[%d].%s", i, f.Location), f.Message})
		}
	}
	if len(fields) > 0 {
		return InvalidInput("enqueue", fields...)
	}
	return nil
}

// Get returns a task, or [ErrNotFound].
func (c *Client) Get(ctx context.Context, id ID) (*Task, error) {
	return c.get(ctx, GetRequest{IDs: []ID{id}})
}

func (c *Client) get(ctx context.Context, req GetRequest) (*Task, error) {
	tasks, err := c.engine.Get(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 || tasks[0].ID.IsZero() {
		return nil, &Error{Code: CodeNotFound, Op: "get task", Detail: "there is no such task",
			Hint: "ended tasks are removed when their retention is over"}
	}
	return &tasks[0], nil
}

// History returns the attempts and log lines of a task, or [ErrNotFound].
func (c *Client) History(ctx context.Context, id ID) (History, error) {
	return c.engine.History(ctx, id)
}

// List returns tasks, newest first, a page at a time.
func (c *Client) List(ctx context.Context, filter Filter) (Page, error) {
	return c.engine.List(ctx, filter)
}

// Cancel ends a task that does not run. A running one has its handler's context
// cancelled and ends as canceled when the handler returns. Canceling a canceled
// task succeeds; one that has ended otherwise is [ErrWrongState].
func (c *Client) Cancel(ctx context.Context, id ID) (*Task, error) {
	return c.command(ctx, CommandCancel, id)
}

// Retry starts another life of a failed or canceled task, and makes one that
// waits for its next attempt run now.
func (c *Client) Retry(ctx context.Context, id ID) (*Task, error) {
	return c.command(ctx, CommandRetry, id)
}

// RunNow makes a scheduled task run now.
func (c *Client) RunNow(ctx context.Context, id ID) (*Task, error) {
	return c.command(ctx, CommandRun, id)
}

// Delete removes a task that does not run and returns it as it was.
func (c *Client) Delete(ctx context.Context, id ID) (*Task, error) {
	return c.command(ctx, CommandDelete, id)
}

func (c *Client) command(ctx context.Context, kind CommandKind, id ID) (*Task, error) {
	results, err := c.engine.Command(ctx, []Command{{Kind: kind, ID: id}})
	if err != nil {
		return nil, err
	}
	if results[0].Err != nil {
		return nil, results[0].Err
	}
	return &results[0].Task, nil
}

// Stats returns counts by state and queue, and the live sessions.
func (c *Client) Stats(ctx context.Context) (Stats, error) { return c.engine.Stats(ctx) }

// Queue returns a queue's settings and what it holds. One that was neither
// configured nor ever used is [ErrNotFound], or [ErrStatusUnknown] while that
// cannot be known.
func (c *Client) Queue(ctx context.Context, name string) (QueueInfo, error) {
	stats, err := c.engine.Stats(ctx)
	if err != nil {
		return QueueInfo{}, err
	}
	if q := findQueue(stats.Queues, name); q != nil {
		return *q, nil
	}
	if stats.Fresh == FreshStale {
		return QueueInfo{}, &Error{Code: CodeStatusUnknown, Op: "get queue", Detail: "whether there is such a queue cannot be known now", RetryAfter: time.Second}
	}
	return QueueInfo{}, &Error{Code: CodeNotFound, Op: "get queue", Detail: "there is no such queue",
		Hint: "a queue exists once it is configured or a task was put into it"}
}

func findQueue(queues []QueueInfo, name string) *QueueInfo {
	i := slices.IndexFunc(queues, func(q QueueInfo) bool { return q.Name == name })
	if i < 0 {
		return nil
	}
	return &queues[i]
}

// SetQueue creates a queue or changes its settings, and returns it as it is
// then; if that cannot be read, with the settings alone.
func (c *Client) SetQueue(ctx context.Context, name string, change QueueChange) (QueueInfo, error) {
	if err := change.Validate(name); err != nil {
		return QueueInfo{}, err
	}
	config, err := c.engine.SetQueue(ctx, name, change)
	if err != nil {
		return QueueInfo{}, err
	}
	info, err := c.Queue(ctx, name)
	if err != nil { // it is set all the same
		return QueueInfo{QueueConfig: config}, nil
	}
	if info.Version < config.Version || config.Pending {
		info.QueueConfig = config // what is read may not have it yet
	}
	return info, nil
}

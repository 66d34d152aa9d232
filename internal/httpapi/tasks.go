package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

const (
	maxPage      = 1_000
	defaultPage  = 50
	maxPageBytes = 4 << 20 // of payloads and results, after which a page ends early
	pagePiece    = 16      // tasks read at once; what is too much shows only behind them
	maxWait      = 5 * time.Minute
)

func (a *api) enqueue(c *call) (answer, error) {
	var req wire.TaskRequest
	var spec morningai.TaskSpec
	key, err := c.idempotencyKey()
	if err != nil {
		return answer{}, err
	}
	err = decode(c.body, &req, func() (err error) {
		if key != "" && req.ID != nil {
			return wrongField("id", "must not be given together with the header Idempotency-Key")
		}
		if key != "" {
			id := keyID(c.who, key)
			req.ID = &id
		}
		if spec, err = req.Spec(time.Now()); err == nil && key != "" {
			spec.Fingerprint, err = fingerprint(req)
		}
		return err
	})
	if err != nil {
		return answer{}, err
	}
	receipt, err := a.accept(c, spec, key != "")
	if err != nil {
		return answer{}, err
	}
	if receipt.Task.Duplicate {
		return answer{http.StatusOK, receipt.Task}, nil
	}
	return answer{http.StatusAccepted, receipt.Task}, nil
}

// accept enqueues one task. keyed says that its id comes from the caller's
// idempotency key.
func (a *api) accept(c *call, spec morningai.TaskSpec, keyed bool) (morningai.Receipt, error) {
	receipts, err := a.client.EnqueueBatch(c.r.Context(), []morningai.TaskSpec{spec})
	if err != nil {
		return morningai.Receipt{}, within("body.", inDoubt(err, spec.ID))
	}
	receipt := receipts[0]
	receipt.Err = inDoubt(receipt.Err, spec.ID)
	replayed := receipt.Existing && !receipt.Task.Duplicate
	// The engine leaves the trace id out of its comparison. One that the caller
	// gave is part of the request.
	if given := spec.TraceID != spec.ID; receipt.Err == nil && replayed && given && receipt.Task.TraceID != spec.TraceID {
		receipt.Err = morningai.ErrConflict
	}
	switch {
	case keyed && errors.Is(receipt.Err, morningai.ErrConflict):
		return receipt, refusal(morningai.CodeIdempotencyConflict, "the Idempotency-Key was used for another request, or its task was deleted", "take a new key for a new request")
	case errors.Is(receipt.Err, morningai.ErrConflict):
		return receipt, refusal(morningai.CodeConflict, "a task with this id but other content exists, or existed", "")
	}
	if replayed && receipt.Err == nil {
		c.w.Header().Set("Idempotent-Replayed", "true")
	}
	return receipt, receipt.Err
}

func (a *api) enqueueBatch(c *call) (answer, error) {
	if len(c.r.Header.Values(idempotencyHeader)) > 0 {
		return answer{}, wrongField("header."+idempotencyHeader, "is for single tasks; give the tasks of a batch their ids")
	}
	var req wire.BatchRequest
	var specs []morningai.TaskSpec
	err := decode(c.body, &req, func() (err error) {
		specs, err = batchSpecs(req.Tasks, time.Now())
		return err
	})
	if err != nil {
		return answer{}, err
	}
	receipts, err := a.client.EnqueueBatch(c.r.Context(), specs)
	if errors.Is(err, morningai.ErrAcceptUnknown) {
		return answer{}, &batchInDoubt{idsOf(specs), err}
	}
	if err != nil {
		at := "body."
		if len(specs) == 1 {
			at = "body.tasks[0]."
		}
		return answer{}, within(at, err)
	}
	return batchAnswer(receipts, idsOf(specs))
}

func idsOf(specs []morningai.TaskSpec) []morningai.ID {
	ids := make([]morningai.ID, len(specs))
	for i := range specs {
		ids[i] = specs[i].ID
	}
	return ids
}

// batchSpecs checks a batch as a whole.
func batchSpecs(tasks []wire.TaskRequest, now time.Time) ([]morningai.TaskSpec, error) {
	if len(tasks) == 0 {
		return nil, wrongField("tasks", "must hold 1 to 1000 tasks")
	}
	var bad []morningai.FieldError
	specs := make([]morningai.TaskSpec, len(tasks))
	seen := map[morningai.ID]bool{}
	for i := range tasks {
		at := fmt.Sprintf("tasks[%d].", i)
		var err error
		specs[i], err = tasks[i].Spec(now)
		e, wrong := errors.AsType[*morningai.Error](within(at, err))
		switch {
		case wrong && e.Code == morningai.CodeInvalidInput:
			bad = append(bad, e.Fields...)
			continue
		case wrong && e.Code == morningai.CodeTooLarge:
			located := *e
			located.Fields = []morningai.FieldError{{Location: at + "payload", Message: "is too large"}}
			return nil, &located
		case err != nil:
			return nil, err
		}
		if seen[specs[i].ID] {
			bad = append(bad, morningai.FieldError{Location: at + "id", Message: "is the id of an earlier task of the batch"})
		}
		seen[specs[i].ID] = true
	}
	if len(bad) > 0 {
		return nil, morningai.InvalidInput("enqueue", bad...)
	}
	return specs, nil
}

// batchAnswer tells what became of a batch. If nothing was accepted, the first
// reason is the answer, unless something may have been.
func batchAnswer(receipts []morningai.Receipt, ids []morningai.ID) (answer, error) {
	out := wire.Tasks{Tasks: []morningai.Task{}}
	var doubt error
	for i, r := range receipts {
		if r.Err == nil {
			out.Tasks = append(out.Tasks, r.Task)
			continue
		}
		f := failureOf(inDoubt(r.Err, ids[i]))
		if f.kind.code == morningai.CodeAcceptUnknown {
			doubt = r.Err
		}
		out.Refused = append(out.Refused, wire.Refused{Index: i, Code: f.kind.code, Detail: f.detail, ID: f.id})
	}
	switch {
	case len(out.Tasks) > 0:
	case doubt != nil:
		return answer{}, &batchInDoubt{ids, doubt}
	default:
		return answer{}, receipts[0].Err
	}
	return answer{http.StatusAccepted, out}, nil
}

// stateRule says in words which states a list can be asked for.
var stateRule = func() string {
	var names []string
	for _, s := range morningai.States() {
		names = append(names, string(s))
	}
	return "must be " + strings.Join(names, ", ") + " or " + string(morningai.StateRetrying)
}()

func (a *api) listTasks(c *call) (answer, error) {
	f := morningai.Filter{Queue: c.query.Get("queue"), Type: c.query.Get("type"), Cursor: c.query.Get("cursor")}
	var bad []morningai.FieldError
	check := func(name string, valid func(string) bool, message string) {
		if text := c.query.Get(name); text != "" && !valid(text) {
			bad = append(bad, morningai.FieldError{Location: name, Message: message})
		}
	}
	check("state", func(s string) bool {
		f.State = morningai.State(s)
		return f.State.Valid() || f.State == morningai.StateRetrying
	}, stateRule)
	check("queue", morningai.ValidName, morningai.NameRule)
	check("type", morningai.ValidName, morningai.NameRule)
	check("trace_id", func(s string) bool {
		var err error
		f.TraceID, err = morningai.ParseID(s)
		return err == nil && !f.TraceID.IsZero()
	}, "must be a UUID in its standard form of 36 characters")
	check("limit", func(s string) (ok bool) {
		f.Limit, ok = boundedInt(s, maxPage)
		return ok
	}, fmt.Sprintf("must be 1 to %d", maxPage))
	if len(bad) > 0 {
		return answer{}, within("query.", morningai.InvalidInput("list tasks", bad...))
	}
	page, err := a.readPage(c.r.Context(), f)
	if err != nil {
		return answer{}, within("query.", err)
	}
	return answer{http.StatusOK, wire.NewTaskPage(page)}, nil
}

// readPage gathers a page in pieces and ends it early, with a cursor, once the
// tasks are large: a thousand of them could be gigabytes, and each client that
// reads slowly holds a page.
func (a *api) readPage(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	left := f.Limit
	if left == 0 {
		left = defaultPage
	}
	var page morningai.Page
	for size := 0; ; {
		f.Limit = min(left, pagePiece)
		part, err := a.client.List(ctx, f)
		if err != nil {
			return page, err
		}
		if page.AsOf.IsZero() {
			page.Fresh, page.AsOf = part.Fresh, part.AsOf
		}
		page.Tasks, page.Next = append(page.Tasks, part.Tasks...), part.Next
		for i := range part.Tasks {
			size += len(part.Tasks[i].Payload) + len(part.Tasks[i].Result)
		}
		left -= len(part.Tasks)
		if part.Next == "" || left == 0 || len(part.Tasks) < f.Limit || size > maxPageBytes {
			return page, nil
		}
		f.Cursor = part.Next
	}
}

func (a *api) getTask(c *call) (answer, error) {
	id, err := pathID(c.r)
	if err != nil {
		return answer{}, err
	}
	var task *morningai.Task
	if text := c.query.Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 || wait > maxWait {
			return answer{}, wrongField("query.wait", "must be a duration from 0s to 5m")
		}
		task, err = a.wait(c.r.Context(), id, wait)
		if err != nil {
			return answer{}, err
		}
	} else if task, err = a.client.Get(c.r.Context(), id); err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, task}, nil
}

// wait returns the task when it has ended, when the time is over, or when the
// server stops, whatever comes first. It sees ended tasks with a retention of
// 0 for as long as the engine keeps them.
func (a *api) wait(parent context.Context, id morningai.ID, wait time.Duration) (*morningai.Task, error) {
	ctx, cancel := context.WithTimeout(parent, wait)
	ended := make(chan struct{})
	defer func() {
		cancel()
		<-ended
	}()
	go func() {
		defer close(ended)
		select {
		case <-a.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	task, err := a.client.Wait(ctx, id)
	if err == nil || ctx.Err() == nil || parent.Err() != nil {
		return task, err
	}
	tasks, err := a.client.Engine().Get(parent, morningai.GetRequest{IDs: []morningai.ID{id}, Lingering: true})
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 || tasks[0].ID.IsZero() {
		return nil, refusal(morningai.CodeNotFound, "there is no such task", "")
	}
	return &tasks[0], nil
}

// command makes a route of what an operator can do to a task.
func command(do func(*morningai.Client, context.Context, morningai.ID) (*morningai.Task, error)) func(*api, *call) (answer, error) {
	return func(a *api, c *call) (answer, error) {
		id, err := pathID(c.r)
		if err != nil {
			return answer{}, err
		}
		task, err := do(a.client, c.r.Context(), id)
		if err != nil {
			return answer{}, err
		}
		if task.Pending {
			return answer{http.StatusAccepted, task}, nil
		}
		return answer{http.StatusOK, task}, nil
	}
}

func (a *api) attempts(c *call) (answer, error) {
	h, err := a.history(c)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.NewAttempts(h.Attempts)}, nil
}

func (a *api) logs(c *call) (answer, error) {
	h, err := a.history(c)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.NewLogs(h.Logs)}, nil
}

func (a *api) history(c *call) (morningai.History, error) {
	id, err := pathID(c.r)
	if err != nil {
		return morningai.History{}, err
	}
	return a.client.History(c.r.Context(), id)
}

func (a *api) why(c *call) (answer, error) {
	id, err := pathID(c.r)
	if err != nil {
		return answer{}, err
	}
	reasons, err := a.client.Why(c.r.Context(), id)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, reasons}, nil
}

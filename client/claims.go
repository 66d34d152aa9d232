package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// ClaimRequest is what a worker asks for and says of itself.
type ClaimRequest struct {
	Worker string   // names the worker: one name for each process
	Node   string   // what attempts call it; Worker if ""
	Types  []string // that it can run
	// Queues to serve, tried in this order; up to Share tasks are taken from each
	// first, then whatever is free. Empty: all queues, as if they were one.
	Queues []morningai.QueueShare
	// Limit is how many tasks to hand out at most, up to 100. With 0 the worker
	// is registered, and waits for cancels.
	Limit   int
	Wait    time.Duration // up to 5m; 0 answers at once
	Holding []string      // ids of claims that it still works on: a beat for each
	// Here hands out only what this very server has accepted and nobody else can
	// run while Redis is away.
	Here  bool
	Leave bool // the worker ends: what it has not finished goes back to its queues
}

// Claims answers a ClaimRequest.
type Claims struct {
	Claims  []Claim
	Cancels []string // ids of held claims whose tasks are to be canceled
	Lost    []string // of Holding: the claims that are not the worker's any more
}

// Claim is a task handed out.
type Claim struct {
	ID    string // names the claim in what is reported of it
	Task  morningai.Task
	Lease time.Duration              // without a word for so long, the task goes back to its queue
	Steps map[string]json.RawMessage // results recorded by earlier attempts
}

// Claim registers a worker, or keeps it registered, and waits for tasks. Each is
// to be reported with FinishClaim, and to be mentioned within its lease: in
// Holding, or with BeatClaim.
func (c *Client) Claim(ctx context.Context, req ClaimRequest) (Claims, error) {
	body := wire.ClaimRequest{Worker: req.Worker, Types: req.Types, Holding: req.Holding, Limit: &req.Limit, Here: flag(req.Here), Leave: flag(req.Leave)}
	if req.Wait > 0 {
		wait := wire.Duration(req.Wait)
		body.Wait = &wait
	}
	if req.Node != "" {
		body.Node = &req.Node
	}
	for _, q := range req.Queues {
		body.Queues, body.Shares = append(body.Queues, q.Name), append(body.Shares, q.Share)
	}
	var got wire.Claims
	if err := c.do(ctx, call{op: "claim", method: http.MethodPost, path: []string{"v1", "claims"}, body: body}, &got); err != nil {
		return Claims{}, err
	}
	out := Claims{Claims: make([]Claim, len(got.Claims)), Cancels: got.Cancels, Lost: got.Lost}
	for i, one := range got.Claims {
		out.Claims[i] = Claim{ID: one.ID, Task: one.Task, Lease: time.Duration(one.Lease), Steps: one.Steps}
	}
	return out, nil
}

func flag(set bool) *bool {
	if !set {
		return nil
	}
	return &set
}

// BeatClaim says that the worker still works on a claim, and shows progress
// unless it is nil. It returns whether the task is to be canceled. A claim that
// has ended, or was handed to another worker, is a morningai.ErrStale.
func (c *Client) BeatClaim(ctx context.Context, claim string, progress json.RawMessage) (cancel bool, err error) {
	var out wire.Beaten
	err = c.report(ctx, claim, "beat", wire.BeatRequest{Progress: progress}, &out)
	return out.Cancel, err
}

// RecordStep records the result of a step of a claimed task. The first result
// under a name is what every later attempt is given.
func (c *Client) RecordStep(ctx context.Context, claim, name string, result json.RawMessage) error {
	return c.report(ctx, claim, "checkpoint", wire.CheckpointRequest{Name: &name, Data: result}, new(wire.Beaten))
}

// LogClaim adds up to 1,000 lines to the log of a claimed task. Their Attempt is
// set by the server, and so is an At that is zero.
func (c *Client) LogClaim(ctx context.Context, claim string, lines []morningai.LogLine) error {
	req := wire.CheckpointRequest{Logs: make([]wire.LogRequest, len(lines))}
	for i, l := range lines {
		req.Logs[i] = wire.LogRequest{Message: l.Message, Attrs: l.Attrs}
		if l.Level != "" {
			req.Logs[i].Level = &l.Level
		}
		if !l.At.IsZero() {
			req.Logs[i].At = &l.At
		}
	}
	return c.report(ctx, claim, "checkpoint", req, new(wire.Beaten))
}

// ClaimEnd is what became of a claim. The zero value is a success with the
// result null.
type ClaimEnd struct {
	Result json.RawMessage
	// Error is that of a failure. The task is tried again as long as it has
	// attempts left, unless Outcome is OutcomeFailed.
	Error *morningai.TaskError
	Stack string // where it happened; may be ""
	// Outcome says more than result or error: OutcomeFailed for good,
	// OutcomeSnoozed, OutcomeReleased unfinished, OutcomeCanceled. "" leaves it
	// to them.
	Outcome morningai.Outcome
	// After is the wait until the next attempt, or the end of a snooze; nil: as
	// long as usual after a failure, none after a snooze.
	After *time.Duration
}

// FinishClaim reports the end of a claim and returns the state of the task.
// Repeating it is safe. A claim that has ended otherwise, or was handed to
// another worker, is a morningai.ErrStale.
func (c *Client) FinishClaim(ctx context.Context, claim string, end ClaimEnd) (morningai.State, error) {
	var out wire.Finished
	err := c.report(ctx, claim, "finish", end.request(), &out)
	return out.State, err
}

func (end *ClaimEnd) request() wire.FinishRequest {
	req := wire.FinishRequest{Result: end.Result}
	after := (*wire.Duration)(end.After)
	switch end.Outcome {
	case morningai.OutcomeSnoozed:
		req.Outcome, req.After, req.Result = &end.Outcome, after, nil
		return req
	case morningai.OutcomeReleased:
		req.Outcome, req.Result = &end.Outcome, nil
		return req
	case morningai.OutcomeCanceled:
		req.Outcome = &end.Outcome
	}
	if end.Error != nil || end.Outcome == morningai.OutcomeFailed || end.Outcome == morningai.OutcomeRetry {
		e := wire.ClaimError{}
		if end.Error != nil {
			e.Code, e.Message = &end.Error.Code, &end.Error.Message
		}
		if end.Stack != "" {
			e.Stack = &end.Stack
		}
		switch end.Outcome {
		case morningai.OutcomeFailed:
			no := false
			e.Retry = &no
		case morningai.OutcomeCanceled:
		default:
			e.After = after
		}
		req.Error = &e
	}
	if req.Error == nil && req.Outcome == nil && req.Result == nil {
		req.Result = json.RawMessage("null")
	}
	return req
}

func (c *Client) report(ctx context.Context, claim, verb string, body, out any) error {
	return c.do(ctx, call{op: verb + " claim", method: http.MethodPost, path: []string{"v1", "claims", claim, verb}, body: body}, out)
}

// GetHere reads a task from what the server itself has accepted, without asking
// Redis or another server. Servers ask each other so.
func (c *Client) GetHere(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	task := new(morningai.Task)
	err := c.do(ctx, call{op: "get task", method: http.MethodGet, path: []string{"v1", "tasks", id.String()},
		header: http.Header{wire.HereHeader: {"true"}}}, task)
	return found(task, err)
}

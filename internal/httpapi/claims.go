package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/wire"
)

const (
	maxClaims      = 100 // tasks of one answer
	maxAfter       = 10 * 365 * 24 * time.Hour
	maxMessage     = 4 << 10 // bytes kept of an error's text
	maxStack       = 16 << 10
	messageCutMark = "…"
)

// problems gathers what is wrong with a body.
type problems []morningai.FieldError

func (p *problems) add(wrong bool, location, message string) {
	if wrong {
		*p = append(*p, morningai.FieldError{Location: location, Message: message})
	}
}

func (p *problems) names(location string, names []string) {
	for i, name := range names {
		p.add(!morningai.ValidName(name), fmt.Sprintf("%s[%d]", location, i), morningai.NameRule)
	}
}

func (p problems) err(op string) error {
	if len(p) == 0 {
		return nil
	}
	return morningai.InvalidInput(op, p...)
}

func (a *api) claim(c *call) (answer, error) {
	var req wire.ClaimRequest
	var poll sessions.Poll
	key := sessions.Key{Who: c.who, Here: morningai.IsOnlyHere(c.r.Context())}
	err := decode(c.body, &req, func() error {
		key.Name = req.Worker
		if req.Here != nil {
			key.Here = *req.Here
		}
		poll = pollOf(&req)
		return checkPoll(&req, &poll)
	})
	if err != nil {
		return answer{}, err
	}
	if key.Here && a.redis && a.fleet == nil {
		poll.N = 0 // without a journal there is nothing that this server alone has
	}
	ctx, release := a.untilStop(c.r.Context())
	defer release()
	if ctx.Err() != nil {
		poll.N, poll.Wait = 0, 0
		ctx = c.r.Context()
	}
	out, err := a.keeper.Poll(ctx, key, poll)
	switch {
	case err != nil && ctx.Err() != nil && c.r.Context().Err() == nil && errors.Is(err, context.Canceled):
		// The server stops: the worker is free to ask another one.
	case err != nil:
		return answer{}, err
	}
	body := wire.Claims{Claims: make([]wire.Claim, len(out.Claims)), Cancels: out.Cancels, Lost: out.Lost}
	for i, one := range out.Claims {
		body.Claims[i] = wire.Claim{ID: one.ID, Task: one.Grant.Task, Lease: wire.Duration(a.keeper.Lease()), Steps: one.Grant.Steps}
	}
	return answer{http.StatusOK, body}, nil
}

// untilStop returns a context that also ends when the server begins to stop.
func (a *api) untilStop(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	select {
	case <-a.stopping:
		cancel()
		return ctx, cancel
	default:
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-a.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

func pollOf(req *wire.ClaimRequest) sessions.Poll {
	poll := sessions.Poll{Types: req.Types, N: 1, Holding: req.Holding}
	if req.Limit != nil {
		poll.N = *req.Limit
	}
	if req.Wait != nil {
		poll.Wait = time.Duration(*req.Wait)
	}
	if req.Node != nil {
		poll.Node = *req.Node
	}
	poll.Leave = req.Leave != nil && *req.Leave
	for i, name := range req.Queues {
		share := poll.N
		if i < len(req.Shares) {
			share = req.Shares[i]
		}
		poll.Queues = append(poll.Queues, morningai.QueueShare{Name: name, Share: share})
	}
	return poll
}

func checkPoll(req *wire.ClaimRequest, poll *sessions.Poll) error {
	var bad problems
	bad.add(!morningai.ValidName(req.Worker), "worker", morningai.NameRule)
	bad.add(len(req.Types) == 0 && !poll.Leave, "types", "must hold at least 1")
	bad.names("types", req.Types)
	bad.names("queues", req.Queues)
	bad.add(req.Shares != nil && len(req.Shares) != len(req.Queues), "shares", "must have one number for each queue")
	for i, n := range req.Shares {
		bad.add(n < 0 || n > maxClaims, fmt.Sprintf("shares[%d]", i), fmt.Sprintf("must be 0 to %d", maxClaims))
	}
	bad.add(poll.N < 0 || poll.N > maxClaims, "limit", fmt.Sprintf("must be 0 to %d", maxClaims))
	bad.add(poll.Wait < 0 || poll.Wait > maxWait, "wait", "must be a duration from 0s to 5m")
	bad.add(req.Node != nil && (*req.Node == "" || len(*req.Node) > morningai.MaxName), "node", "must have 1 to 128 bytes")
	return bad.err("claim")
}

func (a *api) claimBeat(c *call) (answer, error) {
	var req wire.BeatRequest
	if len(c.body) > 0 {
		if err := decode(c.body, &req, nil); err != nil {
			return answer{}, err
		}
	}
	cancel, err := a.keeper.Beat(c.r.Context(), c.r.PathValue("claim_id"), req.Progress)
	return answer{http.StatusOK, wire.Beaten{Cancel: cancel}}, err
}

func (a *api) claimCheckpoint(c *call) (answer, error) {
	var req wire.CheckpointRequest
	var points []morningai.Checkpoint
	err := decode(c.body, &req, func() (err error) {
		points, err = pointsOf(&req, time.Now())
		return err
	})
	if err != nil {
		return answer{}, err
	}
	cancel, err := a.keeper.Checkpoint(c.r.Context(), c.r.PathValue("claim_id"), points)
	return answer{http.StatusOK, wire.Beaten{Cancel: cancel}}, err
}

func pointsOf(req *wire.CheckpointRequest, now time.Time) ([]morningai.Checkpoint, error) {
	var bad problems
	var points []morningai.Checkpoint
	bad.add(req.Name == nil && (req.Data != nil || len(req.Logs) == 0), "name", "must name the step, unless there are only logs")
	if req.Name != nil {
		bad.add(!morningai.ValidName(*req.Name), "name", morningai.NameRule)
		data := req.Data
		if data == nil {
			data = []byte("null")
		}
		points = append(points, morningai.Checkpoint{Kind: morningai.CheckpointStep, Name: *req.Name, Data: data})
	}
	for i, l := range req.Logs {
		at := fmt.Sprintf("logs[%d].", i)
		line := morningai.LogLine{At: now, Level: "info", Message: l.Message}
		if l.At != nil {
			line.At = *l.At
		}
		if l.Level != nil {
			line.Level = *l.Level
		}
		if string(l.Attrs) != "null" {
			line.Attrs = l.Attrs
		}
		bad.add(!slices.Contains([]string{"debug", "info", "warn", "error"}, line.Level), at+"level", "must be debug, info, warn or error")
		bad.add(len(line.Attrs) > 0 && line.Attrs[0] != '{', at+"attrs", "must be an object")
		bad.add(len(line.Message)+len(line.Attrs) > morningai.MaxLogLine, at+"message", fmt.Sprintf("must have at most %d bytes, attributes included", morningai.MaxLogLine))
		points = append(points, morningai.Checkpoint{Kind: morningai.CheckpointLog, Line: line})
	}
	return points, bad.err("checkpoint")
}

func (a *api) claimFinish(c *call) (answer, error) {
	var req wire.FinishRequest
	var end sessions.End
	err := decode(c.body, &req, func() (err error) {
		end, err = endOf(&req)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	state, err := a.keeper.Finish(c.r.Context(), c.r.PathValue("claim_id"), end)
	return answer{http.StatusOK, wire.Finished{State: state}}, err
}

// endOf reads what a worker says of the end of a claim. A result may come with
// a cancel, as the handlers of the library may leave one.
func endOf(req *wire.FinishRequest) (sessions.End, error) {
	var bad problems
	end := sessions.End{Outcome: morningai.OutcomeSucceeded, Result: req.Result}
	if e := req.Error; e != nil {
		end.Outcome, end.Error, end.After = morningai.OutcomeRetry, errorOf(e, &bad), (*time.Duration)(e.After)
		if e.Retry != nil && !*e.Retry {
			end.Outcome = morningai.OutcomeFailed
			bad.add(e.After != nil, "error.after", "must not be given together with retry false")
		}
		if e.Stack != nil {
			end.Stack = cut(*e.Stack, maxStack)
		}
		bad.add(outside(e.After), "error.after", "must be a duration from 0s to 87600h")
	}
	if req.Outcome != nil {
		end.Outcome = *req.Outcome
		known := slices.Contains([]morningai.Outcome{morningai.OutcomeSnoozed, morningai.OutcomeReleased, morningai.OutcomeCanceled}, end.Outcome)
		bad.add(!known, "outcome", "must be snoozed, released or canceled; a result or an error says the others")
		bad.add(end.Outcome != morningai.OutcomeCanceled && (req.Result != nil || req.Error != nil), "outcome", "must not be given together with result or error, unless it is canceled")
		end.After = (*time.Duration)(req.After)
	}
	bad.add(req.After != nil && end.Outcome != morningai.OutcomeSnoozed, "after", "is for the outcome snoozed; that of a failure is in error")
	bad.add(outside(req.After), "after", "must be a duration from 0s to 87600h")
	if req.Outcome == nil {
		bad.add(req.Result == nil && req.Error == nil, "result", "must be given, or error, or outcome")
		bad.add(req.Result != nil && req.Error != nil, "error", "must not be given together with result")
	}
	if end.Outcome == morningai.OutcomeSnoozed && end.After == nil {
		end.After = new(time.Duration)
	}
	return end, bad.err("finish")
}

func outside(d *wire.Duration) bool { return d != nil && (*d < 0 || time.Duration(*d) > maxAfter) }

func errorOf(e *wire.ClaimError, bad *problems) *morningai.TaskError {
	out := &morningai.TaskError{Code: morningai.ErrorCodeHandler}
	if e.Code != nil {
		out.Code = *e.Code
		bad.add(!morningai.ValidName(out.Code), "error.code", morningai.NameRule)
	}
	if e.Message != nil {
		out.Message = cut(*e.Message, maxMessage)
	}
	return out
}

// cut shortens a text to at most n bytes, and shows that it did.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len(messageCutMark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + messageCutMark
}

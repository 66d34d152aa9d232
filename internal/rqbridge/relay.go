package rqbridge

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/RC918/morningai"
)

// relay is the engine as the bridge's app sees it. The app knows one type; which
// types there are is found out while it runs.
type relay struct {
	morningai.Engine
	b *Bridge
}

// Claim asks for the types that are known, and ends early when there are more.
func (r *relay) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	types, more := r.b.known()
	slices.Sort(types)
	req.Types = types
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-more:
			cancel()
		case <-waiting.Done():
		}
	}()
	reply, err := r.Engine.Claim(waiting, req)
	cancel()
	<-ended
	if err != nil && ctx.Err() == nil {
		select {
		case <-more:
			return morningai.ClaimReply{}, nil
		default:
		}
	}
	if err != nil {
		return reply, err
	}
	for i := range reply.Grants {
		r.b.admit(&reply.Grants[i])
	}
	r.b.cancel(reply.Cancels)
	return reply, nil
}

// Beat reports the types that are known.
func (r *relay) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	req.Types, _ = r.b.known()
	slices.Sort(req.Types)
	reply, err := r.Engine.Beat(ctx, req)
	if err == nil {
		r.b.cancel(reply.Cancels)
	}
	return reply, err
}

// Finish notes which jobs RQ may remove.
func (r *relay) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	verdicts, err := r.Engine.Finish(ctx, reports)
	if err != nil {
		return verdicts, err
	}
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	for i := range reports {
		if id := reports[i].Lease.ID; r.b.granted[id].lease == reports[i].Lease {
			delete(r.b.granted, id)
			delete(r.b.canceled, id)
			if verdicts[i].Err == nil && verdicts[i].State.Terminal() {
				delete(r.b.memos, id)
			}
		}
		if verdicts[i].Err == nil && reports[i].Outcome == morningai.OutcomeSucceeded {
			r.b.settled = append(r.b.settled, reports[i].Lease.ID.String())
		}
	}
	return verdicts, nil
}

// admit makes of a task for RQ one that the app has a handler for, without a
// timeout: it may wait in RQ for as long as it takes.
func (b *Bridge) admit(g *morningai.Grant) {
	inside := grant{lease: g.Lease, function: strings.TrimPrefix(g.Task.Type, Prefix), timeout: g.Task.Timeout}
	for n := 1; ; n++ {
		raw, ok := g.Steps[stepName(g.Task.Life, n)]
		if !ok || json.Unmarshal(raw, &inside.known) != nil {
			break
		}
		inside.deliveries = n
	}
	g.Task.Type, g.Task.Timeout = innerType, morningai.MaxTimeout
	b.mu.Lock()
	defer b.mu.Unlock()
	if m, ok := b.memos[g.Task.ID]; ok && m.life == g.Task.Life {
		inside.memo = m
		if inside.known.Sender == "" {
			inside.known = m.mark
		}
	}
	b.granted[g.Task.ID] = inside
}

// stepName is the step that records the nth delivery in a life.
func stepName(life int64, n int) string { return fmt.Sprintf("rq_delivered.%d.%d", life, n) }

// cancel tells followers that their tasks are to be canceled.
func (b *Bridge) cancel(ids []morningai.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.canceled[id] = true
	}
}

func (b *Bridge) isCanceled(id morningai.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.canceled[id]
}

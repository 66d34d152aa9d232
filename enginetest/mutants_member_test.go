package enginetest

import (
	"context"
	"slices"

	"github.com/RC918/morningai"
)

const (
	memRecorded  = "Beat/a member is recorded as it stands, for all to see, until its next word"
	memLeaves    = "Beat/a member that leaves with nothing undelivered is removed"
	memStays     = "Beat/a member with a backlog, or whose session dies, stays on record"
	memForgotten = "Beat/a forgotten member is gone until it beats again"
	memReopened  = "Beat/members survive a reopen"
	says         = "Command/a cancel that ends a task says why"
)

func memberMutants(add adder) {
	beat := func(name string, change func(e *Reference, req *morningai.BeatRequest), noticedBy ...string) {
		add(name, func(e *Reference, t *twisted) {
			t.beat = func(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
				change(e, &req)
				return e.Beat(ctx, req)
			}
		}, noticedBy...)
	}
	beat("members are not recorded", func(_ *Reference, req *morningai.BeatRequest) { req.Member = nil }, memRecorded, memLeaves, memStays, memForgotten, memReopened)
	beat("the first word of a member stays", func(e *Reference, req *morningai.BeatRequest) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if req.Member != nil {
			if _, known := e.fleet[req.Member.Journal]; known && !req.Leaving {
				req.Member = nil
			}
		}
	}, memRecorded, memStays)
	beat("a beat without a member removes its own", func(e *Reference, req *morningai.BeatRequest) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for id, m := range e.fleet {
			if req.Member == nil && m.Session == req.Session {
				delete(e.fleet, id)
			}
		}
	}, memRecorded, memStays)
	beat("a member that leaves stays whatever it owes", func(_ *Reference, req *morningai.BeatRequest) {
		if req.Leaving && req.Member != nil {
			kept := *req.Member
			kept.Backlog = max(kept.Backlog, 1)
			req.Member = &kept
		}
	}, memLeaves, memStays, memReopened)
	beat("a member that leaves is removed whatever it owes", func(_ *Reference, req *morningai.BeatRequest) {
		if req.Leaving && req.Member != nil {
			req.Forget = append(slices.Clone(req.Forget), req.Member.Journal)
			req.Member = nil
		}
	}, memStays)
	beat("nobody is forgotten", func(_ *Reference, req *morningai.BeatRequest) { req.Forget = nil }, memForgotten, memReopened)
	beat("forgetting goes by halves", func(_ *Reference, req *morningai.BeatRequest) { req.Forget = req.Forget[:min(1, len(req.Forget))] }, memForgotten)
	add("a reap removes the member", func(e *Reference, t *twisted) {
		t.reap = func(ctx context.Context, o []morningai.Observation) ([]morningai.SessionID, error) {
			gone, err := e.Reap(ctx, o)
			e.mu.Lock()
			defer e.mu.Unlock()
			for id, m := range e.fleet {
				if slices.Contains(gone, m.Session) {
					delete(e.fleet, id)
				}
			}
			return gone, err
		}
	}, memStays)
	add("every member is called connected", func(e *Reference, t *twisted) {
		t.beat = func(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
			reply, err := e.Beat(ctx, req)
			for i := range reply.Members {
				reply.Members[i].Connected = true
			}
			return reply, err
		}
	}, memStays)
	add("members are forgotten at a close", func(e *Reference, t *twisted) {
		t.close = func() error {
			e.mu.Lock()
			clear(e.fleet)
			e.mu.Unlock()
			return e.Close()
		}
	}, memReopened)
	command := func(name string, change func(e *Reference, c *morningai.Command)) {
		add(name, func(e *Reference, t *twisted) {
			t.command = func(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
				cmds = slices.Clone(cmds)
				for i := range cmds {
					change(e, &cmds[i])
				}
				return e.Command(ctx, cmds)
			}
		}, says)
	}
	command("why a task was canceled is not kept", func(_ *Reference, c *morningai.Command) { c.Error = nil })
	command("a repeated cancel says why again", func(e *Reference, c *morningai.Command) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if t := e.tasks[c.ID]; t != nil && t.Task.State == morningai.StateCanceled && c.Error != nil {
			why := *c.Error
			t.Task.Error = &why
		}
	})
}

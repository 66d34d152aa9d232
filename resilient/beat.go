package resilient

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/RC918/morningai"
)

// beatOp keeps a session alive with both engines.
type beatOp struct {
	req     morningai.BeatRequest
	done    func(morningai.BeatReply, error)
	open    int
	shared  morningai.BeatReply
	local   morningai.BeatReply
	here    bool // of a session that takes only what the journal owns
	reached bool // the shared engine has answered
	err     error
	failed  error // of the shared engine: not an outage
}

func (c *core) beat(op *beatOp, here bool) {
	op.here = here
	req := &op.req
	s := c.session(req.Session)
	s.lease, s.heard, s.here = req.LeaseTime, c.now, here
	s.types = make(map[string]bool, len(req.Types))
	for _, t := range req.Types {
		s.types[t] = true
	}
	s.received(req.Through)

	returns := s.returns
	s.returns = false
	local, shared := *req, *req
	local.Through, shared.Through = s.throughJournal, s.throughShared
	local.Member, local.Forget, local.Holding, shared.Holding = nil, nil, nil, nil
	for _, l := range req.Holding {
		if here || c.owns(l) {
			local.Holding = append(local.Holding, l)
		} else {
			shared.Holding = append(shared.Holding, l)
		}
	}
	// What is on its way to the session it cannot list yet, and another claim of it
	// may have been given up since: the journal would take that back as well.
	for _, m := range s.marks {
		for _, l := range m.leases {
			if c.mine[l.ID] == l && !slices.Contains(local.Holding, l) {
				local.Holding = append(local.Holding, l)
			}
		}
	}
	shared.Holding = append(shared.Holding, c.unsettled(s.id, req.Holding)...)
	op.open = 1
	onJournal(c, "beat", func(ctx context.Context) (morningai.BeatReply, error) { return c.journal.Beat(ctx, local) },
		func(reply morningai.BeatReply, err error) {
			op.local, op.err = reply, err
			if returns && err != nil {
				s.returns = true
			} else if returns || len(reply.Lost) > 0 {
				c.backlog.leaves(c)
			}
			c.endBeat(op)
		})
	if (!c.contact.open() || c.rebuild != nil) && !here {
		op.open++
		if shared.Member == nil {
			shared.Member = c.member(req.Session)
		}
		forgetting := c.forgets
		for _, f := range forgetting {
			shared.Forget = append(slices.Clip(shared.Forget), f.id)
		}
		onShared(c, "beat", c.cfg.limits.call, func(ctx context.Context) (morningai.BeatReply, error) { return c.remote.Beat(ctx, shared) },
			func(reply morningai.BeatReply, err error) {
				if op.reached = err == nil; op.reached {
					s.beaten, s.beatenHere = &shared, &local
					if c.rebuild != nil {
						reply.Lost = nil // it has lost what runs here, which goes on
					}
					op.shared = reply
					if slices.Contains(reply.Missed, memberPart) {
						reply.Members = slices.Clone(c.members) // as last known
					} else {
						c.putMembersBack(&shared, reply.Members)
						c.noteMembers(reply.Members)
					}
					c.noteSessions(reply.Sessions)
					c.mirror.noteSettings(reply.Settings, c.now)
					c.forgotten(forgetting)
				} else if !outage(err) {
					op.failed = err
				}
				c.endBeat(op)
			})
	}
	if req.Leaving {
		delete(c.sessions, req.Session)
		maps.DeleteFunc(c.held, func(_ morningai.ID, h *holding) bool { return h.session == req.Session && h.decided == "" })
	}
}

// memberPart is the part of the shared engine in which members are on record.
const memberPart = 0

// unsettled lists what a session has finished and the shared engine does not
// know to be finished, so that it does not hand it out again meanwhile.
func (c *core) unsettled(id morningai.SessionID, listed []morningai.Lease) []morningai.Lease {
	var more []morningai.Lease
	var has map[morningai.Lease]bool
	for _, h := range c.held {
		if h.session != id || h.decided == "" {
			continue
		}
		if has == nil {
			has = make(map[morningai.Lease]bool, len(listed))
			for _, l := range listed {
				has[l] = true
			}
		}
		if !has[h.lease] {
			more = append(more, h.lease)
		}
	}
	slices.SortFunc(more, func(a, b morningai.Lease) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return more
}

func (c *core) endBeat(op *beatOp) {
	if op.open--; op.open > 0 {
		return
	}
	err := op.err
	if op.failed != nil {
		err = op.failed
	}
	if err != nil && !op.reached || op.failed != nil {
		c.reply(func() { op.done(morningai.BeatReply{}, err) })
		return
	}
	reply := op.shared
	if !op.reached {
		reply = morningai.BeatReply{Counter: op.local.Counter, Members: c.members, Alone: !op.here}
	}
	reply.Sessions = withSessions(reply.Sessions, op.local.Sessions)
	reply.Cancels = append(reply.Cancels, op.local.Cancels...)
	reply.Lost = append(reply.Lost, op.local.Lost...)
	for _, l := range reply.Lost {
		if c.mine[l.ID] == l {
			delete(c.mine, l.ID)
		}
		if h := c.held[l.ID]; h != nil && h.lease == l && h.decided == "" {
			delete(c.held, l.ID)
		}
	}
	for _, l := range op.req.Holding {
		if h := c.held[l.ID]; h != nil && h.lease == l && h.cancel {
			reply.Cancels = append(reply.Cancels, l.ID)
		}
	}
	c.reply(func() { op.done(reply, nil) })
}

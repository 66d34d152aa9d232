package resilient

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/RC918/morningai"
)

// forgetOp removes a member from the record, with the next beat.
type forgetOp struct {
	id   morningai.ID
	done func(struct{}, error)
}

func (c *core) forgetMember(op *forgetOp) {
	refuse := func(err error) { c.reply(func() { op.done(struct{}{}, err) }) }
	at := slices.IndexFunc(c.members, func(m morningai.Member) bool { return m.Journal == op.id })
	switch {
	case c.contact.open():
		refuse(c.statusUnknown("forget", nil))
	case at < 0:
		refuse(&morningai.Error{Code: morningai.CodeNotFound, Op: "forget", Detail: "there is no such node"})
	case c.members[at].Connected || op.id == c.cfg.member:
		refuse(&morningai.Error{Code: morningai.CodeWrongState, Op: "forget", Detail: "the node is connected", Hint: "stop it first"})
	case !c.beats():
		refuse(&morningai.Error{Code: morningai.CodeWrongState, Op: "forget", Detail: "this node takes no part in the fleet", Hint: "ask a node that runs workers"})
	default:
		c.forgets = append(c.forgets, op)
	}
}

// beats reports whether a session of this node is alive in the shared engine.
func (c *core) beats() bool {
	for _, s := range c.sessions {
		if !s.here && c.now.Sub(s.heard) <= s.lease {
			return true
		}
	}
	return false
}

func (c *core) forgotten(ops []*forgetOp) {
	for _, op := range ops {
		if i := slices.Index(c.forgets, op); i >= 0 {
			c.forgets = slices.Delete(c.forgets, i, i+1)
			c.reply(func() { op.done(struct{}{}, nil) })
		}
	}
}

// withSessions adds the journal's own sessions, such as those of peers.
func withSessions(shared, local []morningai.Session) []morningai.Session {
	for i := range local {
		if !slices.ContainsFunc(shared, func(s morningai.Session) bool { return s.ID == local[i].ID }) {
			shared = append(shared, local[i])
		}
	}
	return shared
}

// reapOp declares sessions dead where they are known.
type reapOp struct {
	done   func([]morningai.SessionID, error)
	open   int
	shared bool // the shared engine was asked
	reaped []morningai.SessionID
	err    error
}

func (c *core) reap(op *reapOp, observed []morningai.Observation) {
	part := func(reaped []morningai.SessionID, err error) {
		for _, id := range reaped {
			if !slices.Contains(op.reaped, id) {
				op.reaped = append(op.reaped, id)
			}
		}
		if err != nil {
			op.err = err
		}
		if op.open--; op.open > 0 {
			return
		}
		if len(op.reaped) > 0 {
			op.err = nil // the others will be observed again
		}
		c.reply(func() { op.done(op.reaped, op.err) })
	}
	for _, o := range observed {
		if s := c.sessions[o.Session]; s != nil {
			s.beaten = nil // repeated, it would make the session live again
		}
	}
	op.open = 1
	onJournal(c, "reap", func(ctx context.Context) ([]morningai.SessionID, error) { return c.journal.Reap(ctx, observed) },
		func(reaped []morningai.SessionID, err error) {
			if len(reaped) > 0 {
				c.backlog.leaves(c)
			}
			if op.shared {
				// Of a session that both know the shared engine tells.
				reaped = slices.DeleteFunc(reaped, func(id morningai.SessionID) bool { s := c.sessions[id]; return s == nil || !s.here })
			}
			part(reaped, err)
		})
	if !c.contact.open() {
		op.open++
		op.shared = true
		onShared(c, "reap", c.cfg.limits.call, func(ctx context.Context) ([]morningai.SessionID, error) { return c.remote.Reap(ctx, observed) }, part)
	}
}

// meet asks who else is there, for what may have been accepted by a node that came
// after the last beat: it repeats that beat. It reports whether there is one, and
// then calls then.
func (c *core) meet(then func(error)) bool {
	if c.contact.open() || c.rebuild != nil {
		return false
	}
	if c.meeting = append(c.meeting, then); len(c.meeting) > 1 {
		return true
	}
	for _, id := range slices.SortedFunc(maps.Keys(c.sessions), func(a, b morningai.SessionID) int { return cmp.Compare(string(a[:]), string(b[:])) }) {
		s := c.sessions[id]
		if s.here || s.beaten == nil || s.beaten.Leaving || c.now.Sub(s.heard) > s.lease {
			continue
		}
		req := *s.beaten
		req.Forget, req.Member = nil, c.member(id)
		here := *s.beatenHere // whoever observes the session sees one counter
		onJournal(c, "beat", func(ctx context.Context) (morningai.BeatReply, error) { return c.journal.Beat(ctx, here) },
			func(morningai.BeatReply, error) {})
		onShared(c, "beat", c.cfg.limits.call, func(ctx context.Context) (morningai.BeatReply, error) { return c.remote.Beat(ctx, req) },
			func(reply morningai.BeatReply, err error) {
				if err == nil && slices.Contains(reply.Missed, memberPart) {
					err = c.apart.cause()
				}
				if err == nil && c.rebuild == nil {
					c.noteMembers(reply.Members)
				}
				waiting := c.meeting
				c.meeting = nil
				for _, then := range waiting {
					then(err)
				}
			})
		return true
	}
	c.meeting = nil
	return false
}

package resilient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// session is a worker that claims through this node. It is registered with both
// engines, so that either can hand out tasks to it at once.
type session struct {
	id    morningai.SessionID
	types map[string]bool
	lease time.Duration
	heard time.Time // when it beat last
	here  bool      // it takes only what the journal owns
	seq   int64     // of the last reply
	marks []mark    // replies that may not have been received, oldest first
	// the replies of either engine that have been
	throughShared, throughJournal int64
	beaten, beatenHere            *morningai.BeatRequest // the last that the shared engine has answered, and its like
	returns                       bool                   // the journal takes tasks back with the next beat
}

// mark says which engine's reply a reply of ours was.
type mark struct {
	seq     int64
	engine  int64
	journal bool
	leases  []morningai.Lease // what it brought, from the journal
}

// holding is a task claimed from the shared engine whose outcome the shared
// engine does not have yet.
type holding struct {
	lease   morningai.Lease
	task    morningai.Task // as it was handed out
	session morningai.SessionID
	// decided: the outcome is known here and in the journal, or on its way
	// there, and has still to be delivered.
	decided morningai.Outcome
	asked   morningai.Record           // what it was asked for with that a task does not show
	steps   map[string]json.RawMessage // that it has done, as far as this node knows
	again   bool                       // the outcome's note may have replaced an earlier one
	sending bool                       // the shared engine is being told
	cancel  bool                       // a cancel that was given here has still to reach the handler
}

func (c *core) session(id morningai.SessionID) *session {
	s := c.sessions[id]
	if s == nil {
		s = &session{id: id}
		c.sessions[id] = s
	}
	return s
}

// reply numbers a reply to a session and remembers whose it was.
func (s *session) reply(engine int64, journal bool, grants []morningai.Grant) int64 {
	s.seq++
	m := mark{seq: s.seq, engine: engine, journal: journal}
	if journal {
		for i := range grants {
			m.leases = append(m.leases, grants[i].Lease)
		}
	}
	s.marks = append(s.marks, m)
	return s.seq
}

// received takes in that every reply up to through has been received.
func (s *session) received(through int64) {
	n := 0
	for _, m := range s.marks {
		if m.seq > through {
			break
		}
		if m.journal {
			s.throughJournal = max(s.throughJournal, m.engine)
		} else {
			s.throughShared = max(s.throughShared, m.engine)
		}
		n++
	}
	s.marks = append(s.marks[:0], s.marks[n:]...)
}

// forgetShared is for a shared engine that has lost what it had handed out: it
// numbers its replies anew, and what it is told to have been received must not be
// one that is still on its way.
func (s *session) forgetShared() {
	s.throughShared = 0
	s.marks = slices.DeleteFunc(s.marks, func(m mark) bool { return !m.journal })
}

// runsType reports whether a worker of this node can run a type.
func (c *core) runsType(t string) bool {
	for _, s := range c.sessions {
		if s.types[t] && c.now.Sub(s.heard) <= s.lease {
			return true
		}
	}
	return false
}

// claimOp is a worker's wait for tasks. It follows contact: while the circuit
// is closed it waits for the shared engine, else for the journal.
type claimOp struct {
	n     int64 // in the order in which they came
	req   morningai.ClaimRequest
	here  bool
	until time.Time
	done  func(morningai.ClaimReply, error)

	ended   bool // answered
	looked  bool // at the journal, while a part of the shared engine is away
	left    bool // its caller waits no more than for the call under way
	call    int64
	journal bool // call is one of the journal
}

func (c *core) claim(op *claimOp) {
	c.calls++
	op.n = c.calls
	op.until = c.now.Add(op.req.Wait)
	c.claims[op] = struct{}{}
	c.routeClaim(op)
}

func (c *core) routeClaim(op *claimOp) {
	if op.ended {
		return
	}
	req := op.req
	req.Wait = max(op.until.Sub(c.now), 0)
	switch {
	case c.contact.open() && !c.mirror.overstepped():
		op.journal = true
		op.call = waitJournal(c, "claim", func(ctx context.Context) (morningai.ClaimReply, error) { return c.journal.Claim(ctx, req) },
			func(reply morningai.ClaimReply, err error) { c.claimed(op, true, &reply, err) })
	case c.partly() && c.backlog.local && !op.looked && !op.here && !c.mirror.overstepped():
		op.journal, op.looked = true, true
		req.Wait = 0
		op.call = waitJournal(c, "claim", func(ctx context.Context) (morningai.ClaimReply, error) { return c.journal.Claim(ctx, req) },
			func(reply morningai.ClaimReply, err error) { c.claimed(op, true, &reply, err) })
	case c.contact.open() || op.here || c.backlog.settings > 0 && !c.partly() || c.unproved():
		// Nothing here is this node's alone, so that it waits for an outage; or a
		// pause that was acknowledged here has still to be told, or has to be written
		// by the journal, or what an earlier process of this node has finished has to
		// be told.
		op.call = 0
		c.after(req.Wait, func() {
			if op.call == 0 {
				c.endClaim(op, morningai.ClaimReply{}, nil)
			}
		})
	default:
		op.journal, op.looked = false, false
		if c.partly() && c.backlog.local {
			req.Wait = min(req.Wait, partPace)
		}
		req.Known = c.mirror.Data
		op.call = waitShared(c, "claim", func(ctx context.Context) (morningai.ClaimReply, error) { return c.remote.Claim(ctx, req) },
			func(reply morningai.ClaimReply, err error) { c.claimed(op, false, &reply, err) })
	}
}

// reroute sends what waits the other way, as contact has changed.
func (c *core) reroute() {
	for _, op := range slices.SortedFunc(maps.Keys(c.streams), func(a, b *eventsOp) int { return cmp.Compare(a.n, b.n) }) {
		c.end(op.call)
	}
	for _, op := range c.waitingClaims() {
		if op.call != 0 {
			c.end(op.call)
		} else {
			c.routeClaim(op)
		}
	}
}

// resumeClaims sends claims that were held back.
func (c *core) resumeClaims() {
	for _, op := range c.waitingClaims() {
		if op.call == 0 {
			c.routeClaim(op)
		}
	}
}

func (c *core) waitingClaims() []*claimOp {
	return slices.SortedFunc(maps.Keys(c.claims), func(a, b *claimOp) int { return cmp.Compare(a.n, b.n) })
}

// abandonClaim is for a caller that wants to wait no more. It gets what the call
// under way has still brought, so that no grant is lost on the way.
func (c *core) abandonClaim(op *claimOp) {
	if op.call == 0 {
		c.endClaim(op, morningai.ClaimReply{}, context.Canceled)
		return
	}
	op.left = true
	c.end(op.call)
}

func (c *core) endClaim(op *claimOp, reply morningai.ClaimReply, err error) {
	if op.ended {
		return
	}
	op.ended = true
	delete(c.claims, op)
	if c.closing && len(reply.Grants) == 0 {
		err = morningai.ErrClosed
	}
	c.reply(func() { op.done(reply, err) })
}

// claimed takes what a claim of one engine has brought.
func (c *core) claimed(op *claimOp, journal bool, reply *morningai.ClaimReply, err error) {
	op.call = 0
	if journal && err != nil || op.ended {
		c.giveUp(op.req.Session)
	}
	if op.ended {
		return
	}
	if op.left && (err != nil || len(reply.Grants) == 0) {
		c.endClaim(op, morningai.ClaimReply{}, context.Canceled)
		return
	}
	if err != nil {
		c.claimFailed(op, journal, err)
		return
	}
	if len(reply.Grants) == 0 && len(reply.Cancels) == 0 && (journal != c.contact.open() || c.partly()) && op.until.After(c.now) {
		c.routeClaim(op) // it was ended because contact has changed, or there are two places to look at
		return
	}
	s := c.session(op.req.Session)
	for i := range reply.Grants {
		g := &reply.Grants[i]
		if journal {
			c.mine[g.Task.ID] = g.Lease
			g.Task.Fresh, g.Own = morningai.FreshLocal, true
			continue
		}
		if old := c.held[g.Task.ID]; old != nil && old.decided != "" {
			// The answer to its outcome is still on its way; without the outcome
			// there would be no further claim.
			c.settled(old.lease, morningai.Verdict{State: stateAfter(old.decided)})
		}
		c.held[g.Task.ID] = &holding{lease: g.Lease, task: g.Task, session: s.id, steps: maps.Clone(g.Steps),
			asked: morningai.Record{UniqueKey: g.UniqueKey, Retention: g.Retention, Fingerprint: g.Fingerprint}}
		c.markRepeat(g)
		c.known.see(&g.Task)
	}
	if !journal && c.backlog.settings > 0 {
		reply.Grants = c.handBack(reply.Grants)
	}
	if journal {
		c.incidents.current.RanLocally += int64(len(reply.Grants))
	}
	reply.Seq = s.reply(reply.Seq, journal, reply.Grants)
	c.endClaim(op, *reply, nil)
}

// handBack returns grants from queues that were paused here and that the shared
// engine does not know to be paused, and keeps the others.
func (c *core) handBack(grants []morningai.Grant) []morningai.Grant {
	var reports []morningai.Report
	kept := slices.DeleteFunc(grants, func(g morningai.Grant) bool {
		if !c.mirror.Queues[g.Task.Queue].Paused {
			return false
		}
		reports = append(reports, morningai.Report{Lease: g.Lease, Node: c.cfg.node, Outcome: morningai.OutcomeReleased, Attempt: g.Task.Attempt,
			StartedAt: c.now.UTC(), FinishedAt: c.now.UTC()})
		return true
	})
	if len(reports) > 0 { // if nobody can be told now, the journal keeps it
		c.finish(&finishOp{reports: reports, parts: parts[morningai.Verdict]{done: func([]morningai.Verdict, error) {}}})
	}
	return kept
}

// giveUp makes the journal take back what it has handed out in an answer that
// was not received: a later answer has a larger number, and beats that follow
// tell that everything up to it was received or is lost.
func (c *core) giveUp(id morningai.SessionID) {
	if c.closing || c.sessions[id] == nil {
		return
	}
	onJournal(c, "claim", func(ctx context.Context) (morningai.ClaimReply, error) {
		return c.journal.Claim(ctx, morningai.ClaimRequest{Session: id})
	}, func(reply morningai.ClaimReply, err error) {
		if s := c.sessions[id]; s != nil && err == nil {
			s.throughJournal, s.returns = max(s.throughJournal, reply.Seq), true
		}
	})
}

// retryClaim is the pause before a claim that failed is tried again, unless
// contact changes before.
const retryClaim = 50 * time.Millisecond

func (c *core) claimFailed(op *claimOp, journal bool, err error) {
	rerouted := errors.Is(err, context.Canceled) && journal != c.contact.open()
	switch {
	case rerouted:
		c.routeClaim(op)
	case !journal && outage(err) && op.until.After(c.now):
		c.after(min(retryClaim, op.until.Sub(c.now)), func() {
			if op.call == 0 {
				c.routeClaim(op)
			}
		})
	case !journal && outage(err):
		c.endClaim(op, morningai.ClaimReply{}, nil) // it has waited for as long as it was asked to
	default:
		c.endClaim(op, morningai.ClaimReply{}, err)
	}
}

package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// session is a registered worker. Sessions live in memory: a restart ends all
// of them, and workers register anew. Engine.mu guards them.
type session struct {
	id          morningai.SessionID
	node        string
	types       []string
	queues      []string
	concurrency int
	lease       time.Duration
	remote      bool
	counter     int64
	seq         int64 // of the last claim reply
	running     map[int64]*entry
	cancels     []morningai.ID // not yet told by a claim reply
	gone        bool
}

// Beat implements morningai.Engine. Members are written down before it returns;
// sessions are not.
func (e *Engine) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if err := e.ready(ctx); err != nil {
		return morningai.BeatReply{}, err
	}
	if req.Session == (morningai.SessionID{}) {
		return morningai.BeatReply{}, morningai.InvalidInput("beat", morningai.FieldError{Location: "session", Message: "must not be zero"})
	}
	changes, err := e.membersOf(&req)
	if err != nil {
		return morningai.BeatReply{}, err
	}
	e.mu.Lock()
	s := e.sessions[req.Session]
	if s == nil {
		s = &session{id: req.Session, running: map[int64]*entry{}}
		e.sessions[req.Session] = s
	}
	s.counter++
	s.node, s.concurrency, s.lease, s.remote = req.Node, req.Concurrency, req.LeaseTime, req.Remote
	s.types, s.queues = slices.Clone(req.Types), slices.Clone(req.Queues)

	reply := morningai.BeatReply{Counter: s.counter}
	holds := make(map[int64]bool, len(req.Holding))
	for _, l := range req.Holding {
		en := e.byID[l.ID]
		if en == nil || en.run.claim != l.Claim || en.run.lease != l.Lease || en.sess != nil && en.sess != s {
			reply.Lost = append(reply.Lost, l)
			continue
		}
		if en.sess == nil {
			en.sess = s
			s.running[en.row.seq] = en
			delete(e.orphans, en)
		}
		holds[en.row.seq] = true
		if en.run.cancel {
			reply.Cancels = append(reply.Cancels, l.ID)
		}
	}
	var lost []lostRun
	for seq, en := range s.running {
		if !holds[seq] && (req.Leaving || en.replySeq <= req.Through) {
			lost = append(lost, lostRun{seq, en.run.claim, en.run.lease})
		}
	}
	if req.Leaving {
		e.forget(s)
	}
	reply.Sessions = e.sessionList()
	e.mu.Unlock()
	if err := e.giveBack(ctx, lost, morningai.OutcomeReleased); err != nil {
		return morningai.BeatReply{}, err
	}
	if changes != nil {
		if err := e.submit(ctx, changes); err != nil {
			return morningai.BeatReply{}, err
		}
	}
	e.mu.Lock()
	reply.Members = e.memberList()
	e.mu.Unlock()
	return reply, nil
}

// forget removes a session. What it still runs waits for an outcome, or for the
// clock to return it. Engine.mu is held.
func (e *Engine) forget(s *session) {
	s.gone = true
	delete(e.sessions, s.id)
	for _, en := range s.running {
		en.sess = nil
		en.giveUp = e.now().Add(e.cfg.orphanGrace)
		e.orphans[en] = struct{}{}
	}
	s.running = map[int64]*entry{}
	e.waiters.wakeSession(s)
	e.look()
}

func (e *Engine) giveBack(ctx context.Context, lost []lostRun, outcome morningai.Outcome) error {
	if len(lost) == 0 {
		return nil
	}
	slices.SortFunc(lost, func(a, b lostRun) int { return int(min(max(a.seq-b.seq, -1), 1)) })
	return e.submit(ctx, &loseWork{lost, outcome})
}

// sessionList returns the live sessions in a fixed order. Engine.mu is held.
func (e *Engine) sessionList() []morningai.Session {
	out := make([]morningai.Session, 0, len(e.sessions))
	for _, s := range e.sessions {
		out = append(out, morningai.Session{ID: s.id, Node: s.node, Types: slices.Clone(s.types), Queues: slices.Clone(s.queues),
			Concurrency: s.concurrency, Running: len(s.running), LeaseTime: s.lease, Counter: s.counter})
	}
	slices.SortFunc(out, func(a, b morningai.Session) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return out
}

// Reap implements morningai.Engine.
func (e *Engine) Reap(ctx context.Context, observed []morningai.Observation) ([]morningai.SessionID, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	var reaped []morningai.SessionID
	var lost []lostRun
	e.mu.Lock()
	for _, o := range observed {
		s := e.sessions[o.Session]
		if s == nil || s.counter != o.Counter {
			continue
		}
		reaped = append(reaped, s.id)
		for seq, en := range s.running {
			lost = append(lost, lostRun{seq, en.run.claim, en.run.lease})
		}
		// If the write below fails, the clock tries again after the grace time.
		e.forget(s)
	}
	e.mu.Unlock()
	if err := e.giveBack(ctx, lost, morningai.OutcomeLost); err != nil {
		return nil, err
	}
	return reaped, nil
}

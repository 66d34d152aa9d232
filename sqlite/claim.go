package sqlite

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Claim implements morningai.Engine. It does not wait for the disk: a claim is
// written down by a later commit, if the task still runs then.
func (e *Engine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	if err := e.ready(ctx); err != nil {
		return morningai.ClaimReply{}, err
	}
	var timer *time.Timer
	var w *waiter
	for {
		e.readCold()
		e.mu.Lock()
		if w != nil {
			w.signaled = false
		}
		reply, done, err := e.tryClaim(req)
		if done || err != nil || req.Wait <= 0 || ctx.Err() != nil || e.isClosed() {
			s := e.sessions[req.Session]
			if s != nil && !done && err == nil && ctx.Err() == nil {
				s.seq++
				reply.Seq = s.seq
			}
			keep := s != nil && s.remote && len(reply.Grants) > 0
			if w != nil {
				e.waiters.remove(w)
				// The wake-up may have been meant for work that others can do.
				e.waiters.wake(e, 1)
			}
			e.mu.Unlock()
			if timer != nil {
				timer.Stop()
			}
			if err == nil && !done {
				err = e.ready(ctx)
			}
			if keep {
				e.keep(ctx, reply.Grants)
			}
			return reply, err
		}
		if w == nil {
			w = &waiter{req: &req, wake: make(chan struct{}, 1)}
			e.waiters.list = append(e.waiters.list, w)
			timer = time.NewTimer(req.Wait)
		}
		e.mu.Unlock()
		select {
		case <-w.wake:
		case <-timer.C:
			req.Wait = 0
		case <-ctx.Done():
		}
	}
}

// tryClaim takes what is ready now. done is set if there is something to tell.
// Engine.mu is held.
func (e *Engine) tryClaim(req morningai.ClaimRequest) (reply morningai.ClaimReply, done bool, err error) {
	s := e.sessions[req.Session]
	if s == nil {
		return reply, true, &morningai.Error{Code: morningai.CodeNotFound, Op: "claim", Detail: "there is no such session", Hint: "beat first"}
	}
	if e.claims == nil {
		return reply, true, errClosed
	}
	if e.isClosed() {
		return reply, true, errClosed
	}
	p := picker{e: e, s: s, now: e.now(), types: req.Types, most: req.N}
	switch {
	case req.N <= 0 || len(req.Types) == 0:
	case len(req.Queues) == 0:
		p.queues = p.queues[:0]
		for _, q := range e.queues {
			p.queues = append(p.queues, q)
		}
		p.take(req.N)
	default:
		for _, share := range req.Queues {
			if q := e.queues[share.Name]; q != nil {
				p.queues = append(p.queues[:0], q)
				p.take(min(share.Share, req.N-len(p.grants)))
			}
		}
		for _, share := range req.Queues {
			if q := e.queues[share.Name]; q != nil {
				p.queues = append(p.queues[:0], q)
				p.take(req.N - len(p.grants))
			}
		}
	}
	if p.err != nil && len(p.grants) == 0 {
		return reply, true, storageError("claim", p.err)
	}
	if len(p.grants) == 0 && len(s.cancels) == 0 {
		return reply, false, nil
	}
	s.seq++
	reply = morningai.ClaimReply{Seq: s.seq, Grants: p.grants, Cancels: s.cancels}
	s.cancels = nil
	for _, en := range p.entries {
		en.replySeq = s.seq
	}
	e.events.append(p.events)
	if len(p.entries) > 0 {
		first := len(e.unlisted) == 0
		e.unlisted = append(e.unlisted, p.entries...)
		if first {
			e.look()
		}
	}
	return reply, true, nil
}

// picker gathers the grants of one claim.
type picker struct {
	e       *Engine
	s       *session
	now     time.Time
	types   []string
	most    int // tasks asked for
	queues  []*queue
	cands   []candidate
	grants  []morningai.Grant
	entries []*entry
	events  []event
	err     error
}

type candidate struct {
	q *queue
	k *run
}

// take claims up to n tasks of the queues, by priority and then by order of
// acceptance. It stops early where the order is known only to the table; the
// refill wakes waiting claims.
func (p *picker) take(n int) {
	for prio := 0; prio <= morningai.MaxPriority && n > 0 && p.err == nil; prio++ {
		p.cands = p.cands[:0]
		for _, q := range p.queues {
			if len(q.runs[prio]) == 0 || !p.open(q) {
				continue
			}
			for _, k := range q.runs[prio] {
				if (k.len() > 0 || k.more) && slices.Contains(p.types, k.line.typ) {
					p.cands = append(p.cands, candidate{q, k})
				}
			}
		}
		for n > 0 && len(p.cands) > 0 {
			c, ok := p.next()
			if !ok {
				if len(p.cands) > 0 {
					return
				}
				break
			}
			if p.grant(c) {
				n--
			}
			if p.err != nil {
				return
			}
		}
	}
}

// open reports whether a queue may start another task.
func (p *picker) open(q *queue) bool {
	if q.config.Paused || q.config.Concurrency > 0 && q.running >= q.config.Concurrency {
		return false
	}
	if at := q.bucket.next(p.now); !at.IsZero() {
		p.e.wakeForRate(q, at)
		return false
	}
	return true
}

// next returns the candidate whose first task is the oldest, dropping those
// that are used up. ok is false if there is none, or if it must be read first;
// then candidates are left.
func (p *picker) next() (best candidate, ok bool) {
	var least int64
	kept := p.cands[:0]
	for _, c := range p.cands {
		if !p.open(c.q) {
			continue
		}
		seq, has := c.k.head()
		if !has && !c.k.more {
			continue
		}
		kept = append(kept, c)
		if !has {
			seq = c.k.hi + 1
			if !ok && best.k == nil || seq < least {
				best, least, ok = c, seq, false
			}
			continue
		}
		if best.k == nil || seq < least {
			best, least, ok = c, seq, true
		}
	}
	p.cands = kept
	if best.k != nil && (!ok || best.k.len() <= p.e.cfg.readyMax/4) {
		p.e.askRefill(best.k)
	}
	return best, ok
}

// grant hands the first task of a run out. It reports false for one that turns
// out not to be ready.
func (p *picker) grant(c candidate) bool {
	e := p.e
	seq, _ := c.k.head()
	r := e.cache.take(seq)
	if r == nil {
		if r, p.err = e.readMissing(c.k, seq); p.err != nil {
			return false
		}
	}
	var steps map[string]json.RawMessage
	if r != nil && r.flags&flagSteps != 0 {
		e.claimsMu.Lock()
		steps, p.err = readSteps(e.claims, seq)
		e.claimsMu.Unlock()
		if p.err != nil {
			return false
		}
	}
	c.k.pop()
	if r == nil || r.status != stQueued || e.running[seq] != nil {
		return false
	}
	run := runState{
		claim: r.claim + 1 + e.era - r.era, lease: newLease(), attempt: r.attempt + 1,
		version: r.shownVersion(e.era) + 1, started: p.now.UnixMicro(), node: p.s.node,
	}
	if p.s.remote {
		run.grace = p.s.lease.Microseconds()
	}
	en := &entry{row: r, run: run, sess: p.s, at: p.now}
	if p.grants == nil {
		room := min(p.most, max(c.k.len(), 1), 256)
		p.grants, p.entries, p.events = make([]morningai.Grant, 0, room), make([]*entry, 0, room), make([]event, 0, room)
	}
	e.running[seq] = en
	e.byID[r.id] = en
	p.s.running[seq] = en
	c.q.running++
	c.q.bucket.take()
	task := e.view(r, &run, p.now)
	p.grants = append(p.grants, morningai.Grant{Task: task, Lease: morningai.Lease{ID: r.id, Claim: run.claim, Lease: run.lease}, Steps: steps, UniqueKey: r.ukey, Retention: r.retention, Fingerprint: r.fingerprint})
	p.entries = append(p.entries, en)
	p.events = append(p.events, event{kind: morningai.EventStarted, id: r.id, line: r.line, state: morningai.StateRunning,
		attempt: run.attempt, version: run.version, at: run.started})
	return true
}

// newLease returns a random token that is not 0.
func newLease() int64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if v := int64(binary.LittleEndian.Uint64(b[:])); v != 0 {
			return v
		}
	}
}

func readSteps(r *reader, seq int64) (map[string]json.RawMessage, error) {
	steps := map[string]json.RawMessage{}
	r.steps.int(1, seq)
	for {
		ok, err := r.steps.step()
		if err != nil || !ok {
			return steps, err
		}
		steps[r.steps.colText(0)] = r.steps.colBlob(1)
	}
}

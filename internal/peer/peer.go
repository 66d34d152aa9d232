// Package peer is how servers work for each other: an engine that hands out the
// tasks which another server alone has accepted, to be run here while the engine
// that both share is away, and the question whether another server knows a task.
package peer

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

const (
	maxClaims  = 100   // that a server hands out at once
	maxHolding = 1_000 // that one request names
	// patience is how long an answer may take beyond the time for which the
	// server was asked to hold it.
	patience = 5 * time.Second
	// leastPoll keeps a server that does not hold answers, since it stops, from
	// being asked without a pause.
	leastPoll = 500 * time.Millisecond
	// leaveTime bounds the last word to a server.
	leaveTime = 2 * time.Second
)

// Engine hands out the tasks of one other server and takes its outcomes there.
// It works for one worker of an app; whatever else an engine does, it refuses.
//
// While the server cannot be reached, calls wait and try again, until their
// contexts end; a log line says so once, and once more when it is over. Tasks
// that run meanwhile go on. The server takes them back if it hears nothing for
// its lease, and refuses their outcomes as stale then.
type Engine struct {
	refusing
	client *client.Client
	log    *slog.Logger
	worker string // names this engine to the server

	mu     sync.Mutex
	claims map[morningai.Lease]held
	seq    int64
	known  bool      // the server has answered
	down   time.Time // since when it cannot be asked; zero while it can
	told   morningai.BeatRequest
}

// held is a claim of the server.
type held struct {
	id  string
	seq int64 // of the reply that brought it
}

// Open returns an engine on the server at url. It does not connect yet. A
// malformed address or token is a morningai.ErrInvalidInput.
func Open(url, token string, log *slog.Logger) (*Engine, error) {
	c, err := client.New(url, client.WithToken(token))
	if err != nil {
		return nil, err
	}
	name := make([]byte, 16)
	_, _ = crand.Read(name) // never fails
	return &Engine{client: c, log: log, worker: hex.EncodeToString(name), claims: map[morningai.Lease]held{}}, nil
}

// Close releases connections.
func (e *Engine) Close() error {
	e.client.Close()
	return nil
}

// Beat notes what the session says of itself and keeps its claims. What the
// server cannot be told now is told by the next beat.
func (e *Engine) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if req.Leaving {
		e.leave(ctx, &req)
		return morningai.BeatReply{}, nil
	}
	e.mu.Lock()
	e.told = req
	e.told.Holding = nil
	ids, byID, lost := e.sort(&req)
	e.mu.Unlock()
	reply := morningai.BeatReply{Counter: 1, Lost: lost}
	for part := range slices.Chunk(ids, maxHolding) {
		ask := e.request(&req)
		ask.Holding = part
		got, err := e.claim(ctx, ask)
		switch {
		case ctx.Err() != nil:
			return morningai.BeatReply{}, ctx.Err()
		case err != nil:
			e.failed(err)
			reply.Alone = true
			return reply, nil
		}
		e.reached()
		for _, id := range got.Cancels {
			if l, ok := byID[id]; ok {
				reply.Cancels = append(reply.Cancels, l.ID)
			}
		}
		for _, id := range got.Lost {
			if l, ok := byID[id]; ok {
				reply.Lost = append(reply.Lost, l)
				e.forget(l)
			}
		}
	}
	return reply, nil
}

// sort returns the ids of the claims that a session holds, and what it holds
// that is no claim. It forgets those that the session was given, and does not
// hold any more. Called with mu held.
func (e *Engine) sort(req *morningai.BeatRequest) (ids []string, byID map[string]morningai.Lease, lost []morningai.Lease) {
	byID = make(map[string]morningai.Lease, len(req.Holding))
	holds := make(map[morningai.Lease]bool, len(req.Holding))
	for _, l := range req.Holding {
		holds[l] = true
		h, ok := e.claims[l]
		if !ok {
			lost = append(lost, l)
			continue
		}
		ids = append(ids, h.id)
		byID[h.id] = l
	}
	for l, h := range e.claims {
		if !holds[l] && h.seq <= req.Through {
			delete(e.claims, l)
		}
	}
	return ids, byID, lost
}

// request is what the session says of itself.
func (e *Engine) request(req *morningai.BeatRequest) client.ClaimRequest {
	out := client.ClaimRequest{Worker: e.worker, Node: req.Node, Types: req.Types, Here: true}
	for _, name := range req.Queues {
		out.Queues = append(out.Queues, morningai.QueueShare{Name: name})
	}
	return out
}

// leave tells the server that this worker ends, if it can be told: it would
// notice by itself.
func (e *Engine) leave(ctx context.Context, req *morningai.BeatRequest) {
	e.mu.Lock()
	reachable := e.known && e.down.IsZero()
	e.mu.Unlock()
	if !reachable || len(req.Types) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	ask := e.request(req)
	ask.Leave = true
	if _, err := e.client.Claim(ctx, ask); err != nil {
		e.failed(err)
	}
}

// Claim waits for tasks that the server alone has accepted, and, with none
// asked for, for cancels. While the server cannot be asked it waits too.
func (e *Engine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	e.mu.Lock()
	ask := e.request(&e.told)
	e.mu.Unlock()
	ask.Types, ask.Queues, ask.Limit, ask.Wait = req.Types, nil, min(req.N, maxClaims), req.Wait
	for _, q := range req.Queues {
		ask.Queues = append(ask.Queues, morningai.QueueShare{Name: q.Name, Share: min(q.Share, maxClaims)})
	}
	asked := time.Now()
	for tries := 0; ; tries++ {
		got, err := e.claim(ctx, ask)
		if err == nil {
			e.reached()
			if idle := min(req.Wait, leastPoll) - time.Since(asked); idle > 0 && len(got.Claims)+len(got.Cancels) == 0 {
				pause(ctx, idle)
			}
			return e.grants(got), nil
		}
		if ctx.Err() != nil {
			return morningai.ClaimReply{}, ctx.Err()
		}
		e.failed(err)
		if pause(ctx, delay(tries)); ctx.Err() != nil {
			return morningai.ClaimReply{}, ctx.Err()
		}
	}
}

// claim is one request, which ends soon after the time that it may take.
func (e *Engine) claim(ctx context.Context, ask client.ClaimRequest) (client.Claims, error) {
	limited, cancel := context.WithTimeoutCause(ctx, ask.Wait+patience, errNoAnswer)
	defer cancel()
	got, err := e.client.Claim(limited, ask)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = errNoAnswer
	}
	return got, err
}

var errNoAnswer = errors.New("it does not answer in time")

// grants gives each claim a lease by which the session knows it.
func (e *Engine) grants(got client.Claims) morningai.ClaimReply {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	reply := morningai.ClaimReply{Seq: e.seq}
	for i, c := range got.Claims {
		l := morningai.Lease{ID: c.Task.ID, Claim: e.seq, Lease: int64(i + 1)}
		e.claims[l] = held{id: c.ID, seq: e.seq}
		reply.Grants = append(reply.Grants, morningai.Grant{Task: c.Task, Lease: l, Steps: c.Steps})
	}
	for _, id := range got.Cancels {
		for l, h := range e.claims {
			if h.id == id {
				reply.Cancels = append(reply.Cancels, l.ID)
			}
		}
	}
	return reply
}

func (e *Engine) forget(l morningai.Lease) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.claims, l)
}

// find returns the id of a claim.
func (e *Engine) find(l morningai.Lease) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.claims[l]
	return h.id, ok
}

// failed notes that the server cannot be asked, and says so once.
func (e *Engine) failed(err error) {
	e.mu.Lock()
	first := e.down.IsZero()
	if first {
		e.down = time.Now()
	}
	e.mu.Unlock()
	if first {
		e.log.Warn("a peer cannot be asked for tasks, trying again", "peer", e.client.Address(), "error", err)
	}
}

func (e *Engine) reached() {
	e.mu.Lock()
	down := e.down
	e.known, e.down = true, time.Time{}
	e.mu.Unlock()
	if !down.IsZero() {
		e.log.Info("the peer answers again", "peer", e.client.Address(), "after", time.Since(down).Round(time.Millisecond))
	}
}

// delay paces repeated calls: from 50 ms, doubling, to 2 s at most, ± 20 %.
func delay(tries int) time.Duration {
	d := min(50*time.Millisecond<<min(tries, 10), 2*time.Second)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

package sessions

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// worker is a session of the engine. What is not said to be otherwise is
// guarded by the keeper's mu.
type worker struct {
	k       *Keeper
	key     Key
	id      morningai.SessionID
	adopted bool          // the session is of an earlier run: it claims nothing more
	beating sync.Mutex    // one beat at a time; held while the engine is asked
	turn    chan struct{} // one claim at a time: holds a token while the engine is asked
	wake    chan struct{} // holds a token when there are cancels to be told
	over    chan struct{} // closed when the worker has gone

	node    string
	types   []string
	queues  []string
	limit   int // of the last request
	known   *morningai.BeatRequest
	open    int // requests under way
	heard   time.Time
	through int64 // Seq of the last reply
	held    map[morningai.Lease]*claim
	gone    bool
}

// claim is a task that a worker works on.
type claim struct {
	w      *worker
	id     string
	lease  morningai.Lease
	task   morningai.Task // as handed out; of one taken over only what its id says
	at     time.Time      // when it was handed out
	heard  time.Time
	limit  time.Time // when the attempt is failed for its timeout; zero: never
	cancel bool      // its task is to be canceled
	told   bool      // and a poll has said so
}

// context is the one for calls of the engine.
func (w *worker) context(ctx context.Context) context.Context {
	if w.key.Here {
		return morningai.OnlyHere(ctx)
	}
	return ctx
}

// introduce makes the engine know what the worker says of itself.
func (w *worker) introduce(ctx context.Context) error {
	w.k.mu.Lock()
	was := w.known
	same := was != nil && was.Node == w.node && slices.Equal(was.Types, w.types) && slices.Equal(was.Queues, w.queues)
	w.k.mu.Unlock()
	if same {
		return nil
	}
	return w.beat(ctx)
}

// beat keeps the session alive and acts on what it learns.
func (w *worker) beat(ctx context.Context) error {
	w.beating.Lock()
	defer w.beating.Unlock()
	w.k.mu.Lock()
	if w.gone {
		w.k.mu.Unlock()
		return errClosed()
	}
	req := morningai.BeatRequest{Session: w.id, Node: w.node, Types: w.types, Queues: w.queues, Concurrency: len(w.held) + w.limit,
		LeaseTime: w.k.lease, Remote: true, Through: w.through, Holding: make([]morningai.Lease, 0, len(w.held))}
	for l := range w.held {
		req.Holding = append(req.Holding, l)
	}
	w.k.mu.Unlock()

	ctx, cancel := context.WithTimeout(w.context(ctx), w.k.lease) // later it has missed its purpose
	defer cancel()
	reply, err := w.k.engine.Beat(ctx, req)
	if err != nil {
		return err
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	w.known = &req
	for _, l := range reply.Lost {
		if c := w.held[l]; c != nil {
			w.k.drop(c)
		}
	}
	w.noteCancels(reply.Cancels)
	return nil
}

// noteCancels is called with the keeper's mu held.
func (w *worker) noteCancels(ids []morningai.ID) {
	for _, c := range w.held {
		if c.cancel || !slices.Contains(ids, c.lease.ID) {
			continue
		}
		c.cancel = true
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// cancels returns the claims whose cancel no poll has told yet, and those among
// the ones that this poll has named.
func (w *worker) cancels(p *Poll) []string {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	var out []string
	for _, c := range w.held {
		if c.cancel && (!c.told || slices.Contains(p.Holding, c.id)) {
			c.told = true
			out = append(out, c.id)
		}
	}
	slices.Sort(out)
	return out
}

// news reports whether there is a cancel that no poll has told yet.
func (w *worker) news() bool {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	for _, c := range w.held {
		if c.cancel && !c.told {
			return true
		}
	}
	return false
}

// await returns when there is something to tell, or when the wait is over.
func (w *worker) await(ctx context.Context, p *Poll) (Answer, error) {
	deadline := time.Now().Add(p.Wait)
	over := time.NewTimer(p.Wait)
	defer over.Stop()
	for unknown := 0; ; {
		if w.news() {
			return Answer{Cancels: w.cancels(p)}, nil
		}
		turn, err := w.awaitTurn(ctx, p, over.C)
		if err != nil {
			return Answer{}, err
		}
		if !turn {
			if p.Wait == 0 || time.Now().After(deadline) {
				return Answer{Cancels: w.cancels(p)}, nil
			}
			continue
		}
		left := max(0, time.Until(deadline))
		claims, err := w.claim(ctx, p, min(left, turnTime))
		<-w.turn
		switch {
		case errors.Is(err, morningai.ErrNotFound) && unknown < 3:
			// Others have called the session dead; a beat brings it back.
			unknown++
			if err := w.beat(ctx); err != nil {
				return Answer{}, err
			}
		case err != nil:
			return Answer{}, err
		case len(claims) > 0 && ctx.Err() != nil: // nobody is left to take them
			for _, c := range claims {
				w.k.release(c.Grant.Lease)
			}
			return Answer{}, ctx.Err()
		case len(claims) > 0:
			return Answer{Claims: claims, Cancels: w.cancels(p)}, nil
		case left == 0:
			return Answer{Cancels: w.cancels(p)}, nil
		}
	}
}

const (
	claimPiece = 16      // tasks claimed at once; how large they are shows only then
	claimBytes = 4 << 20 // of payloads and steps, after which an answer has enough
)

// claim asks the engine for tasks, a piece at a time: a hundred of the largest
// could be more than anybody wants in one answer.
func (w *worker) claim(ctx context.Context, p *Poll, wait time.Duration) ([]Claim, error) {
	var out []Claim
	queues := slices.Clone(p.Queues)
	for size := 0; len(out) < p.N && size < claimBytes; wait = 0 {
		n := min(p.N-len(out), claimPiece)
		reply, err := w.k.engine.Claim(w.context(ctx), morningai.ClaimRequest{Session: w.id, Queues: queues, Types: p.Types, N: n, Wait: wait})
		var got []Claim
		if err == nil {
			got, err = w.k.grant(w, &reply)
		}
		if out = append(out, got...); err != nil && len(out) > 0 {
			return out, nil // the next request meets the error
		}
		if err != nil || len(got) < n {
			return out, err
		}
		for i := range got {
			g := &got[i].Grant
			size += len(g.Task.Payload)
			for _, data := range g.Steps {
				size += len(data)
			}
			if k := slices.IndexFunc(queues, func(q morningai.QueueShare) bool { return q.Name == g.Task.Queue }); k >= 0 {
				queues[k].Share = max(0, queues[k].Share-1)
			}
		}
	}
	return out, nil
}

// awaitTurn returns true when this request may ask the engine, and must give
// the turn back; false when there may be cancels, or the wait is over.
func (w *worker) awaitTurn(ctx context.Context, p *Poll, over <-chan time.Time) (bool, error) {
	turn := w.turn
	if p.N == 0 {
		turn = nil // cancels come with the beats
	}
	select {
	case turn <- struct{}{}:
		return true, nil
	default:
	}
	if p.Wait == 0 && p.N == 0 {
		return false, nil
	}
	select {
	case turn <- struct{}{}:
		return true, nil
	case <-w.wake:
	case <-over:
	case <-w.over:
		return false, errClosed()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// keep is the worker's loop: it keeps the session alive for as long as the
// worker is heard of, and takes back what it has given up.
func (w *worker) keep() {
	ticker := time.NewTicker(w.k.interval)
	defer ticker.Stop()
	failing := false
	for {
		waited := time.Now()
		select {
		case <-w.k.ctx.Done():
			if !w.k.loosen(w) {
				w.end()
			} // else the worker goes on, and reports to the next run or another server
			return
		case <-w.over:
			return
		case <-ticker.C:
		}
		silent, overdue := w.review(time.Now(), time.Since(waited) > 2*w.k.interval)
		if silent {
			w.k.loosen(w)
			w.end()
			return
		}
		for _, c := range overdue {
			w.k.giveUp(c)
		}
		err := w.beat(w.k.ctx)
		switch {
		case err == nil:
			failing = false
		case errors.Is(err, morningai.ErrClosed):
			w.k.loosen(w)
			return
		case !failing && w.k.ctx.Err() == nil:
			failing = true
			w.k.log.Warn("the session of a worker cannot be kept alive, trying again", "worker", w.key.Name, "error", err)
		}
	}
}

// review returns whether the worker has gone silent, or has nothing more to do, and the claims that are
// not to be kept. If the process itself stood still, nothing could be heard,
// and all have another lease.
func (w *worker) review(now time.Time, stood bool) (silent bool, overdue []*claim) {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if stood {
		w.heard = now
	}
	for _, c := range w.held {
		if stood {
			c.heard = now
			if !c.limit.IsZero() && c.limit.Before(now.Add(w.k.lease)) {
				c.limit = now.Add(w.k.lease)
			}
		}
		if now.Sub(c.heard) > w.k.lease || c.late(now) {
			overdue = append(overdue, c)
		}
	}
	done := w.adopted && len(w.held) == 0
	return w.open == 0 && (done || now.Sub(w.heard) > w.k.lease), overdue
}

// late reports whether the task's timeout has been over for a lease time.
func (c *claim) late(now time.Time) bool { return !c.limit.IsZero() && now.After(c.limit) }

// end tells the engine that the session is over, and logs if it cannot.
func (w *worker) end() {
	if err := w.leave(context.Background()); err != nil {
		w.k.log.Warn("the end of a worker's session cannot be recorded; it is noticed within its lease", "worker", w.key.Name, "error", err)
	}
}

// leave ends the session of a worker that has gone: what it held goes back. A
// session that was taken over is left to the observers: another server, the one
// that it was made by, may still keep it.
func (w *worker) leave(ctx context.Context) error {
	w.beating.Lock()
	defer w.beating.Unlock()
	if w.adopted || w.known == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(w.context(context.WithoutCancel(ctx)), leaveTime)
	defer cancel()
	w.k.mu.Lock()
	req := *w.known
	req.Holding, req.Through, req.Leaving = nil, w.through, true
	w.k.mu.Unlock()
	_, err := w.k.engine.Beat(ctx, req)
	return err
}

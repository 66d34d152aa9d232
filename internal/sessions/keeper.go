// Package sessions lets workers take part in an engine over a wire. Each of
// them is a session of the engine, made at its first request and kept alive
// here for as long as the worker is heard of.
//
// A worker's claims are leases of their own: one of which nothing is heard for
// a lease time goes back to its queue, whether the worker has died, has been
// started anew, or never got the answer that brought it. Nothing here is needed
// to fence: a claim's id carries what the engine needs to judge a report, so
// that reports are taken or refused rightly after a restart too.
package sessions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

const (
	// MaxWorkers bounds the workers of one server.
	MaxWorkers = 1_000
	// CodeTooMany: the server has as many workers as it takes.
	CodeTooMany morningai.Code = "rate_limited"

	// beatTime is how often a session is kept alive, unless its lease is short.
	beatTime = 800 * time.Millisecond
	// turnTime is how long one request waits in the engine before the next of
	// the same worker has its turn.
	turnTime = 2 * time.Second
	// leaveTime bounds the last call of a session.
	leaveTime = 2 * time.Second
)

// Key names a worker: the token that it came with, and its own name. Workers
// that take only what this node has accepted are apart from the others.
type Key struct {
	Who, Name string
	Here      bool
}

// Keeper keeps the sessions of workers. Its methods may be called from any
// number of goroutines.
type Keeper struct {
	engine   morningai.Engine
	lease    time.Duration
	interval time.Duration
	log      *slog.Logger
	ctx      context.Context // of the loops
	stop     context.CancelFunc
	loops    sync.WaitGroup // one for each worker
	watch    []func(morningai.Attempted)
	empty    chan struct{} // holds a token when the last claim has ended

	mu      sync.Mutex
	closed  bool
	workers map[Key]*worker
	claims  map[morningai.Lease]*claim
	ended   map[morningai.Outcome]int64 // attempts
}

// New returns a keeper on the engine. A worker of which nothing is heard for a
// lease time has left. Close ends it; until a worker asks, it does nothing.
func New(engine morningai.Engine, lease time.Duration, log *slog.Logger) *Keeper {
	if lease <= 0 {
		lease = morningai.DefaultLease
	}
	k := &Keeper{engine: engine, lease: lease, interval: max(time.Millisecond, min(beatTime, lease/4)), log: log, empty: make(chan struct{}, 1),
		workers: map[Key]*worker{}, claims: map[morningai.Lease]*claim{}, ended: map[morningai.Outcome]int64{}}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k
}

// OnAttempt has f called for every claim of this run that has ended, once its
// outcome was recorded. It is called before the first worker comes.
func (k *Keeper) OnAttempt(f func(morningai.Attempted)) { k.watch = append(k.watch, f) }

// Lease is how long a claim lasts from the last word about it.
func (k *Keeper) Lease() time.Duration { return k.lease }

// Poll is what a worker asks for and says of itself.
type Poll struct {
	Node    string // a name for people; the worker's own if ""
	Types   []string
	Queues  []morningai.QueueShare // empty: all
	N       int                    // 0: only wait for cancels
	Wait    time.Duration
	Holding []string // ids of claims that the worker still works on
	Leave   bool     // the worker ends: what it has not finished goes back
}

// Claim is a task handed out.
type Claim struct {
	ID    string
	Grant morningai.Grant
}

// Answer is what a worker has to know.
type Answer struct {
	Claims  []Claim
	Cancels []string // ids of held claims whose tasks are to be canceled
	Lost    []string // of those said to be held: the ones that are not its own any more
}

// Poll registers the worker or keeps it alive, waits for tasks and cancels, and
// takes in which claims it holds.
func (k *Keeper) Poll(ctx context.Context, key Key, p Poll) (Answer, error) {
	w, err := k.enter(key, &p)
	if err != nil {
		return Answer{}, err
	}
	defer k.exit(w)
	if p.Leave {
		k.loosen(w)
		return Answer{}, w.leave(ctx)
	}
	var lost []string
	for _, id := range p.Holding {
		if _, err := k.Beat(ctx, id, nil); errors.Is(err, morningai.ErrStale) || errors.Is(err, morningai.ErrNotFound) {
			lost = append(lost, id)
		} else if err != nil {
			return Answer{}, err
		}
	}
	if len(lost) > 0 {
		p.Wait = 0 // to be known at once
	}
	if err := w.introduce(ctx); err != nil {
		return Answer{}, err
	}
	out, err := w.await(ctx, &p)
	out.Lost = lost
	return out, err
}

// enter returns the worker of a request that has begun.
func (k *Keeper) enter(key Key, p *Poll) (*worker, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[key]
	switch {
	case k.closed:
		return nil, errClosed()
	case w == nil && len(k.workers) >= MaxWorkers:
		return nil, &morningai.Error{Code: CodeTooMany, Op: "claim", Detail: fmt.Sprintf("the server has %d workers", MaxWorkers),
			Hint: "let one worker claim more tasks at once, or ask another server"}
	case w == nil:
		w = k.add(key, newSession())
	}
	w.node, w.types = p.Node, p.Types
	if p.N > 0 || len(p.Holding) == 0 { // else it only names what it holds
		w.limit = p.N
	}
	if w.node == "" {
		w.node = key.Name
	}
	w.queues = w.queues[:0:0]
	for _, q := range p.Queues {
		w.queues = append(w.queues, q.Name)
	}
	w.open++
	w.heard = time.Now()
	return w, nil
}

func (k *Keeper) exit(w *worker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w.open--
	w.heard = time.Now()
}

func errClosed() error {
	return &morningai.Error{Code: morningai.CodeClosed, Op: "claim", Detail: "the server is stopping"}
}

func newSession() morningai.SessionID {
	var id morningai.SessionID
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// add makes a worker and starts its loop. Called with mu held.
func (k *Keeper) add(key Key, id morningai.SessionID) *worker {
	w := &worker{k: k, key: key, id: id, heard: time.Now(), held: map[morningai.Lease]*claim{},
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), over: make(chan struct{})}
	k.workers[key] = w
	k.loops.Go(w.keep)
	return w
}

// loosen takes a worker and its claims off the books, and reports whether it had
// any.
func (k *Keeper) loosen(w *worker) (working bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w.gone {
		return false
	}
	working = len(w.held) > 0
	w.gone = true
	close(w.over)
	if k.workers[w.key] == w {
		delete(k.workers, w.key)
	}
	for _, c := range w.held {
		k.drop(c)
	}
	return working
}

// drop takes a claim off the books. Called with mu held.
func (k *Keeper) drop(c *claim) {
	delete(k.claims, c.lease)
	delete(c.w.held, c.lease)
	if len(k.claims) == 0 {
		select {
		case k.empty <- struct{}{}:
		default:
		}
	}
}

// Drain returns when every claim has ended, or with ctx. Whoever calls it keeps
// others from claiming.
func (k *Keeper) Drain(ctx context.Context) {
	for {
		k.mu.Lock()
		n := len(k.claims)
		k.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-k.empty:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends the sessions of workers that work on nothing. Claims of the others
// last for their lease, within which their workers may report to the next run or
// to another server; after it they go back. It may be called more than once.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.loops.Wait()
}

// find returns a claim with this id, taking it over from an earlier run of the
// server if that is what it is of.
func (k *Keeper) find(ctx context.Context, id string) (*claim, error) {
	t, ok := readTicket(id)
	if !ok {
		return nil, &morningai.Error{Code: morningai.CodeNotFound, Op: "report", Detail: "there is no such claim"}
	}
	k.mu.Lock()
	if c := k.claims[t.lease]; c != nil {
		c.heard, c.w.heard = time.Now(), time.Now()
		k.mu.Unlock()
		return c, nil
	}
	c, err := k.adopt(t, id)
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	// The engine has the last word.
	if err := c.w.beat(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.claims[t.lease] != c {
		return nil, errStale()
	}
	return c, nil
}

// adopt keeps the session of an earlier run alive for a claim of it. Called with
// mu held.
func (k *Keeper) adopt(t ticket, id string) (*claim, error) {
	if k.closed {
		return nil, errClosed()
	}
	key := Key{Who: string(t.session[:]), Here: t.here} // no token is called so
	for _, w := range k.workers {
		switch {
		case w.id != t.session:
		case w.adopted:
			key = w.key
		default:
			return nil, errStale() // the session is of this run, and the claim has ended
		}
	}
	w := k.workers[key]
	if w == nil {
		if len(k.workers) >= MaxWorkers {
			return nil, errStale()
		}
		w = k.add(key, t.session)
		w.adopted, w.node = true, t.node
	}
	now := time.Now()
	c := &claim{w: w, id: id, lease: t.lease, at: now, heard: now, task: morningai.Task{ID: t.lease.ID, Attempt: t.attempt}}
	w.held[t.lease], k.claims[t.lease], w.heard = c, c, now
	return c, nil
}

func errStale() error {
	return &morningai.Error{Code: morningai.CodeStale, Op: "report", Detail: "the claim has ended, or the task was handed to another worker"}
}

// grant puts what a reply has brought on the books.
func (k *Keeper) grant(w *worker, reply *morningai.ClaimReply) ([]Claim, error) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	w.through = max(w.through, reply.Seq)
	if w.gone {
		return nil, errClosed() // the session ends, and they go back with it
	}
	var out []Claim
	for _, g := range reply.Grants {
		id := ticket{lease: g.Lease, session: w.id, here: w.key.Here, attempt: g.Task.Attempt, node: w.node}.String()
		out = append(out, Claim{ID: id, Grant: g})
		c := &claim{w: w, id: id, lease: g.Lease, task: g.Task, at: now, heard: now, limit: now.Add(g.Task.Timeout + k.lease)}
		w.held[g.Lease], k.claims[g.Lease] = c, c
	}
	w.noteCancels(reply.Cancels)
	return out, nil
}

package morningai

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// worker is one session of an app with one engine: a loop that claims tasks, goroutines that
// run them, a reporter that records outcomes, and a beat that keeps the session
// alive.
type worker struct {
	app      *App
	crew     *crew
	engine   Engine
	session  SessionID
	types    []string
	handlers map[string]HandlerFunc
	shares   *queueShares // guarded by claimMu
	interval time.Duration
	reporter *reporter

	claimCtx   context.Context // ends when no more tasks are to be claimed
	stopClaims context.CancelFunc
	claims     sync.WaitGroup // the claim loops
	beatCtx    context.Context
	stopBeats  context.CancelFunc
	beats      sync.WaitGroup // the beat loop

	// Slots. A slot goroutine lives until the worker stops and takes one
	// execution after another; it is started when a task finds none idle.
	work  chan *execution
	slots sync.WaitGroup
	idle  atomic.Int32 // slot goroutines without work
	// undecided counts executions whose outcome is open, and decided holds a
	// token when it has become 0; abandoned counts handlers that run on though
	// their outcome was decided without them.
	undecided atomic.Int32
	decided   chan struct{}
	abandoned atomic.Int32
	claimers  [2]*claimer
	plenty    chan struct{}                      // holds a token when a claim brought many tasks
	claimMu   sync.Mutex                         // of what claimers ask for, and of the shares
	acceptMu  sync.Mutex                         // one reply is accepted at a time
	interrupt atomic.Pointer[context.CancelFunc] // ends a claim that waits for capacity
	// How to end a claim where the slots are shared, if they are gone.
	preempt atomic.Pointer[context.CancelFunc]

	mu       sync.Mutex
	held     []*execution // claimed and not recorded
	observer *Observer    // guarded by beatMu
	beatMu   sync.Mutex   // one beat at a time
	contact  contact
}

const (
	// How many outcomes may wait to be recorded before nothing more is
	// claimed, beyond one for each slot, and how many bytes of results.
	maxUnrecorded      = 1024
	maxUnrecordedBytes = 64 << 20
	// How long handlers have to return after their contexts were cancelled
	// because the app stops.
	windDown = 2 * time.Second
)

// newWorker makes a worker that is still to be registered, by a beat, and to be
// started.
func newWorker(app *App, engine Engine, handlers map[string]HandlerFunc) (*worker, error) {
	w := &worker{
		app: app, engine: engine, handlers: handlers,
		shares:   newQueueShares(app.queues),
		interval: min(800*time.Millisecond, app.lease/4),
		work:     make(chan *execution, app.concurrency),
		decided:  make(chan struct{}, 1),
		claimers: [2]*claimer{newClaimer(), newClaimer()},
		plenty:   make(chan struct{}, 1),
	}
	for _, d := range app.declared {
		w.types = append(w.types, d.taskType)
	}
	if _, err := rand.Read(w.session[:]); err != nil {
		return nil, fmt.Errorf("make a session id: %w", err)
	}
	w.claimers[1].resting = true
	w.observer = NewObserver(w.session, w.interval)
	return w, nil
}

// start starts the worker's goroutines.
func (w *worker) start() {
	w.claimCtx, w.stopClaims = context.WithCancel(context.Background())
	w.beatCtx, w.stopBeats = context.WithCancel(context.Background())
	w.reporter = startReporter(w)
	w.beats.Go(w.beatLoop)
	w.beats.Go(w.guardExclusive)
	if len(w.types) > 0 {
		w.claims.Go(w.claimLoop)
		if w.app.helped() {
			w.claims.Go(w.helpLoop)
		}
	}
}

// accept takes over what a claim has brought.
func (w *worker) accept(c *claimer, reply *ClaimReply) {
	w.acceptMu.Lock()
	defer w.acceptMu.Unlock()
	starting := make([]*execution, len(reply.Grants))
	for i := range reply.Grants {
		g := &reply.Grants[i]
		e := newExecution(w.app, w.handlers[g.Task.Type], g)
		e.worker, e.engine = w, w.engine
		e.begin(context.Background())
		starting[i] = e
	}
	w.undecided.Add(int32(len(starting)))
	w.mu.Lock()
	for _, e := range starting {
		e.index = len(w.held)
		w.held = append(w.held, e)
	}
	c.through = max(c.through, reply.Seq)
	w.mu.Unlock()
	for _, e := range starting {
		switch {
		case w.claimCtx.Err() != nil: // stopping: it never started
			w.conclude(e, &attemptEnd{err: context.Canceled, cut: interruptDrain, at: time.Now()})
		case e.handler == nil:
			w.conclude(e, &attemptEnd{err: errors.New("the engine handed out a type that this worker did not ask for"), cut: interruptDrain, at: time.Now()})
			w.app.logger.Error("the engine handed out a task of a type that this worker has no handler for", "type", e.task.Type)
		case e.exclusive && !w.surelyAlive(e):
			w.conclude(e, &attemptEnd{err: context.Canceled, cut: interruptAlone, at: time.Now()})
		case !w.crew.take(): // another engine's tasks came first
			w.conclude(e, &attemptEnd{err: context.Canceled, cut: interruptDrain, at: time.Now()})
		default:
			w.dispatch(e)
		}
	}
	if asked := c.asked.Swap(0); int(asked) > len(starting) {
		w.notify() // the other loop may have them
	}
	if len(starting) > 0 {
		w.crew.tighten(w)
	}
	if len(reply.Cancels) > 0 {
		w.cancelHeld(reply.Cancels)
	}
}

// dispatch gives an execution that has a slot to an idle slot goroutine or starts
// one. It is called with acceptMu held.
func (w *worker) dispatch(e *execution) {
	if w.idle.Add(-1) >= 0 {
		w.work <- e // has room for every slot
		return
	}
	w.idle.Add(1)
	w.slots.Go(func() { w.slot(e) })
}

// slot runs executions, the given one first, until the worker stops.
func (w *worker) slot(e *execution) {
	through := false
	defer func() {
		if !through { // the handler took the goroutine with it: runtime.Goexit
			w.slots.Go(func() { w.slot(nil) })
		}
	}()
	for ok := true; ok; e, ok = <-w.work {
		if e != nil {
			e.invoke(w.ended)
		}
	}
	through = true
}

// ended is called when a handler has returned.
func (w *worker) ended(e *execution, end *attemptEnd) {
	if !w.conclude(e, end) {
		w.abandoned.Add(-1)
		w.app.logger.LogAttrs(context.Background(), slog.LevelWarn,
			"a handler returned after its attempt was given up, what it returned is dropped", e.attrs()...)
	}
	w.idle.Add(1)
	w.crew.free()
}

// conclude decides an attempt with this end, and hands it to the reporter. It
// returns false, and does nothing, if the outcome is decided.
func (w *worker) conclude(e *execution, end *attemptEnd) bool {
	if !e.settled.CompareAndSwap(false, true) {
		return false
	}
	e.cancel()
	e.final = e.report(end)
	w.reporter.add(e)
	w.countDecided() // after add: whoever waits for it goes on to stop the reporter
	return true
}

func (w *worker) countDecided() {
	if w.undecided.Add(-1) > 0 {
		return
	}
	select {
	case w.decided <- struct{}{}:
	default:
	}
}

// forget drops recorded executions from what the session holds.
func (w *worker) forget(done []*execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range done {
		w.drop(e)
	}
}

// drop is called with mu held.
func (w *worker) drop(e *execution) {
	if e.index < 0 {
		return
	}
	last := len(w.held) - 1
	moved := w.held[last]
	w.held[e.index], moved.index = moved, e.index
	w.held[last] = nil
	w.held = w.held[:last]
	e.index = -1
}

// openExecutions returns the executions whose outcome is undecided.
func (w *worker) openExecutions() []*execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	var open []*execution
	for _, e := range w.held {
		if !e.settled.Load() {
			open = append(open, e)
		}
	}
	return open
}

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
	shares   *queueShares // used by the claim loop alone
	interval time.Duration
	reporter *reporter

	claimCtx   context.Context // ends when no more tasks are to be claimed
	stopClaims context.CancelFunc
	claims     sync.WaitGroup // the claim loop
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
	// A goroutine that waits for capacity says how much here, and is told
	// through wake and, if a claim is to be interrupted, through interrupt.
	hungry    atomic.Int32
	wake      chan struct{}
	interrupt atomic.Pointer[context.CancelFunc]
	// Of a claim under way where the slots are shared: for how many tasks it is,
	// and how to end it if they are gone.
	asked   atomic.Int32
	preempt atomic.Pointer[context.CancelFunc]

	mu       sync.Mutex
	held     []*execution // claimed and not recorded
	through  int64        // Seq of the last claim reply
	observer *Observer    // guarded by beatMu
	beatMu   sync.Mutex   // one beat at a time
	contact  contact
}

const (
	claimWait = 5 * time.Second
	// A full worker asks for more once half its slots are free or this long
	// has passed since there was one: one call for many tasks instead of one
	// call for each.
	gatherTime = 100 * time.Microsecond
	// A worker that stays full for this long asks for cancels meanwhile.
	saturatedTime = 10 * time.Millisecond
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
		wake:     make(chan struct{}, 1),
		decided:  make(chan struct{}, 1),
	}
	for _, d := range app.declared {
		w.types = append(w.types, d.taskType)
	}
	if _, err := rand.Read(w.session[:]); err != nil {
		return nil, fmt.Errorf("make a session id: %w", err)
	}
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
	}
}

// capacity is how many tasks may be claimed now.
func (w *worker) capacity() int {
	slots := int(w.app.slots.Load())
	free := slots - int(w.crew.busy.Load())
	if w.reporter.bytes.Load() > maxUnrecordedBytes {
		return 0
	}
	return max(0, min(free, slots+maxUnrecorded-int(w.reporter.open.Load())))
}

// notify tells whoever waits that there is capacity.
func (w *worker) notify() {
	h := int(w.hungry.Load())
	if h == 0 || w.capacity() < h {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
	if cancel := w.interrupt.Load(); cancel != nil {
		(*cancel)()
	}
}

// tighten ends the claim under way if it is for more tasks than fit at
// this moment; the next one asks for less.
func (w *worker) tighten() {
	if cancel := w.preempt.Load(); cancel != nil && w.capacity() < int(w.asked.Load()) {
		(*cancel)()
	}
}

// awaitCapacity returns when n tasks may be claimed, after d, or when ctx ends.
func (w *worker) awaitCapacity(ctx context.Context, n int, d time.Duration) {
	w.hungry.Store(int32(n))
	defer w.hungry.Store(0)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for w.capacity() < n {
		select {
		case <-w.wake:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// claimLoop keeps one claim outstanding until the worker stops.
func (w *worker) claimLoop() {
	ctx := w.claimCtx
	full := false // the last claim was filled: there may be more
	for tries := 0; ctx.Err() == nil; {
		n, half := w.capacity(), max(1, int(w.app.slots.Load())/2)
		if n == 0 || full && n < half {
			w.awaitCapacity(ctx, 1, saturatedTime)
			if w.capacity() > 0 {
				w.awaitCapacity(ctx, half, gatherTime)
			}
			n = w.capacity()
		}
		reply, err := w.claim(ctx, n)
		full = n == 0 || len(reply.Grants) == n
		w.accept(&reply)
		switch {
		case err == nil:
			tries = 0
		case ctx.Err() != nil:
		case errors.Is(err, ErrClosed):
			w.app.logger.Error("the engine has been closed under a running worker, which claims nothing more", "error", err)
			return
		case errors.Is(err, ErrNotFound):
			// Others have called this session dead; a beat brings it back.
			w.app.logger.Warn("the worker's session was unknown to the engine and is registered again")
			if err := w.beat(ctx); err != nil && ctx.Err() == nil {
				w.app.logger.Warn("register the session again", "error", err)
				pause(ctx, repeatDelay(tries))
				tries++
			}
		default:
			if tries == 0 {
				w.app.logger.Warn("tasks cannot be claimed, trying again", "error", err)
			}
			pause(ctx, repeatDelay(tries))
			tries++
		}
	}
}

// claim asks for n tasks. With none it only waits for cancels. It returns early
// without an error when capacity has changed so that it should ask anew.
func (w *worker) claim(ctx context.Context, n int) (ClaimReply, error) {
	req := ClaimRequest{Session: w.session, Queues: w.shares.next(n), Types: w.types, N: n, Wait: claimWait}
	if n > 0 && len(w.crew.workers) == 1 {
		return w.engine.Claim(ctx, req)
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	if n > 0 {
		w.asked.Store(int32(n))
		w.preempt.Store(&cancel)
		w.tighten() // for slots that were taken just before
	} else {
		w.interrupt.Store(&cancel)
		w.hungry.Store(1)
		w.notify() // for capacity that came just before
	}
	reply, err := w.engine.Claim(waiting, req)
	w.hungry.Store(0)
	w.interrupt.Store(nil)
	w.preempt.Store(nil)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		err = nil
	}
	return reply, err
}

// accept takes over what a claim has brought.
func (w *worker) accept(reply *ClaimReply) {
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
	w.through = max(w.through, reply.Seq)
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
	if len(starting) > 0 {
		w.crew.tighten(w)
	}
	if len(reply.Cancels) > 0 {
		w.cancelHeld(reply.Cancels)
	}
}

// dispatch gives an execution that has a slot to an idle slot goroutine or starts
// one. Only the claim loop calls it.
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

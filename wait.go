package morningai

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Wait returns the task once it has ended, or ctx's error. It is told by the
// engine's events, so it costs no polling; all waits of a client share one
// reader. Tasks with retention 0 are returned too, if Wait was called before
// they ended or within a minute after.
func (c *Client) Wait(ctx context.Context, id ID) (*Task, error) {
	w, err := c.pump.subscribe(ctx, id)
	if err != nil {
		return nil, err
	}
	defer c.pump.unsubscribe(w)
	for {
		task, err := c.get(ctx, GetRequest{IDs: []ID{id}, Lingering: true})
		if err != nil {
			return nil, err
		}
		if task.State.Terminal() {
			return task, nil
		}
		select {
		case <-w.wake:
		case <-c.pump.closed:
			return nil, errClientClosed()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func errClientClosed() error {
	return &Error{Code: CodeClosed, Op: "wait", Detail: "the client has been closed"}
}

// eventPump reads the engine's events once for all waiters of a client. Its
// goroutine runs while somebody waits, and a little longer, so that one wait
// after another does not start it anew each time.
type eventPump struct {
	engine Engine
	closed chan struct{} // closed by close

	mu        sync.Mutex
	waiters   map[ID]map[*waiter]struct{}
	idleSince time.Time // when the last waiter left
	run       *pumpRun  // nil while no goroutine reads
	eager     bool      // end the goroutine with the last waiter
}

type waiter struct {
	id   ID
	wake chan struct{} // holds one token: read the task again
}

// pumpRun is one life of the pump's goroutine.
type pumpRun struct {
	cancel context.CancelFunc
	ready  chan struct{} // closed when the first cursor is known: later events will be seen
	done   chan struct{}
}

const (
	pumpWait  = 2 * time.Second // how long the goroutine outlives its last waiter, about
	pumpLimit = 1_000
)

func newEventPump(engine Engine) *eventPump {
	return &eventPump{engine: engine, closed: make(chan struct{}), waiters: map[ID]map[*waiter]struct{}{}}
}

// subscribe registers a waiter and returns when every later event of the task
// will wake it.
func (p *eventPump) subscribe(ctx context.Context, id ID) (*waiter, error) {
	w := &waiter{id: id, wake: make(chan struct{}, 1)}
	p.mu.Lock()
	select {
	case <-p.closed:
		p.mu.Unlock()
		return nil, errClientClosed()
	default:
	}
	if p.waiters[id] == nil {
		p.waiters[id] = map[*waiter]struct{}{}
	}
	p.waiters[id][w] = struct{}{}
	run := p.run
	if run == nil {
		run = p.start()
	}
	p.mu.Unlock()
	select {
	case <-run.ready:
		return w, nil
	case <-ctx.Done():
		p.unsubscribe(w)
		return nil, ctx.Err()
	}
}

// start is called with mu held.
func (p *eventPump) start() *pumpRun {
	ctx, cancel := context.WithCancel(context.Background())
	run := &pumpRun{cancel: cancel, ready: make(chan struct{}), done: make(chan struct{})}
	p.run = run
	go p.read(ctx, run)
	return run
}

func (p *eventPump) unsubscribe(w *waiter) {
	p.mu.Lock()
	delete(p.waiters[w.id], w)
	if len(p.waiters[w.id]) == 0 {
		delete(p.waiters, w.id)
	}
	if len(p.waiters) == 0 {
		p.idleSince = time.Now()
	}
	idle := p.eager && len(p.waiters) == 0
	p.mu.Unlock()
	if idle {
		p.endIfIdle()
	}
}

// release ends the goroutine now if nobody waits, and otherwise with the last
// waiter. Waiting stays possible.
func (p *eventPump) release() {
	p.mu.Lock()
	p.eager = true
	p.mu.Unlock()
	p.endIfIdle()
}

func (p *eventPump) endIfIdle() {
	p.mu.Lock()
	run := p.run
	if run == nil || len(p.waiters) > 0 {
		p.mu.Unlock()
		return
	}
	p.run = nil
	p.mu.Unlock()
	run.cancel()
	<-run.done
}

func (p *eventPump) close() {
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	run := p.run
	p.run = nil
	p.mu.Unlock()
	if run != nil {
		run.cancel()
		<-run.done
	}
}

// read is the pump's goroutine.
func (p *eventPump) read(ctx context.Context, run *pumpRun) {
	defer close(run.done)
	defer run.cancel()
	isReady := false
	ready := func() {
		if !isReady {
			isReady = true
			close(run.ready)
		}
	}
	defer ready()
	cursor, tries := "", 0
	for {
		req := EventsRequest{Cursor: cursor, Limit: pumpLimit, Wait: pumpWait}
		if cursor == "" {
			req.Wait = 0 // only asks where now is
		}
		page, err := p.engine.Events(ctx, req)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			p.wake(page.Events)
			if cursor == "" && isReady {
				p.wakeAll() // events may have been missed before this cursor
			}
			ready()
			cursor, tries = page.Cursor, 0
			if p.leaveIfIdle(run) {
				return
			}
		case errors.Is(err, ErrCursorExpired) && cursor != "":
			cursor = ""
		default:
			// The waiters' own reads tell them what is wrong; if those work,
			// reading again now and then stands in for the events.
			cursor = ""
			ready()
			p.wakeAll()
			if p.leaveIfIdle(run) {
				return
			}
			pause(ctx, repeatDelay(tries))
			tries++
		}
	}
}

// leaveIfIdle ends this life of the goroutine if nobody has waited for a while.
func (p *eventPump) leaveIfIdle(run *pumpRun) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) > 0 || time.Since(p.idleSince) < pumpWait {
		return false
	}
	if p.run == run {
		p.run = nil
	}
	return true
}

func (p *eventPump) wake(events []Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		switch events[i].Kind {
		case EventSucceeded, EventFailed, EventCanceled, EventDeleted:
			for w := range p.waiters[events[i].ID] {
				w.signal()
			}
		}
	}
}

func (p *eventPump) wakeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ws := range p.waiters {
		for w := range ws {
			w.signal()
		}
	}
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

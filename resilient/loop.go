package resilient

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// inbox is where events wait for the loop. Those that come while the core is
// busy are handled in one turn, so that what they call for travels together.
type inbox struct {
	bell chan struct{} // holds a token when there is something new

	mu      sync.Mutex
	events  []func()
	spare   []func()
	closed  bool
	closing chan struct{} // to be closed once the last event that came before it was handled
}

// put hands in an event of a caller.
func (b *inbox) put(event func()) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return morningai.ErrClosed
	}
	b.events = append(b.events, event)
	b.mu.Unlock()
	b.ring()
	return nil
}

// putBack hands in what has come of calls: also after the engine was closed.
func (b *inbox) putBack(event func()) {
	b.mu.Lock()
	b.events = append(b.events, event)
	b.mu.Unlock()
	b.ring()
}

// close hands in the last event from outside and reports whether it was the first
// to do so.
func (b *inbox) close(last func(), handled chan struct{}) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.closed, b.closing = true, handled
	b.events = append(b.events, last)
	b.ring()
	return true
}

func (b *inbox) ring() {
	select {
	case b.bell <- struct{}{}:
	default:
	}
}

// take returns what waits. The slice is valid until the next call.
func (b *inbox) take() (events []func(), closed bool, closing chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	events = b.events
	clear(b.spare)
	b.events, b.spare = b.spare[:0], events
	closing, b.closing = b.closing, nil
	return events, b.closed, closing
}

// run is the loop: it alone steps the core. It goes on after Close has begun
// until nothing is under way any more.
func (e *Engine) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var planned time.Time
	for {
		due := false
		select {
		case <-e.inbox.bell:
			// Whoever can run hands in what it has first: one turn for many.
			runtime.Gosched()
		case <-timer.C:
			due, planned = true, time.Time{}
		case <-e.end:
			return
		}
		events, closed, closing := e.inbox.take()
		if closed {
			due = false
		}
		if len(events) > 0 || due {
			e.turn(events)
		}
		if closing != nil {
			close(closing)
		}
		if closed {
			continue
		}
		e.mu.Lock()
		at := e.core.wake()
		e.mu.Unlock()
		if at.IsZero() || !planned.IsZero() && !at.Before(planned) && planned.After(time.Now()) {
			continue
		}
		planned = at
		timer.Reset(max(time.Until(at), 0))
	}
}

// turn steps the core with events and performs what comes of them.
func (e *Engine) turn(events []func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.replied != nil {
		e.core.contact.hear(e.replied())
	}
	effects := e.core.step(time.Now(), events...)
	e.perform(effects)
	e.core.reuse(effects)
	e.crew.under.Add(-e.answered)
	e.answered = 0
}

// perform starts effects; mu is held. Replies are handed over at once: whoever
// waits has a place for them. Notes that follow each other become one call of
// the journal, and tasks one of the shared engine.
func (e *Engine) perform(effects []effect) {
	notes, tasks := gathering{e: e}, gathering{e: e}
	for i := range effects {
		if effects[i].notes != nil {
			notes.coming++
		}
		if effects[i].tasks != nil {
			tasks.coming++
		}
	}
	for i := range effects {
		f := &effects[i]
		switch {
		case f.to == toReply:
			_, _ = f.run(e.ctx) // it only hands over, and cannot fail
		case f.to == toLog:
			e.cfg.logger.Log(e.ctx, f.line.level, f.line.text, f.line.attrs...)
		case f.to == toCancel:
			if cancel := e.waiting[f.waits]; cancel != nil {
				cancel()
			}
		case f.notes != nil:
			notes.add(f, len(f.notes), bytesOfNotes(f.notes))
		case f.tasks != nil:
			tasks.add(f, len(f.tasks), bytesOfTasks(f.tasks))
		default: // the order of calls to one engine stays
			if f.to == toJournal {
				notes.send()
			} else {
				tasks.send()
			}
			e.start([]effect{*f})
		}
	}
	notes.send()
	tasks.send()
}

// A call that was gathered holds no more than this, so that the first of it does
// not wait long for the last.
const (
	gatherItems = 128
	gatherBytes = 256 << 10
)

// gathering puts calls that do the same into one.
type gathering struct {
	e            *Engine
	parts        []effect
	items, bytes int
	coming       int // effects that may be added yet
}

func (g *gathering) add(f *effect, items, bytes int) {
	if g.items > 0 && (g.items+items > gatherItems || g.bytes+bytes > gatherBytes) {
		g.send()
	}
	if g.parts == nil {
		g.parts = make([]effect, 0, min(g.coming, gatherItems))
	}
	g.parts = append(g.parts, *f)
	g.coming--
	g.items, g.bytes = g.items+items, g.bytes+bytes
}

func (g *gathering) send() {
	if len(g.parts) > 0 {
		g.e.start(g.parts)
	}
	g.parts, g.items, g.bytes = nil, 0, 0
}

func bytesOfNotes(notes []morningai.Note) (n int) {
	for i := range notes {
		n += len(notes[i].Data)
	}
	return n
}

func bytesOfTasks(specs []morningai.TaskSpec) (n int) {
	for i := range specs {
		n += len(specs[i].Payload)
	}
	return n
}

// together is the call of several effects that do the same.
func (e *Engine) together(ctx context.Context, parts []effect) (any, error) {
	if parts[0].notes != nil {
		return nil, e.journal.Note(ctx, gathered(parts, func(f *effect) []morningai.Note { return f.notes }))
	}
	return e.remote.Enqueue(ctx, gathered(parts, func(f *effect) []morningai.TaskSpec { return f.tasks }))
}

func gathered[T any](parts []effect, of func(*effect) []T) []T {
	n := 0
	for i := range parts {
		n += len(of(&parts[i]))
	}
	all := make([]T, 0, n)
	for i := range parts {
		all = append(all, of(&parts[i])...)
	}
	return all
}

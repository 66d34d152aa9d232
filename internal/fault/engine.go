package fault

import (
	"context"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// Method names a method of an engine or a journal, such as "Enqueue".
type Method string

// Any stands for every method that can fail: all but Capabilities and Close.
const Any Method = "*"

// Fault is what goes wrong with a call. Its parts happen in the order of the
// fields.
type Fault struct {
	// When restricts the fault to calls with such arguments: the request of the
	// method, or nil for a method without one. Other calls leave it for later.
	When func(request any) bool
	// Times is how many calls it concerns; 0 means one, less than 0 all until
	// Clear.
	Times int
	// Delay passes before anything else happens. A call whose context ends
	// meanwhile is not applied.
	Delay time.Duration
	// Hold keeps the call on its way until Release. If its context ends first,
	// it returns the context's error, and is applied at Release all the same.
	Hold bool
	// Applied: the engine below does what it is asked, and the answer is lost.
	// It does nothing if this is false and Err or Silent is set.
	Applied bool
	// Err is returned instead of an answer.
	Err error
	// Silent: no answer comes. The call returns when its context ends.
	Silent bool
}

// Script is a plan of faults for the calls of one engine. Faults of one method are used up in the order in
// which they were added, those of the method itself before those of Any.
type Script struct {
	mu     sync.Mutex
	faults map[Method][]*Fault
	calls  map[Method]int
	hits   map[Method]int
	held   []*heldCall
	over   chan struct{} // closed by Close
	closed bool
}

// heldCall is a call on its way.
type heldCall struct {
	free chan struct{} // closed by Release
	done chan struct{} // closed when it was applied, or will not be
}

// Add puts a fault at the end of a method's plan.
func (s *Script) Add(m Method, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	if s.faults == nil {
		s.faults = map[Method][]*Fault{}
	}
	s.faults[m] = append(s.faults[m], &f)
}

// Clear takes all faults out of the plan. Calls that are held stay so.
func (s *Script) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Release lets go of the calls that are held, one after another in the order in
// which they came, and returns when all were applied.
func (s *Script) Release() {
	s.mu.Lock()
	held := s.held
	s.held = nil
	s.mu.Unlock()
	for _, h := range held {
		close(h.free)
		<-h.done
	}
}

// Held is how many calls are held now, those included whose callers have left.
func (s *Script) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// Calls is how often a method was called; Hits how often a fault met it. For Any
// they are the sums over all methods.
func (s *Script) Calls(m Method) int { return s.count(m, func() map[Method]int { return s.calls }) }

// Hits is described at Calls.
func (s *Script) Hits(m Method) int { return s.count(m, func() map[Method]int { return s.hits }) }

func (s *Script) count(m Method, of func() map[Method]int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m != Any {
		return of()[m]
	}
	n := 0
	for _, k := range of() {
		n += k
	}
	return n
}

// next takes the fault of a call out of the plan.
func (s *Script) next(m Method, request any) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls, s.hits = map[Method]int{}, map[Method]int{}
	}
	s.calls[m]++
	for _, plan := range []Method{m, Any} {
		for i, f := range s.faults[plan] {
			if f.When != nil && !f.When(request) {
				continue
			}
			s.hits[m]++
			if f.Times--; f.Times == 0 {
				s.faults[plan] = append(s.faults[plan][:i:i], s.faults[plan][i+1:]...)
			}
			return *f, true
		}
	}
	return Fault{}, false
}

func (s *Script) hold() *heldCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &heldCall{free: make(chan struct{}), done: make(chan struct{})}
	s.held = append(s.held, h)
	return h
}

// run makes a call, or what the script makes of it.
func run[T any](ctx context.Context, s *Script, m Method, request any, apply func(context.Context) (T, error)) (T, error) {
	f, ok := s.next(m, request)
	if !ok {
		return apply(ctx)
	}
	var none T
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	answer := func(ctx context.Context) (T, error) {
		if f.Applied || f.Err == nil && !f.Silent {
			v, err := apply(ctx)
			if !f.Applied {
				return v, err
			}
		}
		return none, f.Err
	}
	if f.Hold {
		return held(ctx, s, &f, answer)
	}
	v, err := answer(ctx)
	if f.Silent {
		return none, s.silence(ctx, nil)
	}
	return v, err
}

// held makes a call that waits for Release, with its caller or without.
func held[T any](ctx context.Context, s *Script, f *Fault, answer func(context.Context) (T, error)) (T, error) {
	var v T
	var err error
	h := s.hold()
	go func() { // Release waits for it
		defer close(h.done)
		<-h.free
		v, err = answer(context.WithoutCancel(ctx))
	}()
	answered := h.done
	if f.Silent {
		answered = nil
	}
	if gone := s.silence(ctx, answered); gone != nil {
		var none T
		return none, gone
	}
	return v, err
}

// silence waits until a call is answered, or its context or the engine ends.
func (s *Script) silence(ctx context.Context, answered chan struct{}) error {
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.over:
		return morningai.ErrClosed
	}
}

// Engine is an engine that fails by script. It passes everything else on.
type Engine struct {
	Script
	next morningai.Engine
}

// NewEngine puts a script before an engine.
func NewEngine(next morningai.Engine) *Engine {
	return &Engine{Script: Script{over: make(chan struct{})}, next: next}
}

// Capabilities are those of the engine below.
func (e *Engine) Capabilities() morningai.Capabilities { return e.next.Capabilities() }

// Close releases what is held and closes the engine below.
func (e *Engine) Close() error {
	e.Release()
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.over)
	}
	e.mu.Unlock()
	return e.next.Close()
}

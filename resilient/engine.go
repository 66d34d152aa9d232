package resilient

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// Engine is the engine of a node with a journal. It implements
// [morningai.Engine] and [morningai.Fleet].
type Engine struct {
	remote  morningai.Engine
	journal morningai.Journal
	cfg     config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	calls  sync.WaitGroup // effects under way
	loop   sync.WaitGroup

	mu      sync.Mutex
	core    *core
	closed  bool
	waiting map[int64]context.CancelFunc // calls that wait by design
	alarm   chan struct{}                // holds a token when the time to wake may have moved
}

var (
	_ morningai.Engine = (*Engine)(nil)
	_ morningai.Fleet  = (*Engine)(nil)
)

// Open returns an engine over one that nodes share and this node's journal. It
// reads the journal, and does not wait for the shared engine: if that is away
// the engine works on its own from the start. Close closes both.
func Open(ctx context.Context, remote morningai.Engine, journal morningai.Journal, opts ...Option) (*Engine, error) {
	cfg := defaults()
	for _, o := range opts {
		o(&cfg)
	}
	if _, err := crand.Read(cfg.incarnation[:]); err != nil {
		return nil, fmt.Errorf("open: make an incarnation: %w", err)
	}
	info, err := journal.JournalInfo(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	cfg.member = info.ID
	mirrors, err := journal.Noted(ctx, []morningai.NoteKey{mirrorKey})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	stats, err := journal.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	e := &Engine{remote: remote, journal: journal, cfg: cfg, waiting: map[int64]context.CancelFunc{}, alarm: make(chan struct{}, 1)}
	e.core = newCore(cfg, remote, journal, rand.Float64, time.Now())
	if err := e.core.load(info, &mirrors[0], &stats); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	reports, err := e.core.readIncidents(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if len(reports) > 0 {
		e.core.resumeIncident(reports[0])
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.loop.Go(e.wakeLoop)
	return e, nil
}

// load takes in what an earlier process of this node has left.
func (c *core) load(info morningai.JournalInfo, mirrored *morningai.Note, stats *morningai.Stats) error {
	c.disk.info = info
	if mirrored.Seq != 0 {
		if err := json.Unmarshal(mirrored.Data, &c.mirror); err != nil {
			return fmt.Errorf("read what was known of the fleet: %w", err)
		}
		c.members = c.mirror.Members
	}
	b := &c.backlog
	b.own, b.outcomes = info.Notes[noteOwn], 0
	b.points, b.commands, b.settings = info.Notes[notePoint], info.Notes[noteCommand], info.Notes[noteQueue]
	for state, n := range stats.States {
		if !state.Terminal() || n > 0 {
			b.owned += n
		}
	}
	return nil
}

// do steps the core with an event and performs what comes of it.
func (e *Engine) do(event func()) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return morningai.ErrClosed
	}
	e.perform(e.core.step(time.Now(), event))
	e.mu.Unlock()
	e.wake()
	return nil
}

func (e *Engine) wake() {
	select {
	case e.alarm <- struct{}{}:
	default:
	}
}

// wakeLoop steps the core when something is due.
func (e *Engine) wakeLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var planned time.Time
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.alarm:
		case <-timer.C:
			planned = time.Time{}
			if e.do(func() {}) != nil {
				return
			}
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

// perform starts effects; mu is held. Replies are handed over at once: whoever
// waits has a place for them.
func (e *Engine) perform(effects []effect) {
	for i := range effects {
		f := effects[i]
		switch f.to {
		case toReply:
			_, _ = f.run(e.ctx) // it only hands over, and cannot fail
		case toLog:
			e.cfg.logger.Log(e.ctx, f.level, f.text, f.attrs...)
		case toCancel:
			if cancel := e.waiting[f.waits]; cancel != nil {
				cancel()
			}
		default:
			ctx, cancel := context.WithCancel(e.ctx)
			if f.waits != 0 {
				e.waiting[f.waits] = cancel
			}
			e.calls.Go(func() { e.call(ctx, cancel, &f) })
		}
	}
}

// overtime is how long a call may take to notice that its time is over.
const overtime = 100 * time.Millisecond

// call makes one call and hands what came of it back. A call that does not end
// in time is given up; its result is dropped.
func (e *Engine) call(ctx context.Context, cancel context.CancelFunc, f *effect) {
	defer cancel()
	type outcome struct {
		result any
		err    error
	}
	var got outcome
	if f.limit == 0 {
		got.result, got.err = f.run(ctx)
	} else {
		limited, stop := context.WithTimeout(ctx, f.limit)
		defer stop()
		done := make(chan outcome, 1)
		e.calls.Go(func() {
			result, err := f.run(limited)
			done <- outcome{result, err}
		})
		timer := time.NewTimer(f.limit + overtime)
		defer timer.Stop()
		select {
		case got = <-done:
		case <-timer.C:
			got.err = context.DeadlineExceeded
		}
		if got.err != nil && limited.Err() != nil && ctx.Err() == nil {
			got.err = errors.Join(context.DeadlineExceeded, got.err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.waits != 0 {
		delete(e.waiting, f.waits)
	}
	e.perform(e.core.step(time.Now(), func() { f.then(got.result, got.err) }))
	e.wake()
}

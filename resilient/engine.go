package resilient

import (
	"context"
	crand "crypto/rand"
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
	replied func() time.Time // of the shared engine, within a call too; nil if it does not tell
	journal morningai.Journal
	cfg     config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	inbox  inbox
	crew   crew
	loop   sync.WaitGroup
	end    chan struct{} // closed when nothing is under way any more

	mu       sync.Mutex // the loop holds it while it steps the core
	core     *core
	answered int                          // calls whose answers the core has seen in this turn
	waiting  map[int64]context.CancelFunc // calls that wait by design
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
	known, err := readMirror(ctx, journal)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	cfg.member = known.nameOf(info)
	last, err := readMarks(ctx, journal)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	stats, err := journal.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	e := &Engine{remote: remote, journal: journal, cfg: cfg, waiting: map[int64]context.CancelFunc{}, end: make(chan struct{}),
		inbox: inbox{bell: make(chan struct{}, 1)}, crew: crew{work: make(chan *call)}}
	e.core = newCore(cfg, remote, journal, rand.Float64, time.Now())
	e.core.load(info, known, &stats)
	e.core.edition = last.Edition
	if err := e.core.readLeft(ctx, stats.States[morningai.StateRunning]); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	reports, err := e.core.readIncidents(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if len(reports) > 0 {
		e.core.resumeIncident(reports[0])
	}
	if r, ok := remote.(interface{ LastReply() time.Time }); ok {
		e.replied = r.LastReply
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.loop.Go(e.run)
	return e, nil
}

// load takes in what an earlier process of this node has left.
func (c *core) load(info morningai.JournalInfo, known mirror, stats *morningai.Stats) {
	c.disk.info, c.mirror = info, known
	c.crashed, c.startedAt = known.Running, c.now
	c.members, c.known.generation = known.Members, known.Data.Generation
	c.mirror.Running = true
	b := &c.backlog
	if known.Lost { // an earlier process has died over it
		b.loss, b.lossAt, b.comparing = true, c.now, true
	}
	b.own = info.Notes[noteOwn]
	b.points, b.commands, b.settings = info.Notes[notePoint], info.Notes[noteCommand], info.Notes[noteQueue]
	for _, n := range stats.States {
		b.owned += n
	}
}

// Close implements [morningai.Engine]. It closes both engines; what has not been
// delivered stays in the journal and is delivered after the next Open.
func (e *Engine) Close() error {
	closing := make(chan struct{})
	if !e.inbox.close(func() {
		e.core.closing = true
		e.core.closeWaits()
		e.core.empty()
		e.core.writeIncident()
		e.core.mirror.Running = false
		e.core.writeMirror()
	}, closing) {
		return nil
	}
	<-closing
	e.endWaits()
	e.settleCalls(closePatience)
	e.cancel()
	e.crew.under.Wait()
	close(e.end)
	e.loop.Wait()
	close(e.crew.work)
	e.crew.hands.Wait()
	return errors.Join(e.keepMarks(), e.remote.Close(), e.journal.Close())
}

// closePatience is how long Close waits for calls under way before it ends them.
const closePatience = time.Second

func (e *Engine) endWaits() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, cancel := range e.waiting {
		cancel()
	}
}

// settleCalls waits for calls under way, for so long.
func (e *Engine) settleCalls(patience time.Duration) {
	ended := make(chan struct{})
	e.loop.Go(func() {
		e.crew.under.Wait()
		close(ended)
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// closeWaits answers whoever waits: the engine is closed.
func (c *core) closeWaits() {
	for op := range c.claims {
		c.endClaim(op, morningai.ClaimReply{}, morningai.ErrClosed)
	}
	for op := range c.streams {
		op.finish(morningai.EventsPage{}, morningai.ErrClosed)
	}
}

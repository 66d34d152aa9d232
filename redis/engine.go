package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

var _ morningai.Engine = (*Engine)(nil)

// Engine is a morningai.Engine on Redis or Valkey. Make one with Open.
type Engine struct {
	client rueidis.Client
	opt    options
	where  *address
	parts  []*partition
	looks  bool // reads write nothing

	option rueidis.ClientOption
	link   *link
	slots  chan struct{} // taken by commands under way
	start  starter

	ctx     context.Context // ends when Close begins: nothing waits any more
	stop    context.CancelFunc
	idle    chan struct{}  // closed when the last method has returned
	loops   sync.WaitGroup // background loops
	calls   sync.WaitGroup // commands whose answer nobody may be waiting for
	active  sync.WaitGroup // methods under way
	gate    sync.RWMutex   // closed changes under it
	closed  bool
	losses  atomic.Int64
	edition atomic.Int64 // see [morningai.Capabilities]
	unsaved sync.Map     // servers of which was said that they write nothing to disk
	replied atomic.Int64 // when the last reply came, since processStart
	absence absence

	mu       sync.Mutex
	sessions map[morningai.SessionID]*session
	waiters  map[string]*waiter
	data     string             // the name of what Redis holds, once it is known
	putOff   map[*dues]struct{} // of the claims under way
	seats    seats
	created  int64 // acceptance time given last, in us: they grow strictly
	clock    clock
}

// Open connects to the Redis at the address, checks that it can be relied on,
// and makes its partitions ready. The forms of an address are
//
//	redis://[user:password@]host[:port][/db]       rediss:// the same over TLS
//	unix:///path/to/socket[?db=n]
//	redis+sentinel://[user:password@]h1[:port],h2/master-name[/db]
//	redis+cluster://[user:password@]h1[:port],h2
//
// with the settings client_name, prefix, partitions, and for TLS ca, cert and
// key (files), as a query. It returns an [ErrWrongRedis] if the server must not
// be used, with what to change, and an [ErrUnavailable] if it cannot be
// reached. The context bounds the opening only. See [WithDeferredStart] for a
// Redis that may come later.
func Open(ctx context.Context, url string, opts ...Option) (*Engine, error) {
	e, err := prepare(url, opts)
	if err != nil {
		return nil, err
	}
	for n := range e.opt.partitions {
		e.parts = append(e.parts, newPartition(e, n))
	}
	e.remember(e.opt.data)
	if e.opt.acknowledged = readMarks(e.opt.marks, len(e.parts)); len(e.opt.acknowledged) > 0 {
		for i, p := range e.parts {
			p.least = max(p.least, e.opt.acknowledged[i].generation)
		}
	}
	if e.opt.deferred {
		return e, nil
	}
	if err := e.begin(ctx); err != nil {
		e.stop()
		e.calls.Wait()
		return nil, err
	}
	return e, nil
}

// prepare reads address and options.
func prepare(url string, opts []Option) (*Engine, error) {
	where, err := parseAddress(url)
	if err != nil {
		return nil, err
	}
	e := &Engine{opt: defaults(), where: where, sessions: map[morningai.SessionID]*session{}, slots: make(chan struct{}, callsAtOnce)}
	for _, o := range opts {
		o(&e.opt)
	}
	where.apply(&e.opt)
	if e.opt.partitions == 0 {
		e.opt.partitions = 1
	}
	if e.opt.partitions < 1 || e.opt.partitions > 256 {
		return nil, morningai.InvalidInput("open redis", morningai.FieldError{Location: "partitions", Message: "must be 1 to 256"})
	}
	e.link = newLink(where.mode == modeUnix, e.opt.silence())
	if e.option, err = where.clientOption(&e.opt, e.link); err != nil {
		return nil, err
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.idle = make(chan struct{})
	return e, nil
}

// Capabilities describes the engine.
func (e *Engine) Capabilities() morningai.Capabilities {
	away := e.awayParts()
	return morningai.Capabilities{Name: "redis", Durable: "redis", Data: e.dataSet(away), Edition: e.edition.Load(), Parts: len(e.parts), Away: away}
}

// Losses is how often this engine has noticed that Redis lost writes that it
// had acknowledged. What was lost is not restored by this engine.
func (e *Engine) Losses() int64 { return e.losses.Load() }

func (e *Engine) lost(p *partition) {
	e.losses.Add(1)
	e.opt.logger.Warn("Redis has lost writes that it had acknowledged", "partition", p.n, "generation", p.dataSet().generation)
}

// enter admits a call, unless the engine is closed, has not begun, or the
// context has ended. Every call that was admitted is waited for by Close.
func (e *Engine) enter(ctx context.Context) error {
	if err := e.admit(ctx); err != nil {
		return err
	}
	if err := e.begun(ctx); err != nil {
		e.active.Done()
		return err
	}
	return nil
}

func (e *Engine) admit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.gate.RLock()
	defer e.gate.RUnlock()
	if e.closed {
		return morningai.ErrClosed
	}
	e.active.Add(1)
	return nil
}

// bounded is a context that ends with the caller's and after the engine's
// timeout.
func (e *Engine) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.opt.timeout)
}

// failed turns the error of a call into the engine's own.
func (e *Engine) failed(ctx context.Context, op string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return unavailable(op, err)
}

// Close finishes the writes under way, ends the sessions that beat through this
// engine, which returns what they still run to the queues, and disconnects.
func (e *Engine) Close() error {
	if !e.shut() {
		return nil
	}
	e.active.Wait()
	close(e.idle)
	e.loops.Wait()
	if e.client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), e.opt.timeout)
		defer cancel()
		e.endSessions(ctx)
		for _, p := range e.parts {
			if !e.opt.remembered && p.gone() == nil {
				p.forgetLanes(ctx)
			}
		}
		e.disconnect()
	}
	e.link.close()
	e.calls.Wait()
	return nil
}

// shut admits no more calls, and reports whether it is the first to do so.
func (e *Engine) shut() bool {
	e.gate.Lock()
	defer e.gate.Unlock()
	if e.closed {
		return false
	}
	e.closed = true
	e.stop()
	return true
}

// clockArgs are the arguments that every script has after those of the lane.
func (e *Engine) clockArgs() []string {
	now := e.opt.now()
	return []string{
		strconv.FormatInt(now.UnixMilli(), 10), be(uint64(now.UnixNano())),
		strconv.FormatFloat(float64(e.opt.succeeded)/1e6, 'f', -1, 64), strconv.FormatFloat(float64(e.opt.ended)/1e6, 'f', -1, 64),
	}
}

func be(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return string(b[:])
}

// partition is one slot's worth of tasks.
type partition struct {
	eng  *Engine
	n    int
	base string // what its keys begin with
	keys []string

	accepts [enqueueLanes]*enqueuer
	hunt    sync.RWMutex // held while one of them looks for what breaks the connection
	works   *worker
	others  *lane

	eventsTo atomic.Int64                           // the newest entry of its events that a read has seen
	tallied  atomic.Pointer[[]rueidis.RedisMessage] // its last answer to Stats

	least int64 // generation that Redis must have reached, as a journal tells

	mu         sync.Mutex
	data       dataSet
	before     dataSet  // as it was when the partition went away
	compared   []string // marks
	comparedAt time.Time
}

func newPartition(e *Engine, n int) *partition {
	p := &partition{eng: e, n: n, base: fmt.Sprintf("%s:{%d}:", e.opt.prefix, n)}
	for _, name := range keyNames {
		p.keys = append(p.keys, p.base+name)
	}
	for i := range p.accepts {
		p.accepts[i] = newEnqueuer(p)
	}
	p.works, p.others = newWorker(p), newLane(p)
	return p
}

// with returns the partition's keys and those of one call.
func (p *partition) with(more []string) []string {
	return append(p.keys[:len(p.keys):len(p.keys)], more...)
}

// wakeKey is the list that wakes sessions which serve all queues.
func (p *partition) wakeKey(taskType string) string { return p.base + "w:" + taskType }

// lineKey is the list that wakes sessions which serve that queue and not all.
func (p *partition) lineKey(taskType, queue string) string { return p.wakeKey(taskType) + "@" + queue }

// wakeKeys are the lists that wake a session which serves these.
func (p *partition) wakeKeys(types []string, queues []morningai.QueueShare) []string {
	out := make([]string, 0, len(types)*max(1, len(queues)))
	for _, t := range types {
		if len(queues) == 0 {
			out = append(out, p.wakeKey(t))
		}
		for _, q := range queues {
			out = append(out, p.lineKey(t, q.Name))
		}
	}
	return out
}

func (p *partition) controlKey(s morningai.SessionID) string { return p.base + "c:" + string(s[:]) }

func (p *partition) lanes() []*lane {
	out := append([]*lane{p.others}, p.works.lanes...)
	for _, q := range p.accepts {
		out = append(out, q.lane)
	}
	return out
}

// read runs a script that needs no number. If that finds a key of the partition gone,
// it is seen to first.
func (p *partition) read(ctx context.Context, s *script, args ...string) ([]rueidis.RedisMessage, error) {
	for tries := 0; ; tries++ {
		known := p.dataSet()
		number := "0"
		if p.eng.looks {
			number = "r"
		}
		full := append([]string{"", number, ""}, p.eng.clockArgs()...)
		reply, err := p.eng.eval(ctx, s, p.keys, append(full, args...))
		if err != nil {
			return nil, err
		}
		if first, _ := reply[0].ToString(); first != "!gap" {
			return reply, nil
		}
		if tries == 3 {
			return nil, errCorrupt
		}
		if err := p.noticed(ctx, known); err != nil {
			return nil, err
		}
	}
}

func (p *partition) run() {
	for _, q := range p.accepts {
		q.run()
	}
	p.works.run()
	p.eng.loops.Go(p.sweep)
}

// forgetLanes removes the lanes of this engine: nobody will use them again.
func (p *partition) forgetLanes(ctx context.Context) {
	var ids []string
	for _, l := range p.lanes() {
		if id, acked := l.mark(); acked > 0 {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	// If it fails they are removed when they are old.
	_, _ = p.eng.do(ctx, p.eng.client.B().Hdel().Key(p.base+"lanes").Field(ids...).Build())
}

// of is the partition that a task id belongs to.
func (e *Engine) of(id morningai.ID) *partition { return e.parts[id.Part(len(e.parts))] }

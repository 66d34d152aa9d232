package rqbridge

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/rq"
)

// Options say what a bridge does.
type Options struct {
	Queues []string      // of both sides: a task's queue is its job's
	Node   string        // what attempts call this server
	Lease  time.Duration // as of the server's own worker; 0: the default
	Logger *slog.Logger
}

// window is how many tasks of one queue are in RQ at once for one server; the others
// wait where their server keeps them.
const window = 1000

// Bridge delivers tasks to RQ and follows them.
type Bridge struct {
	engine morningai.Engine
	client *rq.Client
	sender *rq.Sender
	opts   Options
	log    *slog.Logger
	apps   []*morningai.App // one for each queue, so that none takes the others' room
	queues map[string]bool

	ctx   context.Context // ends with Stop
	stop  context.CancelFunc
	loops sync.WaitGroup

	mu       sync.Mutex
	types    map[string]bool // that were seen in the bridge's queues
	more     chan struct{}   // closed and made anew when types grows
	granted  map[morningai.ID]grant
	canceled map[morningai.ID]bool
	follows  map[string]*follow   // by id of the job
	settled  []string             // ids of jobs whose results are recorded
	unwanted map[morningai.ID]int // tries for jobs whose tasks were canceled while nobody followed them
	memos    map[morningai.ID]memo
}

// grant is what the engine has handed out, as the app does not see it.
type grant struct {
	lease      morningai.Lease
	function   string
	timeout    time.Duration
	known      rq.Mark // of the last delivery
	deliveries int
	memo       memo // of an earlier attempt here
}

// memo is what this server knows of a job beside what is on record: after a loss
// the task may come back without it.
type memo struct {
	life     int64
	mark     rq.Mark
	begun    bool
	repeated bool
}

// mostMemos bounds, for each queue, what is known of tasks that went to other
// servers.
const mostMemos = 10 * window

// New returns a bridge of an engine and the Redis that RQ uses. Nothing happens
// until Start. Whoever gives engine and client closes them, after Stop.
func New(engine morningai.Engine, client *rq.Client, opts Options) (*Bridge, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	b := &Bridge{engine: engine, client: client, sender: client.NewSender(rand.Text()), opts: opts, log: opts.Logger,
		queues: map[string]bool{}, types: map[string]bool{}, more: make(chan struct{}),
		granted: map[morningai.ID]grant{}, canceled: map[morningai.ID]bool{}, follows: map[string]*follow{}, memos: map[morningai.ID]memo{}, unwanted: map[morningai.ID]int{}}
	b.sender.Fleet = func() string {
		if id := engine.Capabilities().Data.ID; !id.IsZero() {
			return id.String()
		}
		return ""
	}
	for _, q := range opts.Queues {
		if b.queues[q] {
			continue
		}
		b.queues[q] = true
		// Handlers give up at once when the server stops: the jobs are in RQ, and
		// whoever gets the tasks next finds them there.
		settings := []morningai.AppOption{morningai.WithConcurrency(window), morningai.WithQueues(map[string]int{q: 1}), morningai.WithGrace(0),
			morningai.WithNode(opts.Node), morningai.WithLogger(opts.Logger)}
		if opts.Lease != 0 {
			settings = append(settings, morningai.WithLease(opts.Lease))
		}
		app := morningai.New(&relay{Engine: engine, b: b}, settings...)
		app.HandleFunc(innerType, b.handle)
		b.apps = append(b.apps, app)
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b, nil
}

// innerType is what the bridge's apps call every task of RQ.
const innerType = "rq"

// Start begins to deliver and to follow.
func (b *Bridge) Start(ctx context.Context) error {
	for i, app := range b.apps {
		if err := app.Start(ctx); err != nil {
			for _, begun := range b.apps[:i] {
				err = errors.Join(err, begun.Stop(ctx))
			}
			return err
		}
	}
	b.loops.Go(b.discover)
	b.loops.Go(b.watch)
	return nil
}

// Stop ends it. Jobs stay in RQ, and their tasks go back to their queues: the next
// server that gets them follows on.
func (b *Bridge) Stop(ctx context.Context) error {
	b.stop()
	errs := make([]error, len(b.apps))
	var all sync.WaitGroup
	for i, app := range b.apps {
		all.Go(func() { errs[i] = app.Stop(ctx) })
	}
	all.Wait()
	b.loops.Wait()
	for _, app := range b.apps {
		app.Client.Close()
	}
	return errors.Join(errs...)
}

// Middleware is Check, and notes the types that this server accepts.
func (b *Bridge) Middleware(next morningai.EnqueueFunc) morningai.EnqueueFunc {
	return func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
		receipts, err := next(ctx, specs)
		for i := range receipts {
			if t := &receipts[i].Task; receipts[i].Err == nil {
				b.see(t.Type, t.Queue)
			}
		}
		return receipts, err
	}
}

// see takes note of a type in one of the bridge's queues.
func (b *Bridge) see(taskType, queue string) {
	if !strings.HasPrefix(taskType, Prefix) || !b.queues[queue] {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.types[taskType] {
		return
	}
	b.types[taskType] = true
	close(b.more)
	b.more = make(chan struct{})
}

// known returns the types seen, and a channel that is closed when there are more.
func (b *Bridge) known() ([]string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	types := make([]string, 0, len(b.types))
	for t := range b.types {
		types = append(types, t)
	}
	return types, b.more
}

package redis

import (
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

// Option changes how Open sets up the engine.
type Option func(*options)

type options struct {
	timeout        time.Duration
	succeeded      time.Duration
	ended          time.Duration
	partitions     int
	anyEviction    bool
	logger         *slog.Logger
	sweep          time.Duration
	orphanGrace    time.Duration
	eventEntries   int
	eventAge       time.Duration
	clientName     string
	prefix         string
	laneAge        time.Duration
	member         morningai.ID
	remembered     bool // a journal keeps what was acknowledged
	marks          []byte
	acknowledged   []mark // by partition
	acknowledgedAt time.Time
	blockFor       time.Duration
	pauseOnFailure time.Duration
	now            func() time.Time
	clockEvery     time.Duration
	deferred       bool
	data           morningai.DataSet // that the engine has worked on before
}

func defaults() options {
	return options{
		timeout: 2 * time.Second, succeeded: 24 * time.Hour, ended: 7 * 24 * time.Hour,
		logger: slog.New(slog.DiscardHandler), sweep: 30 * time.Second, orphanGrace: 15 * time.Second,
		eventEntries: 10_000, eventAge: 10 * time.Minute, clientName: "morningai", prefix: "mai",
		laneAge: 7 * 24 * time.Hour, blockFor: 5 * time.Second, pauseOnFailure: 200 * time.Millisecond, now: time.Now, clockEvery: 30 * time.Second,
	}
}

// WithTimeout bounds how long a call waits for Redis; 2 s by default. A claim
// may take longer by the time it is asked to wait. A connection on which nothing
// is answered for half of it is given up, and a new one has to come about within
// a sixth, 250 ms to 1 s.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithRetention says how long ended tasks stay readable unless they say
// otherwise: those that succeeded (24 h by default), and those that failed or
// were canceled (168 h).
func WithRetention(succeeded, others time.Duration) Option {
	return func(o *options) { o.succeeded, o.ended = succeeded, others }
}

// WithPartitions sets the number of partitions, 1 to 256. The first engine that
// opens an empty Redis decides it; an engine that asks for another number is
// refused. The default is 1. Order and priority hold within a partition; with
// more than one, queues cannot be limited (they can be paused), and a task with
// a unique key cannot bring an id of its own, except one of [Engine.Prepare].
func WithPartitions(n int) Option { return func(o *options) { o.partitions = n } }

// WithDeferredStart lets Open return at once, without Redis: it connects and
// checks the server at the first call, and again until that has succeeded. Until
// then every method returns why it has not: an [ErrUnavailable] while Redis is
// away, or an [ErrWrongRedis] while it must not be used.
func WithDeferredStart() Option { return func(o *options) { o.deferred = true } }

// WithDataSet tells which data the engine has worked on before, by
// [morningai.Capabilities] of an earlier one. A Redis that holds other data is
// refused as [ErrWrongRedis], an empty one gets the name again, and one that has
// not come as far has lost something.
func WithDataSet(d morningai.DataSet) Option { return func(o *options) { o.data = d } }

// WithAcknowledged tells what an earlier engine of this node was acknowledged, by its
// [Engine.Acknowledged], and when it said so. A Redis that has less of it has lost
// something while nobody looked, and the loss is noticed at the start. Given even if
// there is nothing yet, it keeps what this engine is acknowledged on record after
// Close, for the next.
func WithAcknowledged(marks []byte, at time.Time) Option {
	return func(o *options) { o.remembered, o.marks, o.acknowledgedAt = true, marks, at }
}

// WithMember names the journal of this engine's node: what Redis has on record of it
// is then in [morningai.Capabilities].
func WithMember(journal morningai.ID) Option { return func(o *options) { o.member = journal } }

// WithAnyEviction accepts a Redis that evicts keys when its memory is full. It
// will then lose tasks without an error.
func WithAnyEviction() Option { return func(o *options) { o.anyEviction = true } }

// WithLogger sets where warnings about the Redis server go. By default nowhere.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithSweep sets how often an idle engine looks for ended tasks whose time is
// over; 30 s by default, and up to twice that while there are none.
func WithSweep(d time.Duration) Option { return func(o *options) { o.sweep = d } }

// WithOrphanGrace sets how long an imported running task waits for its session
// to beat before it goes back to its queue; 15 s by default.
func WithOrphanGrace(d time.Duration) Option { return func(o *options) { o.orphanGrace = d } }

// WithEventsKept bounds the event stream: batches of events (10,000 by default)
// and their age (10 minutes).
func WithEventsKept(entries int, age time.Duration) Option {
	return func(o *options) { o.eventEntries, o.eventAge = entries, age }
}

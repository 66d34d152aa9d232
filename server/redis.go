package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/resilient"
	"github.com/RC918/morningai/sqlite"
)

// Codes of errors that only a server on Redis has.
const (
	// CodeRedisUnavailable: Redis does not answer or takes no writes, and there
	// is no journal to go on with. What was asked for may have been done.
	CodeRedisUnavailable = redis.CodeUnavailable
	// CodeWrongRedis: this Redis must not be used as it is set up.
	CodeWrongRedis = redis.CodeWrongRedis
)

// Redis says where tasks live that several servers share.
type Redis struct {
	// URL is the address in a form that redis.Open reads, with the password, if
	// there is one: it is never logged, and in no error. "": the tasks live in
	// the data folder.
	URL string
	// NoJournal keeps no journal in the data folder. What is given up: while
	// Redis is away nothing is accepted, nothing new runs and the server does not
	// start; and what Redis loses is lost.
	NoJournal bool
	// Durability says where a task must be before it is acknowledged;
	// morningai.DurabilityBoth if "".
	Durability morningai.Durability
	// JournalLimit and JournalMinFree bound the journal: its size, and the space
	// that has to stay free on its disk, in bytes; 0 sets no bound. Beyond them
	// tasks are refused with morningai.ErrStorageFull.
	JournalLimit, JournalMinFree int64
	// AllowEviction accepts a Redis that evicts keys when its memory is full,
	// and so loses tasks without an error.
	AllowEviction bool
}

const (
	journalFile = "journal.db"

	redisTimeout    = 2 * time.Second  // of a call
	redisOpenTime   = 15 * time.Second // of connecting and looking at the server
	redisTimeoutTry = 3 * time.Second  // of the first look at a server that may be away
	// With a journal a call need not wait for a Redis that does not answer.
	redisTimeoutJournal = 900 * time.Millisecond
)

// openEngine opens where the tasks live.
func openEngine(ctx context.Context, c *Config, url func() string, ask resilient.Asker) (morningai.Engine, error) {
	if c.Redis.URL != "" {
		return openRedis(ctx, c, url, ask)
	}
	durability := sqlite.SyncFull
	if c.SyncNormal {
		durability = sqlite.SyncNormal
	}
	return sqlite.Open(ctx, filepath.Join(c.Data, tasksFile), sqlite.WithSync(durability), sqlite.WithLogger(c.Logger),
		sqlite.WithRetention(c.RetainSucceeded, c.RetainFailed), sqlite.WithMaxEnded(c.RetainCount))
}

func openRedis(ctx context.Context, c *Config, url func() string, ask resilient.Asker) (morningai.Engine, error) {
	var bad []morningai.FieldError
	if c.RetainSucceeded < 0 || c.RetainFailed < 0 {
		bad = append(bad, morningai.FieldError{Location: "retention", Message: "must not be negative"})
	}
	if c.RetainCount != 0 {
		bad = append(bad, morningai.FieldError{Location: "retain count", Message: "must be 0: only the embedded engine bounds ended tasks by their number"})
	}
	if len(bad) > 0 {
		return nil, morningai.InvalidInput("open redis", bad...)
	}
	timeout := redisTimeout
	if !c.Redis.NoJournal {
		timeout = redisTimeoutJournal
	}
	if c.Lease > 0 {
		timeout = min(timeout, c.Lease) // a call that takes longer than the lease has missed its purpose
	}
	opts := []redis.Option{redis.WithLogger(c.Logger), redis.WithRetention(c.RetainSucceeded, c.RetainFailed), redis.WithTimeout(timeout)}
	if c.Redis.AllowEviction {
		opts = append(opts, redis.WithAnyEviction())
	}
	open := openShared
	if !c.Redis.NoJournal {
		open = openWithJournal
	}
	engine, err := open(ctx, c, opts, url, ask)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.Data, tasksFile)); err == nil {
		c.Logger.Warn("the data folder holds tasks of the embedded engine, which do not run while the engine is Redis",
			"hint", "start without a Redis address to run them")
	}
	return engine, nil
}

// openShared opens Redis alone, which has to be there.
func openShared(ctx context.Context, c *Config, opts []redis.Option, _ func() string, _ resilient.Asker) (morningai.Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, redisOpenTime)
	defer cancel()
	engine, err := redis.Open(ctx, c.Redis.URL, opts...)
	if err != nil {
		return nil, advised(err)
	}
	return engine, nil
}

// openWithJournal opens Redis and the node's journal. Redis may be away; one
// that must not be used as it is set up is refused if it can be seen now.
func openWithJournal(ctx context.Context, c *Config, opts []redis.Option, url func() string, ask resilient.Asker) (_ morningai.Engine, err error) {
	sync := sqlite.SyncFull
	if c.SyncNormal {
		sync = sqlite.SyncNormal
	}
	journal, err := sqlite.Open(ctx, filepath.Join(c.Data, journalFile), sqlite.WithSync(sync), sqlite.WithLogger(c.Logger),
		sqlite.WithRetention(c.RetainSucceeded, c.RetainFailed))
	if err != nil {
		return nil, err
	}
	opened := []interface{ Close() error }{journal}
	defer func() {
		for i := len(opened) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, opened[i].Close())
		}
	}()
	past, err := knownOf(ctx, journal)
	if err != nil {
		return nil, err
	}
	shared, err := redis.Open(ctx, c.Redis.URL, append(append(opts, past...), redis.WithDeferredStart())...)
	if err != nil {
		return nil, advised(err)
	}
	opened = append(opened, shared)
	try, cancel := context.WithTimeout(ctx, redisTimeoutTry)
	defer cancel()
	if err := shared.Probe(try); errors.Is(err, redis.ErrWrongRedis) || errors.Is(err, morningai.ErrNewerFormat) {
		return nil, advised(err)
	}
	engine, err := resilient.Open(ctx, shared, journal, resilient.WithLogger(c.Logger), resilient.WithDurability(c.Redis.Durability),
		resilient.WithLimits(c.Redis.JournalLimit, c.Redis.JournalMinFree), resilient.WithPrepare(shared.Prepare),
		resilient.WithNode(nodeName(c.Node), url, c.Version), resilient.WithAsker(ask), resilient.WithPeers(c.Peers...), resilient.WithMarks(shared.Acknowledged))
	if err != nil {
		return nil, err
	}
	return engine, nil
}

// knownOf tells the engine of Redis what the journal of its node knows of it.
func knownOf(ctx context.Context, journal morningai.Journal) ([]redis.Option, error) {
	past, err := resilient.ReadPast(ctx, journal)
	return []redis.Option{redis.WithDataSet(past.Data), redis.WithAcknowledged(past.Marks, past.MarkedAt), redis.WithMember(past.Member)}, err
}

// nodeName is what the fleet calls this server.
func nodeName(given string) string {
	if given != "" {
		return given
	}
	name, err := os.Hostname()
	if err != nil {
		return "" // the app names its attempts the same way
	}
	return name
}

// advised adds the settings of the server to the advice of the engine.
func advised(err error) error {
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok {
		return err
	}
	more := *e
	switch {
	case e.Code == CodeRedisUnavailable:
		more.Hint += "; without a journal a server starts only while it can reach Redis"
	case e.Code == CodeWrongRedis && strings.Contains(e.Detail, "maxmemory-policy"):
		more.Hint += "; --redis-allow-eviction starts it anyway"
	default:
		return err
	}
	return &more
}

// stopApp drains the app. That Redis cannot be told of the end of the session
// is no failure of the stop: the other servers notice it by themselves.
func (s *Server) stopApp(ctx context.Context) error {
	err := errors.Join(s.stopBridge(ctx), s.withoutOutage(s.app.Stop(ctx)))
	s.reportUndelivered(ctx)
	return err
}

// withoutOutage leaves out of an error that Redis could not be told of the end.
func (s *Server) withoutOutage(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var kept []error
	for _, err := range joined.Unwrap() {
		if errors.Is(err, redis.ErrUnavailable) {
			s.opts.Logger.Warn("Redis was not told that this server stops; the others notice within its lease", "error", err)
			continue
		}
		kept = append(kept, err)
	}
	return errors.Join(kept...)
}

// reportUndelivered says what only this server has when it stops in an outage.
func (s *Server) reportUndelivered(ctx context.Context) {
	fleet, ok := s.app.Engine().(morningai.Fleet)
	if !ok {
		return
	}
	n, err := fleet.Undelivered(ctx)
	switch {
	case err != nil:
		s.opts.Logger.Warn("how much is undelivered cannot be told", "error", err)
	case n > 0:
		s.opts.Logger.Warn("the journal of this server holds entries that Redis has still to get", "undelivered", n,
			"hint", "start the server again on the same data folder and Redis, or deliver them with: morningai journal drain --data DIR")
	}
}

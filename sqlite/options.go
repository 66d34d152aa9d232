package sqlite

import (
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

// Sync says when a write counts as done.
type Sync uint8

// The ways to sync.
const (
	// SyncFull waits for the disk at every commit: what was acknowledged
	// survives a crash of the machine.
	SyncFull Sync = iota
	// SyncNormal does not wait: what was acknowledged survives a crash of the
	// process, but the last moments may be lost with the machine.
	SyncNormal
)

// Option changes how an engine works.
type Option func(*config)

type config struct {
	sync               Sync
	succeeded, failed  time.Duration
	maxEnded           int
	maxBytes           int64
	logger             *slog.Logger
	clock              func() time.Time
	realClock          bool
	readyMax, cacheMax int           // per line and priority; rows
	checkpoint         int           // pages of log after which it is copied into the file
	unfinished         bool          // open a file that a restore has left half done
	orphanGrace        time.Duration // how long an imported running task waits for its session
	takeBack           bool          // what workers in other processes ran goes back at once
}

func newConfig(opts []Option) config {
	cfg := config{
		succeeded:  24 * time.Hour,
		failed:     7 * 24 * time.Hour,
		logger:     slog.New(slog.DiscardHandler),
		clock:      time.Now,
		realClock:  true,
		readyMax:   64 << 10,
		cacheMax:   8 << 10,
		checkpoint: 2000,

		orphanGrace: 15 * time.Second,
	}
	for _, o := range opts {
		o(&cfg)
	}
	return cfg
}

func (c *config) validate() error {
	var bad []morningai.FieldError
	add := func(ok bool, location, message string) {
		if !ok {
			bad = append(bad, morningai.FieldError{Location: location, Message: message})
		}
	}
	add(c.sync <= SyncNormal, "sync", "must be full or normal")
	add(c.succeeded >= 0 && c.succeeded <= morningai.MaxRetention, "retention of succeeded tasks", "must be a duration from 0s to 87600h")
	add(c.failed >= 0 && c.failed <= morningai.MaxRetention, "retention of failed tasks", "must be a duration from 0s to 87600h")
	add(c.maxEnded >= 0, "bound of ended tasks", "must not be negative")
	add(c.maxBytes == 0 || c.maxBytes >= minBytes, "size limit", "must be at least 1 MiB")
	add(c.logger != nil, "logger", "must not be nil")
	add(c.clock != nil, "clock", "must not be nil")
	if len(bad) > 0 {
		return morningai.InvalidInput("open engine", bad...)
	}
	return nil
}

const minBytes = 1 << 20

// WithSync chooses between SyncFull, the default, and SyncNormal.
func WithSync(s Sync) Option { return func(c *config) { c.sync = s } }

// WithRetention sets how long ended tasks stay readable unless they say so
// themselves: succeeded and canceled ones, and failed ones. The defaults are 24
// and 168 hours.
func WithRetention(succeeded, failed time.Duration) Option {
	return func(c *config) { c.succeeded, c.failed = succeeded, failed }
}

// WithMaxEnded bounds how many ended tasks a queue keeps readable; the oldest
// beyond it go before their time. 0, the default, sets no bound.
func WithMaxEnded(perQueue int) Option { return func(c *config) { c.maxEnded = perQueue } }

// WithMaxBytes bounds the size of the database file. Beyond it new tasks are
// refused with morningai.ErrStorageFull; a reserve is kept so that running
// tasks can still record how they end. 0, the default, sets no bound.
func WithMaxBytes(n int64) Option { return func(c *config) { c.maxBytes = n } }

// WithUnfinishedRestore opens a file although it holds only a part of a backup
// ([morningai.RestoreState]), to go on with the restore. Without it such a file
// is a morningai.ErrConflict.
func WithUnfinishedRestore() Option { return func(c *config) { c.unfinished = true } }

// WithoutRemoteWorkers returns what workers in other processes were running
// (morningai.BeatRequest.Remote) to its queues at once, for a process to which
// they cannot report.
func WithoutRemoteWorkers() Option { return func(c *config) { c.takeBack = true } }

// WithLogger sets where the engine reports what it cannot return to a caller.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithClock replaces the wall clock, for tests. The engine looks at it at least
// every 20 ms.
func WithClock(now func() time.Time) Option {
	return func(c *config) { c.clock, c.realClock = now, false }
}

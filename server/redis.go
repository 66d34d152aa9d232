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
	"github.com/RC918/morningai/sqlite"
)

// Codes of errors that only a server on Redis has.
const (
	// CodeRedisUnavailable: Redis does not answer or takes no writes. What was
	// asked for may have been done.
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
	// AllowEviction accepts a Redis that evicts keys when its memory is full,
	// and so loses tasks without an error.
	AllowEviction bool
}

const (
	redisTimeout  = 2 * time.Second  // of a call
	redisOpenTime = 15 * time.Second // of connecting and looking at the server
)

// openEngine opens where the tasks live.
func openEngine(ctx context.Context, c *Config) (morningai.Engine, error) {
	if c.Redis.URL != "" {
		return openRedis(ctx, c)
	}
	durability := sqlite.SyncFull
	if c.SyncNormal {
		durability = sqlite.SyncNormal
	}
	return sqlite.Open(ctx, filepath.Join(c.Data, tasksFile), sqlite.WithSync(durability), sqlite.WithLogger(c.Logger),
		sqlite.WithRetention(c.RetainSucceeded, c.RetainFailed), sqlite.WithMaxEnded(c.RetainCount))
}

func openRedis(ctx context.Context, c *Config) (morningai.Engine, error) {
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
	opts := []redis.Option{redis.WithLogger(c.Logger), redis.WithRetention(c.RetainSucceeded, c.RetainFailed)}
	if c.Lease > 0 {
		// A call that takes longer than the lease has missed its purpose.
		opts = append(opts, redis.WithTimeout(min(redisTimeout, c.Lease)))
	}
	if c.Redis.AllowEviction {
		opts = append(opts, redis.WithAnyEviction())
	}
	ctx, cancel := context.WithTimeout(ctx, redisOpenTime)
	defer cancel()
	engine, err := redis.Open(ctx, c.Redis.URL, opts...)
	if err != nil {
		return nil, advised(err)
	}
	if _, err := os.Stat(filepath.Join(c.Data, tasksFile)); err == nil {
		c.Logger.Warn("the data folder holds tasks of the embedded engine, which do not run while the engine is Redis",
			"hint", "start without a Redis address to run them")
	}
	return engine, nil
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
		more.Hint += "; a server on Redis starts only while it can reach it"
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
	err := s.app.Stop(ctx)
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/RC918/morningai"
	mairedis "github.com/RC918/morningai/redis"
	"github.com/redis/go-redis/v9"
)

func redisContenders() []contender {
	return []contender{
		{ours, "github.com/RC918/morningai", "AOF everysec; kept 24 h", openOnRedis, 60_000},
		{"asynq", "github.com/hibiken/asynq", "AOF everysec; deleted, but for the row that keeps 24 h", openAsynq, 15_000},
	}
}

// Slots: how many tasks a system runs at once, where that suited it best. asynq
// has 8 servers of 16; here it is one node of 256, or 16 nodes of
// 16, or of 256 each.
const (
	slots      = 256
	asynqSlots = 128
)

// result is what handlers return where results are kept.
var result = map[string]string{"answer": strings.Repeat("abcdefghij", 6)}

type redisNode struct {
	engine *mairedis.Engine
	app    *morningai.App
	task   *morningai.Definition[work, any]
}

// redisSystem is one node, or a fleet of them of which the first enqueues.
type redisSystem struct {
	nodes  []redisNode
	server *redis.Client // nil on a Cluster, whose servers its starter asks
	keep   bool
	handle func(int)
	works  bool
}

func openOnRedis(ctx context.Context, where string, t tuning) (system, error) {
	s := &redisSystem{keep: t == forKeeping}
	if addr, single := strings.CutPrefix(where, "redis://"); single {
		s.server = redis.NewClient(&redis.Options{Addr: addr})
	}
	nodes, each := 1, slots
	switch t {
	case forFleet:
		nodes, each = 16, slots/16
	case forAlike:
		nodes = 16
	}
	for range nodes {
		engine, err := mairedis.Open(ctx, where)
		if err != nil {
			return nil, errors.Join(err, s.close(ctx))
		}
		app := morningai.New(engine, morningai.WithConcurrency(each),
			morningai.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
		task := morningai.Handle(app, "work", func(_ context.Context, w work) (any, error) {
			s.handle(w.N)
			if s.keep {
				return result, nil
			}
			return nil, nil
		})
		s.nodes = append(s.nodes, redisNode{engine: engine, app: app, task: task})
	}
	return s, nil
}

func (s *redisSystem) enqueue(ctx context.Context, w work) error {
	_, err := s.nodes[0].task.Enqueue(ctx, w)
	return err
}

func (s *redisSystem) bulk(ctx context.Context, ws []work) error {
	tasks, err := s.nodes[0].task.EnqueueBatch(ctx, ws)
	if err == nil && len(tasks) != len(ws) {
		err = fmt.Errorf("accepted %d of %d", len(tasks), len(ws))
	}
	return err
}

func (s *redisSystem) start(ctx context.Context, handle func(int)) error {
	s.handle, s.works = handle, true
	for _, n := range s.nodes {
		if err := n.app.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *redisSystem) stored(ctx context.Context) (counts, error) {
	return storedIn(ctx, s.nodes[0].app)
}

func (s *redisSystem) usage(ctx context.Context) (usage, error) {
	if s.server == nil {
		return usage{}, nil
	}
	return usageOf(ctx, s.server)
}

func (s *redisSystem) close(ctx context.Context) error {
	var errs []error
	for _, n := range s.nodes {
		if s.works {
			errs = append(errs, n.app.Stop(ctx))
		}
		errs = append(errs, n.engine.Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	return errors.Join(errs...)
}

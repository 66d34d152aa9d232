package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

type asynqSystem struct {
	redis   *redis.Client
	client  *asynq.Client
	servers []*asynq.Server
	tuning  tuning
	works   bool
}

func openAsynq(_ context.Context, where string, t tuning) (system, error) {
	// A connection for each producer; the default pool has ten per CPU.
	c := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(where, "redis://"), PoolSize: 2 * slots})
	return &asynqSystem{redis: c, client: asynq.NewClientFromRedisClient(c), tuning: t}, nil
}

func (s *asynqSystem) enqueue(ctx context.Context, w work) error {
	payload, err := json.Marshal(w)
	if err != nil {
		return err
	}
	var opts []asynq.Option
	if s.tuning == forKeeping {
		opts = append(opts, asynq.Retention(24*time.Hour))
	}
	_, err = s.client.EnqueueContext(ctx, asynq.NewTask("work", payload), opts...)
	return err
}

// bulk sends from 16 goroutines at once: there is no call for many tasks, and
// the measures have four of these beside each other.
func (s *asynqSystem) bulk(ctx context.Context, ws []work) error {
	const n = 16
	return parallel(n, func(i int) error {
		for ; i < len(ws); i += n {
			if err := s.enqueue(ctx, ws[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// start runs 8 servers of 16: one server claims with a single goroutine and
// stays at a third of that. For the latency one server that looks every
// millisecond is better than 8 of them, which keep Redis busy with looking.
func (s *asynqSystem) start(_ context.Context, handle func(int)) error {
	s.works = true
	servers, interval := 8, 5*time.Millisecond
	if s.tuning == forLatency {
		servers, interval = 1, time.Millisecond
	}
	handler := asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		var w work
		if err := json.Unmarshal(t.Payload(), &w); err != nil {
			return err
		}
		handle(w.N)
		if s.tuning != forKeeping {
			return nil
		}
		b, err := json.Marshal(result)
		if err != nil {
			return err
		}
		_, err = t.ResultWriter().Write(b)
		return err
	})
	for range servers {
		server := asynq.NewServerFromRedisClient(s.redis, asynq.Config{
			Concurrency: asynqSlots / servers, TaskCheckInterval: interval, LogLevel: asynq.FatalLevel,
		})
		if err := server.Start(handler); err != nil {
			return err
		}
		s.servers = append(s.servers, server)
	}
	return nil
}

// stored counts what asynq's keys hold. Finished tasks are its own count, or
// where they are kept, the kept ones.
func (s *asynqSystem) stored(ctx context.Context) (c counts, err error) {
	const q = "asynq:{default}:"
	pipe := s.redis.TxPipeline()
	pending, active := pipe.LLen(ctx, q+"pending"), pipe.LLen(ctx, q+"active")
	retry, archived := pipe.ZCard(ctx, q+"retry"), pipe.ZCard(ctx, q+"archived")
	kept, processed := pipe.ZCard(ctx, q+"completed"), pipe.Get(ctx, q+"processed")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return c, err
	}
	c.waiting = pending.Val() + active.Val() + retry.Val() + archived.Val()
	if c.finished = kept.Val(); s.tuning != forKeeping && processed.Err() == nil {
		c.finished, err = processed.Int64()
	}
	return c, err
}

func (s *asynqSystem) usage(ctx context.Context) (usage, error) { return usageOf(ctx, s.redis) }

func (s *asynqSystem) close(context.Context) error {
	for _, server := range s.servers {
		server.Shutdown()
	}
	return s.redis.Close()
}

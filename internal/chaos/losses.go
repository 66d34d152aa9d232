package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai/internal/drill"
)

func losses() []scenario {
	none := []string{"--appendonly", "no"}
	return []scenario{
		{name: "empty", what: "Redis comes back empty", redis: none, play: loss(func(ctx context.Context, f *fleet) error {
			return errors.Join(f.redis.Kill(), wait(ctx, f.config.Duration), f.redis.Restart())
		})},
		{name: "flushed", what: "somebody empties Redis while it is in use", play: loss(func(ctx context.Context, f *fleet) error {
			_, err := f.redis.Do("FLUSHALL")
			return errors.Join(err, wait(ctx, f.config.Duration))
		})},
		{name: "older", what: "Redis comes back with a snapshot of some seconds ago", redis: none, play: func(ctx context.Context, f *fleet) error {
			if _, err := f.redis.Do("SAVE"); err != nil {
				return err
			}
			if err := wait(ctx, 2*time.Second); err != nil {
				return err
			}
			f.from = time.Now()
			return loss(func(ctx context.Context, f *fleet) error {
				return errors.Join(f.redis.Kill(), wait(ctx, f.config.Duration), f.redis.Restart())
			})(ctx, f)
		}},
		{name: "tail-lost", what: "the end of the append-only file of Redis is gone", play: tailLost},
		{name: "replaced", what: "a new Redis without data comes to the old address", play: loss(func(ctx context.Context, f *fleet) error {
			return errors.Join(f.redis.Kill(), os.RemoveAll(filepath.Join(f.redis.Dir(), "appendonlydir")), wait(ctx, f.config.Duration), f.redis.Restart())
		})},
		{name: "key-deleted", what: "somebody deletes a key in Redis while it is in use", play: loss(deleteRecords)},
		{name: "keys-deleted", what: "somebody deletes every key in Redis, one after another", play: deleteEachKey},
		{name: "key-overwritten", what: "somebody writes something else over a key in Redis, until it is removed", play: overwrite},
		{name: "script-flush", what: "the scripts in Redis are forgotten again and again", play: flushScripts, felt: func(_ context.Context, f *fleet) (int, error) {
			return f.errorsOf("NOSCRIPT")
		}},
		{name: "empty-with-all", what: "all servers are down while Redis comes back empty", redis: none, play: func(ctx context.Context, f *fleet) error {
			err := loss(func(ctx context.Context, f *fleet) error {
				err := f.redis.Kill()
				for _, n := range f.nodes {
					n.crash()
				}
				return errors.Join(err, wait(ctx, f.config.Duration), f.redis.Restart())
			})(ctx, f)
			for _, n := range f.nodes {
				err = errors.Join(err, n.restart(ctx))
			}
			return err
		}},
		{name: "older-with-all", what: "all servers are down while Redis is restored from a snapshot of some seconds ago", redis: none, play: func(ctx context.Context, f *fleet) error {
			if _, err := f.redis.Do("SAVE"); err != nil {
				return err
			}
			if err := wait(ctx, 2*time.Second); err != nil {
				return err
			}
			f.from = time.Now()
			err := loss(func(ctx context.Context, f *fleet) error {
				for _, n := range f.nodes {
					n.crash()
				}
				return errors.Join(f.redis.Kill(), wait(ctx, f.config.Duration), f.redis.Restart())
			})(ctx, f)
			for _, n := range f.nodes {
				err = errors.Join(err, n.restart(ctx))
			}
			return err
		}},
		{name: "flushed-cut-off", what: "Redis is emptied while one server is cut off, which comes back later", proxied: true, play: func(ctx context.Context, f *fleet) error {
			n := f.some()
			f.history.Add(drill.Op{Kind: drill.Cut, Node: n.name})
			n.proxy.BlackHoleAll()
			err := wait(ctx, time.Second)
			err = errors.Join(err, loss(func(ctx context.Context, f *fleet) error {
				_, err := f.redis.Do("FLUSHALL")
				return errors.Join(err, wait(ctx, f.config.Duration))
			})(ctx, f), n.proxy.Heal())
			f.history.Add(drill.Op{Kind: drill.Mended, Node: n.name})
			return err
		}},
		{name: "failover", what: "a replica takes over, and the old primary goes on acknowledging", group: true, play: failover},
		{name: "mix", what: "faults that the seed chooses, one after another", group: true, play: mix},
		{name: "empty-with-server", what: "a server is down while Redis comes back empty", redis: none, play: func(ctx context.Context, f *fleet) error {
			n := f.some()
			err := loss(func(ctx context.Context, f *fleet) error {
				err := f.redis.Kill()
				n.crash()
				return errors.Join(err, wait(ctx, f.config.Duration), f.redis.Restart())
			})(ctx, f)
			return errors.Join(err, n.restart(ctx))
		}},
	}
}

// tailLost takes the last seconds away from the file from which Redis starts again,
// within a command.
func tailLost(ctx context.Context, f *fleet) error {
	found, err := filepath.Glob(filepath.Join(f.redis.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("the append-only file is not one of %q (%v)", found, err)
	}
	was, err := os.Stat(found[0])
	if err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil {
		return err
	}
	f.from = time.Now()
	return loss(func(ctx context.Context, f *fleet) error {
		return errors.Join(f.redis.Kill(), os.Truncate(found[0], was.Size()+7), wait(ctx, f.config.Duration), f.redis.Restart())
	})(ctx, f)
}

// errorsOf is how often Redis has answered with an error.
func (f *fleet) errorsOf(token string) (int, error) {
	text, err := f.redis.Do("INFO", "errorstats")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(text, "errorstat_"+token+":count=")
	if !found {
		return 0, nil
	}
	digits, _, _ := strings.Cut(rest, "\r")
	return strconv.Atoi(digits)
}

// deleteRecords removes the key under which the tasks are.
func deleteRecords(ctx context.Context, f *fleet) error {
	if gone, err := f.redis.Do("DEL", "mai:{0}:tasks"); err != nil || gone != "1" {
		return fmt.Errorf("%s keys are deleted: %w", gone, err)
	}
	return wait(ctx, f.config.Duration)
}

// deleteEachKey removes all keys one after the other, in an order that the seed
// chooses: some when the servers have got over the one before, some earlier.
func deleteEachKey(ctx context.Context, f *fleet) error {
	text, err := f.redis.Do("KEYS", "mai:*")
	if err != nil {
		return err
	}
	keys := strings.Fields(text)
	slices.Sort(keys)
	f.random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		patient := f.random.IntN(3) > 0
		f.history.Add(drill.Op{Kind: drill.RedisDown})
		lost := f.history.Begin(drill.Op{Kind: drill.RedisLost, Value: key})
		_, err := f.redis.Do("DEL", key)
		lost.Return(nil)
		f.step(key + " is deleted")
		if patient {
			err = errors.Join(err, wait(ctx, time.Second))
			f.relied(ctx) // if one never does, it does not settle either
		} else {
			err = errors.Join(err, wait(ctx, time.Duration(f.random.Int64N(int64(2*time.Second)))))
		}
		f.history.Add(drill.Op{Kind: drill.RedisUp})
		if err != nil {
			return err
		}
	}
	f.over()
	return nil
}

// relied waits until every server relies on Redis, or patience is at an end.
func (f *fleet) relied(ctx context.Context) {
	for _, n := range f.nodes {
		_ = until(ctx, "server "+n.name+" to rely on Redis", func() (bool, error) {
			h, err := n.client.Load().Health(ctx)
			return err == nil && h.Status == "ok", ctx.Err()
		})
	}
}

// overwrite puts a value of another kind where the servers keep which tasks are
// ready, until every server has named the key.
func overwrite(ctx context.Context, f *fleet) error {
	const key = "mai:{0}:ready"
	return loss(func(ctx context.Context, f *fleet) error {
		if _, err := f.redis.Do("SET", key, "something"); err != nil {
			return err
		}
		err := wait(ctx, f.config.Duration)
		for _, n := range f.nodes {
			err = errors.Join(err, until(ctx, "server "+n.name+" to name the key", func() (bool, error) {
				h, err := n.client.Load().Health(ctx)
				return err == nil && strings.Contains(h.Redis.Cause, key) && strings.Contains(h.Redis.Hint, "DEL "+key), ctx.Err()
			}))
		}
		_, err2 := f.redis.Do("DEL", key)
		return errors.Join(err, err2)
	})(ctx, f)
}

func flushScripts(ctx context.Context, f *fleet) error {
	end := time.Now().Add(f.config.Duration)
	for time.Now().Before(end) {
		if _, err := f.redis.Do("SCRIPT", "FLUSH"); err != nil {
			return err
		}
		if err := wait(ctx, time.Duration(20+f.random.IntN(200))*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// failover loses the primary, and works on with the new one.
func failover(ctx context.Context, f *fleet) error {
	err := failoverOnce(ctx, f)
	f.to = f.promoted
	return errors.Join(err, wait(ctx, f.config.Duration))
}

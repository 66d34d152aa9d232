package sqlite

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

type queueWork struct {
	name   string
	change morningai.QueueChange
	result morningai.QueueConfig
}

func (w *queueWork) size() int { return 1 }

// SetQueue implements morningai.Engine. A change that changes nothing leaves
// the version as it is.
func (e *Engine) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	if err := e.ready(ctx); err != nil {
		return morningai.QueueConfig{}, err
	}
	if err := change.Validate(name); err != nil {
		return morningai.QueueConfig{}, err
	}
	w := &queueWork{name: name, change: change}
	if err := e.submit(ctx, w); err != nil {
		return morningai.QueueConfig{}, err
	}
	return w.result, nil
}

func (w *queueWork) apply(t *txn) error {
	cfg, stored := t.config(w.name)
	next := w.change.Apply(cfg, t.now)
	next.Version = max(next.Version, 1)
	w.result = next
	if stored && next == cfg {
		return nil
	}
	t.configs = append(t.configs, next)
	paused := int64(0)
	if next.Paused {
		paused = 1
	}
	s := t.e.sql.queuePut
	s.text(1, next.Name)
	s.int(2, paused)
	s.int(3, int64(next.Concurrency))
	s.int(4, int64(next.Rate.Count))
	s.int(5, int64(next.Rate.Per))
	s.int(6, next.Version)
	s.int(7, changedAt(next.Changed.Paused))
	s.int(8, changedAt(next.Changed.Concurrency))
	s.int(9, changedAt(next.Changed.Rate))
	return s.exec()
}

// changedAt is a time of change as it is stored; 0 for never.
func changedAt(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}

func ofMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// config returns a queue's settings as the transaction sees them.
func (t *txn) config(name string) (cfg morningai.QueueConfig, stored bool) {
	for i := len(t.configs) - 1; i >= 0; i-- {
		if t.configs[i].Name == name {
			return t.configs[i], true
		}
	}
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if q := t.e.queues[name]; q != nil {
		return q.config, q.stored
	}
	return morningai.QueueConfig{Name: name}, false
}

// applyConfig makes stored settings count. Engine.mu is held.
func (e *Engine) applyConfig(cfg morningai.QueueConfig, now time.Time) {
	q := e.queueFor(cfg.Name)
	if q.config.Rate != cfg.Rate {
		q.bucket = newBucket(cfg.Rate, now)
	}
	q.config, q.stored = cfg, true
}

package resilient

import (
	"context"

	"github.com/RC918/morningai"
)

// setQueueOp changes the settings of a queue.
type setQueueOp struct {
	name   string
	change morningai.QueueChange
	done   func(morningai.QueueConfig, error)
}

func (c *core) setQueue(op *setQueueOp) {
	if c.contact.open() {
		c.setQueueLater(op, nil)
		return
	}
	onShared(c, "set queue", c.cfg.limits.call, func(ctx context.Context) (morningai.QueueConfig, error) {
		return c.remote.SetQueue(ctx, op.name, op.change)
	}, func(q morningai.QueueConfig, err error) {
		if outage(err) {
			c.setQueueLater(op, err)
			return
		}
		if err == nil {
			c.mirror.told++
			c.obeyShared(q, op.change, func() { c.reply(func() { op.done(q, nil) }) })
			return
		}
		c.reply(func() { op.done(q, err) })
	})
}

// obey takes over the settings of one queue, before the next look at all, and
// calls then when nothing here oversteps them any more.
func (c *core) obey(q morningai.QueueConfig, then func()) {
	if c.mirror.Queues == nil {
		c.mirror.Queues = map[string]morningai.QueueConfig{}
	}
	c.mirror.Queues[q.Name] = q
	c.applyMirror(then)
}

// obeyShared takes over what the shared engine says of a queue after a change,
// unless something later is known: another answer has overtaken this one, or the
// shared engine has still to be told of what was set here.
func (c *core) obeyShared(q morningai.QueueConfig, change morningai.QueueChange, then func()) {
	known := c.mirror.Queues[q.Name]
	if known.Version > q.Version || c.backlog.settings > 0 {
		known.Name, known.Version = q.Name, max(known.Version, q.Version)
		if c.backlog.settings > 0 {
			known = changed(known, change)
		}
		q = known
	}
	c.obey(q, then)
}

// setQueueLater obeys a change here, and journals it for the others.
func (c *core) setQueueLater(op *setQueueOp, cause error) {
	if err := op.change.Validate(op.name); err != nil {
		c.reply(func() { op.done(morningai.QueueConfig{}, err) })
		return
	}
	note, err := jsonNote(keyOf(noteQueue, c.sequenceKey()), op.name, &setting{op.name, op.change, c.mirror.Queues[op.name]})
	if err != nil {
		c.reply(func() { op.done(morningai.QueueConfig{}, err) })
		return
	}
	c.backlog.settings++
	c.note([]morningai.Note{note}, func(err error) {
		if err != nil {
			c.backlog.settings--
			if cause != nil { // the shared engine may have taken them
				err = c.statusUnknown("set queue", cause)
			}
			c.reply(func() { op.done(morningai.QueueConfig{}, err) })
			return
		}
		q := c.mirror.Queues[op.name]
		q.Name = op.name
		q = changed(q, op.change)
		c.obey(q, func() {
			q.Pending = true
			c.reply(func() { op.done(q, nil) })
		})
		c.backlog.again(c)
	})
}

func changed(q morningai.QueueConfig, change morningai.QueueChange) morningai.QueueConfig {
	if change.Paused != nil {
		q.Paused = *change.Paused
	}
	if change.Concurrency != nil {
		q.Concurrency = *change.Concurrency
	}
	if change.Rate != nil {
		q.Rate = *change.Rate
	}
	return q
}

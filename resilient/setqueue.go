package resilient

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// setQueueOp changes the settings of a queue.
type setQueueOp struct {
	name   string
	change morningai.QueueChange
	tries  int // in vain, because of changes that were given elsewhere
	done   func(morningai.QueueConfig, error)
}

// setQueue tells the shared engine of a change, as of now by this node's clock: if
// the answer is lost, what is given here next has to be later, whatever the clock of
// the shared engine said.
func (c *core) setQueue(op *setQueueOp) {
	if c.contact.open() || c.backlog.settings > 0 && !c.partly() { // what was given here before goes first
		c.setQueueLater(op, nil)
		return
	}
	change, now := op.change, op.change.At.IsZero()
	if now && op.tries < surpassTries {
		change.At = c.given(op.name)
	}
	onShared(c, "set queue", c.cfg.limits.call, func(ctx context.Context) (morningai.QueueConfig, error) {
		return c.remote.SetQueue(ctx, op.name, change)
	}, func(q morningai.QueueConfig, err error) {
		switch {
		case outage(err):
			c.setQueueLater(op, err)
		case err != nil:
			c.reply(func() { op.done(q, err) })
		case now && !holds(&change, q) && op.tries < surpassTries: // a change that this node did not know of seems to be later
			op.tries++
			c.obeyShared(q, func() { c.setQueue(op) })
		default:
			c.mirror.told++
			c.obeyShared(q, func() { c.reply(func() { op.done(q, nil) }) })
		}
	})
}

// holds reports that settings are as a change has made them.
func holds(c *morningai.QueueChange, q morningai.QueueConfig) bool {
	return (c.Paused == nil || q.Paused == *c.Paused) && (c.Concurrency == nil || q.Concurrency == *c.Concurrency) && (c.Rate == nil || q.Rate == *c.Rate)
}

// surpassTries is how often a change is given again because another one was later
// by the clock of another node; then the shared engine says when it was.
const surpassTries = 3

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
// unless something later is known.
func (c *core) obeyShared(q morningai.QueueConfig, then func()) {
	c.obey(latest(q, c.mirror.Queues[q.Name]), then)
}

// latest are the settings of a queue as either has them, whichever was changed
// later.
func latest(q, other morningai.QueueConfig) morningai.QueueConfig {
	for _, change := range since(other, q) {
		q = change.Apply(q, time.Time{})
	}
	q.Version = max(q.Version, other.Version)
	return q
}

// since are the changes that lead from settings to those of q that were changed
// later.
func since(q, from morningai.QueueConfig) (changes []morningai.QueueChange) {
	if q.Changed.Paused.After(from.Changed.Paused) {
		changes = append(changes, morningai.QueueChange{Paused: &q.Paused, At: q.Changed.Paused})
	}
	if q.Changed.Concurrency.After(from.Changed.Concurrency) {
		changes = append(changes, morningai.QueueChange{Concurrency: &q.Concurrency, At: q.Changed.Concurrency})
	}
	if q.Changed.Rate.After(from.Changed.Rate) {
		changes = append(changes, morningai.QueueChange{Rate: &q.Rate, At: q.Changed.Rate})
	}
	return changes
}

// given is when a change is given that cannot be told at once: later than what
// this node knows to have been changed, whatever the clocks of the others say.
func (c *core) given(name string) time.Time {
	changed := c.mirror.Queues[name].Changed
	at := c.now.UTC().Truncate(time.Millisecond)
	for _, known := range []time.Time{changed.Paused, changed.Concurrency, changed.Rate, c.mirror.given} {
		if next := known.Add(time.Millisecond); at.Before(next) {
			at = next
		}
	}
	c.mirror.given = at
	return at
}

// setQueueLater obeys a change here, and journals it for the others.
func (c *core) setQueueLater(op *setQueueOp, cause error) {
	if err := op.change.Validate(op.name); err != nil {
		c.reply(func() { op.done(morningai.QueueConfig{}, err) })
		return
	}
	if op.change.At.IsZero() {
		op.change.At = c.given(op.name)
	}
	note, err := jsonNote(keyOf(noteQueue, c.sequenceKey()), op.name, &setting{op.name, op.change})
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
		q = op.change.Apply(q, c.now)
		c.obey(q, func() {
			q.Pending = true
			c.reply(func() { op.done(q, nil) })
		})
		c.backlog.again(c)
	})
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

type queueCmd struct {
	List   queueListCmd   `cmd:"" help:"List queues and what they hold."`
	Get    queueGetCmd    `cmd:"" help:"Show a queue."`
	Pause  queuePauseCmd  `cmd:"" help:"Start no more tasks of a queue."`
	Resume queueResumeCmd `cmd:"" help:"Start tasks of a paused queue again."`
	Set    queueSetCmd    `cmd:"" help:"Limit a queue."`
}

// queueRef names one queue.
type queueRef struct {
	Name string `arg:"" help:"Name of the queue."`
}

// check keeps names that no queue can have from being sent.
func (r queueRef) check() error {
	if !morningai.ValidName(r.Name) {
		return usage("the name of a queue "+morningai.NameRule, "")
	}
	return nil
}

// change applies a change to the queue and prints the queue.
func (r queueRef) change(ctx context.Context, s streams, c *connection, change morningai.QueueChange) error {
	if err := r.check(); err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		q, err := l.SetQueue(ctx, r.Name, change)
		if err == nil && q.Pending {
			fmt.Fprintln(s.err, "note: pending: it holds on this server, and Redis is told when it is back")
		}
		return describeQueue(q, time.Now()), err
	})
}

func queueState(q morningai.QueueInfo) string {
	if q.Paused {
		return warn.Render("paused")
	}
	return "active"
}

func limit[T fmt.Stringer](isSet bool, v T) string {
	if !isSet {
		return "-"
	}
	return v.String()
}

type number int

func (n number) String() string { return fmt.Sprint(int(n)) }

func describeQueue(q morningai.QueueInfo, now time.Time) string {
	count := func(s morningai.State) string { return fmt.Sprint(q.Counts[s]) }
	return fields([][2]string{
		{"name", q.Name},
		{"state", queueState(q)},
		{"concurrency", limit(q.Concurrency > 0, number(q.Concurrency))},
		{"rate", limit(!q.Rate.IsZero(), q.Rate)},
		{"queued", count(morningai.StateQueued)},
		{"running", count(morningai.StateRunning)},
		{"scheduled", fmt.Sprintf("%d (%d of them retries)", q.Counts[morningai.StateScheduled], q.Counts[morningai.StateRetrying])},
		{"succeeded", count(morningai.StateSucceeded)},
		{"failed", count(morningai.StateFailed)},
		{"canceled", count(morningai.StateCanceled)},
		{"oldest", moment(q.OldestQueuedAt, now)},
	}...)
}

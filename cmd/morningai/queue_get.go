package main

import (
	"context"
	"time"
)

type queueGetCmd struct {
	queueRef
	connection
}

// Run prints one queue.
func (c *queueGetCmd) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		q, err := l.Queue(ctx, c.Name)
		return describeQueue(q, time.Now()), err
	})
}

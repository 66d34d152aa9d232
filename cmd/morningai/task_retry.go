package main

import (
	"context"

	"github.com/RC918/morningai"
)

type taskRetryCmd struct {
	taskRef
	connection
}

// Run starts another life of an ended task, or the next attempt at once.
func (c *taskRetryCmd) Run(ctx context.Context, s streams) error {
	return command(ctx, s, &c.connection, c.taskRef, func(l *link, ctx context.Context, id morningai.ID) (*morningai.Task, error) {
		return l.Retry(ctx, id)
	})
}

package main

import (
	"context"

	"github.com/RC918/morningai"
)

type taskRunCmd struct {
	taskRef
	connection
}

// Run makes a scheduled task run now.
func (c *taskRunCmd) Run(ctx context.Context, s streams) error {
	return command(ctx, s, &c.connection, c.taskRef, func(l *link, ctx context.Context, id morningai.ID) (*morningai.Task, error) {
		return l.RunNow(ctx, id)
	})
}

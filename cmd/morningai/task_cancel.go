package main

import (
	"context"

	"github.com/RC918/morningai"
)

type taskCancelCmd struct {
	taskRef
	connection
}

// Run cancels the task; one that runs ends when its handler returns.
func (c *taskCancelCmd) Run(ctx context.Context, s streams) error {
	return command(ctx, s, &c.connection, c.taskRef, func(l *link, ctx context.Context, id morningai.ID) (*morningai.Task, error) {
		return l.Cancel(ctx, id)
	})
}

package main

import (
	"context"

	"github.com/RC918/morningai"
)

type queueResumeCmd struct {
	queueRef
	connection
}

// Run lets the queue's tasks start again.
func (c *queueResumeCmd) Run(ctx context.Context, s streams) error {
	paused := false
	return c.change(ctx, s, &c.connection, morningai.QueueChange{Paused: &paused})
}

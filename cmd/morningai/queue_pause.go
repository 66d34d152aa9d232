package main

import (
	"context"

	"github.com/RC918/morningai"
)

type queuePauseCmd struct {
	queueRef
	connection
}

// Run pauses the queue: it accepts tasks and starts none; what runs goes on.
func (c *queuePauseCmd) Run(ctx context.Context, s streams) error {
	paused := true
	return c.change(ctx, s, &c.connection, morningai.QueueChange{Paused: &paused})
}

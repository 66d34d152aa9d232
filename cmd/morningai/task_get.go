package main

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

type taskGetCmd struct {
	taskRef
	connection
}

// Run prints the task. That the task has failed is not a failure of this
// command.
func (c *taskGetCmd) Run(ctx context.Context, s streams) error {
	id, err := c.parse()
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		task, err := l.Get(ctx, id)
		if err != nil || c.JSON {
			return "", err
		}
		var attempts []morningai.Attempt
		if task.Attempt > 1 {
			if attempts, err = l.Attempts(ctx, id); err != nil {
				return "", err
			}
		}
		return describe(task, attempts, time.Now()), nil
	})
}

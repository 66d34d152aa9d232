package main

import (
	"context"
	"fmt"
)

type taskDeleteCmd struct {
	taskRef
	connection
}

// Run deletes the task and prints what it was.
func (c *taskDeleteCmd) Run(ctx context.Context, s streams) error {
	id, err := c.parse()
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		task, err := l.Delete(ctx, id)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s deleted, was %s\n", task.ID, task.State), nil
	})
}

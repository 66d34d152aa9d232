package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"github.com/RC918/morningai"
)

type taskWatchCmd struct {
	taskRef
	connection
}

// Run follows the task and prints what it was at its end.
func (c *taskWatchCmd) Run(ctx context.Context, s streams) error {
	id, err := c.parse()
	if err != nil {
		return err
	}
	l, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	return follow(ctx, s, l, id, func(end *morningai.Task) error {
		if c.JSON {
			return printJSON(s.out, l.body())
		}
		return show(s.out, describe(end, nil, time.Now()))
	})
}

// follow prints each step of the task to stderr until it has ended, hands it to
// done, and ends with exit code 1 if it failed or was canceled. An interrupt
// ends the waiting, not the task.
func follow(ctx context.Context, s streams, l *link, id morningai.ID, done func(*morningai.Task) error) error {
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	var last *morningai.Task
	end, err := l.Watch(ctx, id, func(t *morningai.Task) {
		if last != nil && sameStep(last, t) {
			return
		}
		last = t
		step := standing(t)
		if t.Progress != nil && t.State == morningai.StateRunning {
			step += ": " + short(t.Progress)
		}
		if err := show(s.err, step+"\n"); err != nil {
			stop() // nobody reads any more
		}
	})
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(s.err, "stopped waiting; the task goes on. To see it: morningai task watch %s\n", id)
		return ended(exitFailed)
	case err != nil:
		return l.hint(err)
	}
	if err := done(end); err != nil {
		return err
	}
	if end.State != morningai.StateSucceeded {
		return ended(exitFailed)
	}
	return nil
}

// sameStep reports whether a reader would see nothing new.
func sameStep(a, b *morningai.Task) bool {
	return a.State == b.State && a.Attempt == b.Attempt && a.CancelRequested == b.CancelRequested &&
		a.RunAt.Equal(b.RunAt) && bytes.Equal(a.Progress, b.Progress)
}

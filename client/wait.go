package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/RC918/morningai"
)

const (
	longPoll  = 30 * time.Second       // how long the server is asked to hold an answer
	shortPoll = 500 * time.Millisecond // the same for those who want to see each step
)

// Wait returns the task once it has ended, or ctx's error. The server holds the
// answer, so that waiting costs a request every 30 seconds. A task with
// retention 0 is returned too, if Wait was called before it ended or within a
// minute after.
func (c *Client) Wait(ctx context.Context, id morningai.ID) (*morningai.Task, error) {
	return c.poll(ctx, id, longPoll, nil)
}

// Watch is Wait that calls seen with what the task is at first, about every
// half second, and at its end.
func (c *Client) Watch(ctx context.Context, id morningai.ID, seen func(*morningai.Task)) (*morningai.Task, error) {
	return c.poll(ctx, id, shortPoll, seen)
}

func (c *Client) poll(ctx context.Context, id morningai.ID, hold time.Duration, seen func(*morningai.Task)) (*morningai.Task, error) {
	wait := time.Duration(0) // the first answer comes at once, to be seen
	if seen == nil {
		wait = hold
	}
	for ; ; wait = hold {
		asked := time.Now()
		task := new(morningai.Task)
		err := c.do(ctx, call{op: "wait for task", method: http.MethodGet, path: []string{"v1", "tasks", id.String()},
			query: url.Values{"wait": {wait.String()}}}, task)
		if err != nil {
			return nil, err
		}
		if seen != nil {
			seen(task)
		}
		if task.State.Terminal() {
			return task, nil
		}
		// A server that is stopping does not hold answers.
		if err := pause(ctx, min(wait, shortPoll)-time.Since(asked)); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

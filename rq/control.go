package rq

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/RC918/morningai"
)

// Cancel takes a job that has not started out of its queue; jobs that come after
// it stay deferred. One that runs is a morningai.ErrWrongState: see [Client.Stop].
// Canceling a canceled job succeeds.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.control(ctx, "cancel", id, "the job runs or has ended", "a running job can be stopped")
}

// Requeue puts a job that has failed or was stopped or canceled into its queue
// again.
func (c *Client) Requeue(ctx context.Context, id string) error {
	return c.control(ctx, "requeue", id, "the job has neither failed nor been stopped or canceled", "")
}

// Delete removes a job that does not run, with its results.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.control(ctx, "delete", id, "the job runs", "stop it first")
}

func (c *Client) control(ctx context.Context, what, id, refused, hint string) error {
	if !ValidID(id) {
		return notFound()
	}
	reply, err := c.eval(ctx, scriptControl, what, id)
	if err != nil {
		return err
	}
	switch word(reply[0]) {
	case "gone":
		return notFound()
	case "refused", "running":
		return &morningai.Error{Code: morningai.CodeWrongState, Op: what + " job", Detail: refused, Hint: hint}
	}
	return nil
}

// Stop tells the worker that runs a job to end it. It returns when the worker has
// been told; the job is then stopped, unless it ends by itself before. A job that
// does not run is a morningai.ErrWrongState, and so is one whose worker does not
// listen.
func (c *Client) Stop(ctx context.Context, id string) error {
	j, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if j.Status != Started || j.Worker == "" {
		return &morningai.Error{Code: morningai.CodeWrongState, Op: "stop job", Detail: "the job does not run", Hint: "one that waits can be canceled"}
	}
	return c.tell(ctx, j.Worker, command{Command: "stop-job", JobID: id})
}

// Shutdown tells a worker to end after the job that it runs.
func (c *Client) Shutdown(ctx context.Context, worker string) error {
	return c.tell(ctx, worker, command{Command: "shutdown"})
}

type command struct {
	Command string `json:"command"`
	JobID   string `json:"job_id,omitempty"`
}

func (c *Client) tell(ctx context.Context, worker string, order command) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	reply, err := c.conn.Read(ctx, []string{"PUBLISH", "rq:pubsub:" + worker, string(text)})
	if err != nil {
		return err
	}
	if number(reply[0]) == 0 {
		return &morningai.Error{Code: morningai.CodeWrongState, Op: "tell worker", Detail: "no worker of that name listens", Hint: "it may have died: its jobs are failed by the next cleaning"}
	}
	return nil
}

// Wait returns the job once it has ended. A job that is gone is a
// morningai.ErrNotFound: RQ removes ended jobs after their result_ttl.
func (c *Client) Wait(ctx context.Context, id string) (*Job, error) {
	for {
		j, err := c.Get(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && j.Status.Ended():
			return j, nil
		case err != nil && !errors.Is(err, morningai.ErrUnavailable):
			return nil, err
		}
		pause(ctx, pollMost)
	}
}

// Queues returns the names of the queues that were ever used.
func (c *Client) Queues(ctx context.Context) ([]string, error) {
	reply, err := c.conn.Read(ctx, []string{"SMEMBERS", "rq:queues"})
	if err != nil {
		return nil, err
	}
	names := words(reply[0])
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "rq:queue:")
	}
	return names, nil
}

// Registry is where a queue keeps jobs of a kind.
type Registry string

// The registries of a queue.
const (
	Waiting           Registry = "queue"
	InProgress        Registry = "wip"
	FinishedRegistry  Registry = "finished"
	FailedRegistry    Registry = "failed"
	DeferredRegistry  Registry = "deferred"
	ScheduledRegistry Registry = "scheduled"
	CanceledRegistry  Registry = "canceled"
)

// IDs returns ids of a queue's jobs, limit of them from offset on, in the order
// in which they run or have ended.
func (c *Client) IDs(ctx context.Context, queue string, r Registry, offset, limit int) ([]string, error) {
	first, last := decimal(offset), decimal(offset+limit-1)
	command := []string{"ZRANGE", "rq:" + string(r) + ":" + queue, first, last}
	if r == Waiting {
		command = []string{"LRANGE", "rq:queue:" + queue, first, last}
	}
	reply, err := c.conn.Read(ctx, command)
	if err != nil {
		return nil, err
	}
	ids := words(reply[0])
	for i := range ids {
		ids[i], _, _ = strings.Cut(ids[i], ":") // RQ 2 adds an execution
	}
	return ids, nil
}

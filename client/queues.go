package client

import (
	"context"
	"net/http"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// Queues returns all queues that were configured or used, by name.
func (c *Client) Queues(ctx context.Context) ([]morningai.QueueInfo, error) {
	var out wire.Queues
	if err := c.do(ctx, call{op: "list queues", method: http.MethodGet, path: []string{"v1", "queues"}}, &out); err != nil {
		return nil, err
	}
	queues := make([]morningai.QueueInfo, len(out.Queues))
	for i, q := range out.Queues {
		queues[i] = q.Model()
	}
	return queues, nil
}

// Queue returns one queue, or a morningai.ErrNotFound if it was neither
// configured nor ever used.
func (c *Client) Queue(ctx context.Context, name string) (morningai.QueueInfo, error) {
	var out wire.Queue
	err := c.do(ctx, call{op: "get queue", method: http.MethodGet, path: []string{"v1", "queues", name}}, &out)
	return out.Model(), err
}

// SetQueue creates a queue or changes its settings; what the change leaves nil
// stays, a zero value clears a limit. If the queue comes back Pending, the change
// holds on that server, and Redis has still to be told.
func (c *Client) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueInfo, error) {
	var out wire.Queue
	err := c.do(ctx, call{op: "set queue", method: http.MethodPatch, path: []string{"v1", "queues", name},
		body: wire.NewQueueChange(change)}, &out)
	return out.Model(), err
}

// Stats returns counts by state and throughput. Its Queues and Sessions are
// empty: queues have their own call.
func (c *Client) Stats(ctx context.Context) (morningai.Stats, error) {
	var out wire.Stats
	err := c.do(ctx, call{op: "get stats", method: http.MethodGet, path: []string{"v1", "stats"}}, &out)
	return out.Model(), err
}

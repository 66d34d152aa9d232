package main

import (
	"context"
	"fmt"

	"github.com/RC918/morningai"
)

type queueListCmd struct {
	connection
}

// Run prints all queues that were configured or used.
func (c *queueListCmd) Run(ctx context.Context, s streams) error {
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		queues, err := l.Queues(ctx)
		if err != nil {
			return "", err
		}
		if len(queues) == 0 {
			fmt.Fprintln(s.err, "no queues: none was used or configured yet")
			return "", nil
		}
		return queueTable(queues), nil
	})
}

func queueTable(queues []morningai.QueueInfo) string {
	rows := [][]string{{"NAME", "STATE", "QUEUED", "RUNNING", "SCHEDULED", "FAILED", "CONCURRENCY", "RATE"}}
	for _, q := range queues {
		count := func(s morningai.State) string { return fmt.Sprint(q.Counts[s]) }
		rows = append(rows, []string{q.Name, queueState(q), count(morningai.StateQueued), count(morningai.StateRunning),
			count(morningai.StateScheduled), count(morningai.StateFailed),
			limit(q.Concurrency > 0, number(q.Concurrency)), limit(!q.Rate.IsZero(), q.Rate)})
	}
	return table(rows)
}

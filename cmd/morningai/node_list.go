package main

import (
	"context"
	"fmt"
	"time"
)

type nodeListCmd struct {
	connection
}

// Run prints who takes part.
func (c *nodeListCmd) Run(ctx context.Context, s streams) error {
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		nodes, fresh, err := l.Nodes(ctx)
		if err != nil {
			return "", err
		}
		noteStale(s, fresh)
		if len(nodes) == 0 {
			fmt.Fprintln(s.err, "no nodes: nobody takes part")
			return "", nil
		}
		return nodeTable(nodes, time.Now()), nil
	})
}

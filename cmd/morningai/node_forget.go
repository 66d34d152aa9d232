package main

import (
	"context"
	"fmt"
	"time"
)

type nodeForgetCmd struct {
	ID string `arg:"" help:"Id of the node, from node list."`
	connection
}

// Run removes a node from the record and prints it as it was.
func (c *nodeForgetCmd) Run(ctx context.Context, s streams) error {
	id, err := namedID(c.ID, "node", "morningai node list has their ids")
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		n, err := l.ForgetNode(ctx, id)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(s.err, "forgotten: what only its journal knew is now answered as not found")
		return describeNode(&n, time.Now()), nil
	})
}

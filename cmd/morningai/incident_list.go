package main

import (
	"context"
	"fmt"
	"time"
)

type incidentListCmd struct {
	connection
}

// Run prints the outages, newest first.
func (c *incidentListCmd) Run(ctx context.Context, s streams) error {
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		all, err := l.Incidents(ctx)
		if err != nil {
			return "", err
		}
		if len(all) == 0 {
			fmt.Fprintln(s.err, "no incidents: this server has seen no outage of an engine that it shares")
			return "", nil
		}
		return incidentTable(all, time.Now()), nil
	})
}

package main

import (
	"context"
	"fmt"
)

type healthCmd struct {
	connection
}

// Run prints the server's health. A server that is down has answered 503.
func (c *healthCmd) Run(ctx context.Context, s streams) error {
	down := false
	err := c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		h, err := l.Health(ctx)
		if err != nil {
			return "", err
		}
		status := good.Render(h.Status)
		if down = h.Status == "down"; down {
			status = bad.Render(h.Status)
		}
		storage := h.Storage.Status
		if h.Storage.Cause != "" {
			storage += ": " + printable(h.Storage.Cause)
		}
		return fields([][2]string{
			{"status", status},
			{"engine", h.Engine},
			{"storage", storage},
			{"hint", printable(h.Storage.Hint)},
			{"workers", fmt.Sprint(h.Workers)},
			{"version", h.Version},
			{"server", l.Address()},
		}...), nil
	})
	if err == nil && down {
		return ended(exitUnreachable)
	}
	return err
}

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
		return fields([][2]string{
			{"status", status},
			{"engine", h.Engine},
			{"storage", because(h.Storage.Status, h.Storage.Cause)},
			{"redis", because(h.Redis.Status, h.Redis.Cause)},
			{"hint", printable(h.Storage.Hint + h.Redis.Hint)}, // only one of them is in use
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

func because(status, cause string) string {
	if cause == "" {
		return status
	}
	return status + ": " + printable(cause)
}

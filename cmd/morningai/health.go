package main

import (
	"context"
	"fmt"
	"time"

	"github.com/RC918/morningai/client"
)

type healthCmd struct {
	Strict bool `help:"End with 1 too if the server is degraded."`
	connection
}

// Run prints the server's health. A server that is down has answered 503.
func (c *healthCmd) Run(ctx context.Context, s streams) error {
	down, degraded := false, false
	err := c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		h, err := l.Health(ctx)
		if err != nil {
			return "", err
		}
		status := good.Render(h.Status)
		degraded = h.Status == "degraded"
		if down = h.Status == "down"; down {
			status = bad.Render(h.Status)
		}
		return fields([][2]string{
			{"status", status},
			{"engine", h.Engine},
			{"storage", because(h.Storage.Status, h.Storage.Cause)},
			{"redis", because(h.Redis.Status, h.Redis.Cause)},
			{"journal", journalHealth(h.Journal)},
			{"backup", backupHealth(h.Backups, time.Now())},
			{"hint", printable(hintOf(&h))},
			{"workers", fmt.Sprint(h.Workers)},
			{"version", h.Version},
			{"server", l.Address()},
		}...), nil
	})
	if err == nil && down {
		return ended(exitUnreachable)
	}
	if err == nil && degraded && c.Strict {
		return ended(exitFailed)
	}
	return err
}

func because(status, cause string) string {
	if cause == "" {
		return status
	}
	return status + ": " + printable(cause)
}

func journalHealth(j *client.Journal) string {
	if j == nil {
		return ""
	}
	return because(fmt.Sprintf("%s, %d entries undelivered", j.Status, j.Entries), j.Cause)
}

func backupHealth(b *client.Backups, now time.Time) string {
	switch {
	case b == nil:
		return ""
	case b.LastAt.IsZero():
		return because(b.Status, b.Cause)
	}
	return because(fmt.Sprintf("%s, %s old", b.Status, age(max(now.Sub(b.LastAt), 0))), b.Cause)
}

// hintOf is what to do first: what cannot be written comes before what is away.
func hintOf(h *client.Health) string {
	if h.Journal != nil && h.Journal.Hint != "" {
		return h.Journal.Hint
	}
	if first := h.Storage.Hint + h.Redis.Hint; first != "" || h.Backups == nil { // only one of them is in use
		return first
	}
	return h.Backups.Hint
}

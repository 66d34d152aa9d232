package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// usage is what a Redis server has used.
type usage struct {
	CPU    float64 // seconds of processor time, all threads
	Memory float64 // bytes of data and bookkeeping
}

func (u usage) since(before usage) usage {
	return usage{CPU: u.CPU - before.CPU, Memory: u.Memory - before.Memory}
}

// metered is a system whose server can be asked what it uses.
type metered interface {
	usage(ctx context.Context) (usage, error)
}

func usageOf(ctx context.Context, c *redis.Client) (u usage, err error) {
	text, err := c.Info(ctx, "cpu", "memory").Result()
	if err != nil {
		return u, err
	}
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		var v float64
		switch name {
		case "used_cpu_sys", "used_cpu_user", "used_memory":
			if _, err := fmt.Sscan(value, &v); err != nil {
				return u, fmt.Errorf("%s of the server: %w", name, err)
			}
			found++
		}
		if name == "used_memory" {
			u.Memory = v
		} else {
			u.CPU += v
		}
	}
	if found != 3 {
		return u, fmt.Errorf("the server does not say what it uses: %d of 3 figures", found)
	}
	return u, nil
}

func (a *samples) metered() bool { return len(a.outcomes) > 0 && a.outcomes[0].Used.CPU > 0 }

// serverRows says what a measure cost the Redis server: memory where tasks
// stay queued, processor time where they run.
func serverRows(measure string, pick func(name, unit string, value func(outcome) float64) row) []row {
	switch measure {
	case enqueueIn:
		return []row{pick(measure+": Redis memory per task", "bytes", func(o outcome) float64 { return o.Used.Memory / float64(o.Tasks) })}
	case endToEnd, fleet, alike:
		return []row{pick(measure+": Redis CPU per task", "µs", cpuPerTask)}
	}
	return nil
}

func cpuPerTask(o outcome) float64 { return o.Used.CPU / float64(o.Tasks) * 1e6 }

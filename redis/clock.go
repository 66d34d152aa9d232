package redis

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	clockMost = 2 * time.Second        // how far a node's clock may be off
	clockTrip = 250 * time.Millisecond // a longer round trip says too little about it
)

// clock compares this machine's wall clock with those of the other nodes, by how
// far each is ahead of Redis. Tasks become due by the clock of the node that claims:
// one that is off would start them too early, or for the others too late.
type clock struct {
	apart atomic.Bool // this node makes no task ready because it is due

	mu     sync.Mutex
	looked time.Time
	known  bool
	ahead  time.Duration // of the clock of Redis
}

// look compares the clock with that of Redis if it is time to. Without a quick
// answer what was known stays.
func (c *clock) look(ctx context.Context, e *Engine) {
	c.mu.Lock()
	due := c.looked.IsZero() || time.Since(c.looked) >= e.opt.clockEvery
	if due {
		c.looked = time.Now()
	}
	c.mu.Unlock()
	if !due {
		return
	}
	began, wall := time.Now(), e.opt.now()
	reply, err := e.do(ctx, e.client.B().Time().Build())
	took := time.Since(began)
	if err != nil || took > clockTrip {
		return
	}
	parts, err := reply.AsIntSlice()
	if err != nil || len(parts) != 2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.ahead = true, wall.Add(took/2).Sub(time.UnixMicro(parts[0]*1e6+parts[1]))
}

// text is what the others are told.
func (c *clock) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return ""
	}
	return string(binary.BigEndian.AppendUint64(nil, uint64(c.ahead)))
}

// judge decides whether this node's clock can be trusted, by those of the other
// sessions, and says so when that has changed.
func (c *clock) judge(e *Engine, others []time.Duration) {
	c.mu.Lock()
	ahead, known := c.ahead, c.known
	c.mu.Unlock()
	apart, off := false, time.Duration(0)
	if known && len(others) > 0 {
		apart, off = clockApart(ahead, others)
	}
	if c.apart.Swap(apart) == apart {
		return
	}
	if apart {
		e.opt.logger.Warn("the clock of this machine differs from those of the others, so that tasks which become due are left to them; set it, for example with timedatectl set-ntp true",
			"ahead", off.Round(time.Millisecond))
	} else {
		e.opt.logger.Info("the clock of this machine agrees with those of the others again")
	}
}

// clockApart reports whether a clock is too far from the median of all, that of
// Redis among them, and how far ahead it is. If all nodes are, the nearest is
// taken, so that there is always one that can be trusted.
func clockApart(own time.Duration, others []time.Duration) (bool, time.Duration) {
	all := append([]time.Duration{0, own}, others...)
	slices.Sort(all)
	median := all[(len(all)-1)/2]
	distance := func(d time.Duration) time.Duration { return (d - median).Abs() }
	off := own - median
	if distance(own) <= clockMost {
		return false, off
	}
	nearest := slices.MinFunc(others, func(a, b time.Duration) int { return cmp.Compare(distance(a), distance(b)) })
	return distance(nearest) < distance(own), off
}

// clocksOf reads what the other sessions have told.
func clocksOf(fields map[string]string, own string) []time.Duration {
	var out []time.Duration
	for field, value := range fields {
		if len(field) != 16 || field == own {
			continue
		}
		if _, rest, ok := readSession(field, value); ok && len(rest) >= 8 {
			out = append(out, time.Duration(be64(rest)))
		}
	}
	return out
}

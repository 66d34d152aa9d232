package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/RC918/morningai/internal/drill"
)

// host is a machine on which a node runs, crashes and is started again.
type host struct {
	w      *world
	name   string
	random *rand.Rand
	skew   time.Duration // of its clock
	link   *Link
	disk   *Disk
	reach  reach // of the shared engine, beyond what ails that
	slow   bool  // its disk

	up       bool
	runs     int64 // starts so far
	node     Node
	worker   *worker
	stepping bool
	restless int       // how often in a row it has wanted to be woken at once
	asked    *question // by the effect that runs
	open     bool
	wake     time.Duration // when the next step without an event is planned; -1: none is
	waiting  []*call       // calls of this run that wait by design
	parked   []*call       // those of the journal
}

// now is the time by the host's own clock.
func (h *host) now() time.Time { return h.w.wall().Add(h.skew) }

// later lets something happen in this run of the node, if that lives so long.
func (h *host) later(d time.Duration, do func()) {
	run := h.runs
	h.w.after(d, func() {
		if h.up && h.runs == run {
			do()
		}
	})
}

func (h *host) start() {
	h.runs++
	if h.runs > 1 {
		h.disk.Crash()
		h.w.trace(h.name, "starts again")
		h.w.hist.Add(drill.Op{Node: h.name, Kind: drill.Restart})
	}
	h.link.restart()
	h.up, h.open, h.wake, h.waiting, h.parked = true, false, -1, nil, nil
	random := h.w.stream(fmt.Sprint("node", h.name, h.runs))
	h.node = h.w.cfg.Open(Env{Name: h.name, Now: h.now(), Shared: h.link, Journal: h.disk, Ask: h.ask, Random: random.Float64, Run: h.runs})
	h.event(func() {})
	h.worker = newWorker(h)
	h.worker.begin()
}

func (h *host) crash() {
	if !h.up {
		return
	}
	h.w.trace(h.name, "crashes")
	h.w.hist.Add(drill.Op{Node: h.name, Kind: drill.Crash})
	h.up, h.node, h.worker = false, nil, nil
}

// event lets the node handle one event, and does what it asks for.
func (h *host) event(do func()) {
	if h.stepping {
		panic("an event within an event")
	}
	h.stepping = true
	effects := h.node.Step(h.now(), do)
	h.stepping = false
	for i := range effects {
		h.do(effects[i])
	}
	h.watch()
}

func (h *host) do(e Effect) {
	switch e.To {
	case ToReply:
		h.later(0, func() { e.Run(context.Background()) })
	case ToLog:
		h.w.trace(h.name, "says: %s", e.Text)
	case ToCancel:
		for _, c := range h.waiting {
			if c.effect.Waits == e.Waits {
				h.later(0, func() { c.finish(nil, context.Canceled) })
			}
		}
	case ToPeer:
		c := &call{host: h, run: h.runs, effect: e, sent: h.w.now}
		h.later(e.Limit, func() { c.finish(nil, context.DeadlineExceeded) })
		h.asked = nil
		e.Run(context.Background())
		h.putQuestion(c, h.asked)
	case ToShared:
		c := &call{host: h, run: h.runs, link: h.link, effect: e, sent: h.w.now}
		if e.Waits != 0 {
			h.waiting = append(h.waiting, c)
		} else {
			h.w.trace(h.name, "calls %s", e.Name)
		}
		h.w.net.send(c)
	case ToJournal:
		c := &call{host: h, run: h.runs, effect: e, sent: h.w.now}
		if e.Waits != 0 {
			h.waiting = append(h.waiting, c)
		}
		if e.Limit > 0 {
			h.later(e.Limit, func() { c.finish(nil, context.DeadlineExceeded) })
		}
		h.later(h.seek(4*time.Millisecond), func() { h.write(c) })
	}
}

func (h *host) seek(most time.Duration) time.Duration {
	if h.slow {
		most *= 10
	}
	return between(h.random, 20*time.Microsecond, most)
}

// write is the moment at which a call of the journal takes effect.
func (h *host) write(c *call) {
	if c.effect.Waits != 0 && c.over {
		return
	}
	h.disk.waiting = 0
	result, err := c.effect.Run(context.Background())
	h.w.note(c.effect.Name, int64(len(h.name)))
	if c.waits(h.disk.waiting, h.w.now) {
		h.parked = append(h.parked, c)
		at := h.w.now
		c.parked = at
		h.later(100*time.Millisecond, func() {
			if c.parked == at {
				h.resume()
			}
		})
		return
	}
	h.w.trace(h.name, "  journal: %s%s", c.effect.Name, failure(err))
	if c.effect.Waits == 0 {
		h.resume()
	}
	h.later(h.seek(time.Millisecond), func() { c.finish(result, err) })
}

// resume looks again for those that wait for something in the journal.
func (h *host) resume() {
	parked := h.parked
	h.parked = nil
	for _, c := range parked {
		c.parked = 0
		h.later(20*time.Microsecond, func() { h.write(c) })
	}
}

// watch does what a change inside the node calls for.
func (h *host) watch() {
	if open := h.node.Open(); open != h.open {
		h.open = open
		kind := drill.Closed
		if open {
			kind = drill.Opened
		}
		h.w.trace(h.name, "%s", kind)
		h.w.hist.Add(drill.Op{Node: h.name, Kind: kind})
	}
	if len(h.waiting) > 32 {
		kept := h.waiting[:0]
		for _, c := range h.waiting {
			if !c.over {
				kept = append(kept, c)
			}
		}
		h.waiting = kept
	}
	wake := h.node.Wake()
	if wake.IsZero() {
		return
	}
	// One tick at least: a node that is due at once must not stop time.
	at := max(wake.Sub(start)-h.skew, h.w.now+time.Microsecond)
	if h.wake > h.w.now && h.wake <= at {
		return
	}
	if h.wake = at; wake.After(h.now()) {
		h.restless = 0
	} else if h.restless++; h.restless > 1000 {
		panic(h.name + " wants to be woken at once, again and again: a real one would burn a processor")
	}
	h.later(at-h.w.now, func() {
		if h.wake == at {
			h.wake = -1
			h.event(func() {})
		}
	})
}

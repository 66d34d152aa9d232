package sim

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// question is what one node asks another.
type question struct {
	url string
	id  morningai.ID
}

// ask takes a question; the answer comes later.
func (h *host) ask(_ context.Context, url string, id morningai.ID) (morningai.Task, error) {
	h.asked = &question{url, id}
	return morningai.Task{}, nil
}

// putQuestion brings a question to the other node and the answer back. Nodes
// reach each other unless one is down; now and then a question is lost, as long
// as there are faults.
func (h *host) putQuestion(c *call, q *question) {
	way := func() time.Duration { return between(h.random, 50*time.Microsecond, 5*time.Millisecond) }
	answer := func(t morningai.Task, err error) {
		h.w.after(way(), func() { c.finish(t, err) })
	}
	h.later(way(), func() {
		for _, other := range h.w.hosts {
			if other.name != q.url {
				continue
			}
			switch {
			case h.w.now < h.w.plan.calm && chance(h.random, 0.02):
				h.w.trace(h.name, "  a question to %s is lost", other.name)
			case !other.up:
				answer(morningai.Task{}, errRefused)
			default:
				other.event(func() {
					other.node.Get(morningai.GetRequest{IDs: []morningai.ID{q.id}, Lingering: true}, true, func(tasks []morningai.Task, err error) {
						if err == nil && tasks[0].ID.IsZero() {
							err = morningai.ErrNotFound
						}
						if err != nil {
							answer(morningai.Task{}, err)
							return
						}
						answer(tasks[0], nil)
					})
				})
			}
		}
	})
}

package drill

import (
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// setting is one setting of one queue, with the operations that change it.
type setting struct {
	queue, name string
	ops         []*Op
}

const paused = "paused" // the name of what Pause and Resume set

func (op *Op) setting() (name, value string) {
	switch op.Kind {
	case Pause:
		return paused, "true"
	case Resume:
		return paused, ""
	case Set:
		return op.Key, op.Value
	}
	return "", ""
}

func (c *checker) settings() []*setting {
	type key struct{ queue, name string }
	byKey := map[key]*setting{}
	var out []*setting
	for _, op := range c.ops {
		name, _ := op.setting()
		if name == "" || !op.possible() {
			continue
		}
		s := byKey[key{op.Queue, name}]
		if s == nil {
			s = &setting{queue: op.Queue, name: name}
			byKey[key{op.Queue, name}] = s
			out = append(out, s)
		}
		s.ops = append(s.ops, op)
	}
	return out
}

// checkSettings: an acknowledged setting is there at the end unless a later or
// simultaneous call may have changed it, and an acknowledged pause holds (16).
func (c *checker) checkSettings() {
	holds := map[string][]pause{}
	for _, s := range c.settings() {
		after := make([]*Op, len(s.ops)) // the next call that sets something else
		for i := len(s.ops) - 2; i >= 0; i-- {
			after[i] = after[i+1]
			if value(s.ops[i]) != value(s.ops[i+1]) {
				after[i] = s.ops[i+1]
			}
		}
		for i, op := range s.ops {
			v := value(op)
			other := after[i]
			for _, o := range s.ops[:i] { // that may take effect after it
				if value(o) != v && o.mayFollow(op) {
					other = o
				}
			}
			if !op.ok() {
				continue
			}
			if other == nil && !s.contested(op) && !c.unwitnessed(op, nil) {
				c.checkLasting(s, op, v)
			}
			if s.name == paused && v == "true" {
				holds[s.queue] = append(holds[s.queue], pause{op, other})
			}
		}
	}
	if len(holds) > 0 {
		c.checkPauses(holds)
	}
}

// clockSkew is how far apart the clocks of two nodes may be.
const clockSkew = 3 * time.Second

// mayFollow: an earlier change may take effect after this one. If a node which was
// cut off has still to tell one of the two, the clocks of the nodes say which of
// them is the later one.
func (op *Op) mayFollow(next *Op) bool {
	switch {
	case op.Outcome == Unknown:
		return true
	case (op.Pending || next.Pending) && op.Node != next.Node:
		return next.Call < op.Return+clockSkew
	}
	return !op.before(next)
}

// contested: a change that was made on a node that was cut off has another change
// on another node at the same time, as far as their clocks can tell.
func (s *setting) contested(op *Op) bool {
	for _, o := range s.ops {
		if o.Node != op.Node && value(o) != value(op) && (op.Pending || o.Pending) &&
			o.Call < op.Return+clockSkew && op.Call < o.Return+clockSkew {
			return true
		}
	}
	return false
}

func value(op *Op) string {
	_, v := op.setting()
	return v
}

func (c *checker) checkLasting(s *setting, op *Op, value string) {
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		q := n.Queues[s.queue]
		got := q.Settings[s.name]
		if s.name == paused {
			got = ""
			if q.Paused {
				got = "true"
			}
		}
		if got != value {
			c.tell(16, morningai.ID{}, []*Op{op}, "%s of queue %s was set to %q, and on %s it is %q at the end", s.name, s.queue, value, n.Node, got)
			return
		}
	}
}

// pause is an acknowledged pause, and the call that may have ended it.
type pause struct{ op, until *Op }

// checkPauses looks at hand-outs from paused queues. Another node that is cut
// off obeys what it knew before.
func (c *checker) checkPauses(holds map[string][]pause) {
	for _, t := range c.tasks {
		if len(t.possible) == 0 || holds[t.possible[0].Queue] == nil {
			continue
		}
		list := holds[t.possible[0].Queue]
		for _, g := range t.ops {
			if g.Kind != Grant || !g.ok() {
				continue
			}
			for _, p := range list {
				if p.op.before(g) && (p.until == nil || g.before(p.until)) && c.obeys(g, p.op) {
					c.tell(16, t.id, []*Op{p.op, g}, "it was handed out on %s although queue %s was paused", g.Node, p.op.Queue)
					break
				}
			}
		}
	}
}

// obeys: the node that a hand-out went to must have known of the pause.
func (c *checker) obeys(grant, pause *Op) bool {
	if grant.Node == pause.Node {
		// A call that was under way may still bring a task, which is not to start.
		return !c.faults.disks.between(pause, grant) && !covered(c.faults.failed[pause.Node], pause) && (!pause.Pending || c.byID[grant.Task].started(grant))
	}
	if pause.Pending || c.unwitnessed(pause, grant) || c.faults.losses.between(pause, grant) || c.faults.splits.between(pause, grant) {
		return false
	}
	whole := *grant // from the pause to the hand-out
	whole.Seq, whole.Call = pause.Seq, pause.Call
	_, out := c.faults.outage(&whole)
	return !out
}

func covered(list []span, op *Op) bool {
	return slices.ContainsFunc(list, func(s span) bool { return s.covers(op) })
}

// late: it may take effect after it has returned.
func (op *Op) late() bool { return op.Outcome == Unknown || op.Pending }

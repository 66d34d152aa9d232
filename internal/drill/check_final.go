package drill

import (
	"fmt"
	"maps"

	"github.com/RC918/morningai"
)

// checkFinal looks at the end alone: all nodes say the same (13), and nothing
// that could run waits (18).
func (c *checker) checkFinal() {
	if len(c.final.Nodes) == 0 {
		return
	}
	first := &c.final.Nodes[0]
	aside := map[morningai.ID]bool{}
	for i := range c.final.Nodes {
		for _, id := range c.final.Nodes[i].SetAside {
			aside[id] = true
		}
	}
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		for id, f := range n.Tasks {
			if what := c.stuck(n, id, f); what != "" && !aside[id] {
				c.tell(18, id, c.known(id), "on %s %s", n.Node, what)
			}
			if aside[id] || i == 0 {
				continue
			}
			if o, ok := first.Tasks[id]; !ok {
				c.tell(13, id, c.known(id), "%s has it at the end, %s has not", n.Node, first.Node)
			} else if what := differ(o, f); what != "" {
				c.tell(13, id, c.known(id), "at the end %s and %s differ: %s", first.Node, n.Node, what)
			}
		}
		if i == 0 {
			continue
		}
		for id := range first.Tasks {
			if _, ok := n.Tasks[id]; !ok && !aside[id] {
				c.tell(13, id, c.known(id), "%s has it at the end, %s has not", first.Node, n.Node)
			}
		}
		for name := range union(first.Queues, n.Queues) {
			a, b := first.Queues[name], n.Queues[name]
			if a.Paused != b.Paused || !maps.Equal(a.Settings, b.Settings) {
				c.tell(13, morningai.ID{}, nil, "at the end %s and %s have different settings of queue %s", first.Node, n.Node, name)
			}
		}
	}
}

func union[V any](a, b map[string]V) map[string]bool {
	out := map[string]bool{}
	for k := range a {
		out[k] = true
	}
	for k := range b {
		out[k] = true
	}
	return out
}

// known is the acknowledgement of a task, or what else the history has.
func (c *checker) known(id morningai.ID) []*Op {
	switch t := c.byID[id]; {
	case t == nil:
		return nil
	case len(t.acks) > 0:
		return t.acks[:1]
	default:
		return t.ops[:1]
	}
}

func differ(a, b TaskFinal) string {
	switch {
	case a.State != b.State:
		return fmt.Sprintf("state %s and %s", a.State, b.State)
	case a.Life != b.Life:
		return fmt.Sprintf("life %d and %d", a.Life, b.Life)
	case a.Payload != b.Payload:
		return "the payload"
	case a.Result != b.Result:
		return "the result"
	case a.Code != b.Code:
		return fmt.Sprintf("error code %q and %q", a.Code, b.Code)
	case a.MaybeRepeated != b.MaybeRepeated || a.Superseded != b.Superseded:
		return "the marks"
	}
	return ""
}

// stuck says why a task should have moved on.
func (c *checker) stuck(n *NodeFinal, id morningai.ID, f TaskFinal) string {
	switch {
	case f.Pending:
		return "a command for it is still pending at the end"
	case f.State == morningai.StateRunning:
		return "it is running at the end, when nothing runs any more"
	case f.State == morningai.StateQueued && f.Waits == "" && !n.Queues[c.queue(id)].Paused:
		return "it waits at the end without a reason"
	case f.State == "" || !f.State.Valid():
		return "it has no state at the end"
	}
	return ""
}

func (c *checker) queue(id morningai.ID) string {
	if t := c.byID[id]; t != nil {
		for _, op := range t.ops {
			if op.Kind == Enqueue && !op.held() {
				return op.Queue
			}
		}
	}
	return ""
}

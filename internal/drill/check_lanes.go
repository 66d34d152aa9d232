package drill

import (
	"slices"

	"github.com/RC918/morningai"
)

// checkLanes: the writes of a lane are applied in their order, and again at
// most the last (11); what is set aside is reported (11).
func (c *checker) checkLanes() {
	last := map[string]*Op{}
	for _, op := range c.ops {
		if op.Kind != Lane || !op.ok() {
			continue
		}
		was := last[op.Key]
		var number int64
		if was != nil {
			number = was.Count
		}
		switch {
		case op.Count == number+1 || op.Count == number && was != nil:
		case op.Count <= number && c.faults.losses.between(was, op):
		case op.Count > number:
			c.tell(11, morningai.ID{}, []*Op{was, op}, "number %d of lane %s was applied after number %d", op.Count, op.Key, number)
		default:
			c.tell(11, morningai.ID{}, []*Op{was, op}, "number %d of lane %s was applied again after number %d", op.Count, op.Key, number)
		}
		last[op.Key] = op
	}
	for _, t := range c.tasks {
		for _, op := range t.ops {
			if op.Kind == SetAside && op.ok() && !c.reported(op) {
				c.tell(11, t.id, []*Op{op}, "%s has set it aside, and does not report it", op.Node)
				break
			}
		}
	}
}

// reported: the node lists the task as set aside, or it came through after all.
func (c *checker) reported(op *Op) bool {
	everywhere := true
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		if n.Node == op.Node && slices.Contains(n.SetAside, op.Task) {
			return true
		}
		_, ok := n.Tasks[op.Task]
		everywhere = everywhere && ok
	}
	return everywhere
}

package drill

import (
	"slices"

	"github.com/RC918/morningai"
)

// checkCommands: what was acknowledged to an operator has happened, or will not
// be undone (16).
func (c *checker) checkCommands() {
	for _, t := range c.tasks {
		for _, op := range t.ops {
			if !op.ok() || c.unwitnessed(op, nil) {
				continue
			}
			switch op.Kind {
			case Cancel:
				c.checkCancel(t, op)
			case Delete:
				c.checkDelete(t, op)
			case Retry:
				for i := range c.final.Nodes {
					n := &c.final.Nodes[i]
					if f, ok := n.Tasks[t.id]; ok && !op.Pending && f.Life != 0 && f.Life < op.Life {
						c.tell(16, t.id, []*Op{op}, "it was given life %d, and on %s it has life %d at the end", op.Life, n.Node, f.Life)
					}
				}
			}
		}
	}
}

// checkCancel: the task is canceled, or it had ended before. A cancel that was
// still on its way may come after an outcome that was on its way too; one that
// storage forgot comes again, perhaps after an outcome.
func (c *checker) checkCancel(t *track, op *Op) {
	late := op.Pending || c.hadEnded(t, op) || op.State == "" || c.excused(t, op, nil) || c.faults.losses.between(op, nil) || c.faults.disks.between(op, nil) || c.faults.splits.between(op, nil)
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		f, ok := n.Tasks[t.id]
		if life := t.life(&Op{Life: f.Life}); !ok || life == 0 || t.life(op) != life {
			continue // gone, or in another life
		}
		switch {
		case f.State == morningai.StateCanceled || f.State == op.State && op.State.Terminal():
		case !f.State.Terminal():
			c.tell(16, t.id, []*Op{op}, "its cancel was acknowledged, and on %s it is %s at the end", n.Node, f.State)
			return
		case !late:
			c.tell(16, t.id, []*Op{op}, "its cancel was acknowledged while it was %s, and on %s it is %s at the end", op.State, n.Node, f.State)
			return
		case c.h.Setup.Starts && len(t.kind(Start)) == 0:
			c.tell(16, t.id, []*Op{op}, "its cancel was acknowledged, it never ran, and on %s it is %s at the end", n.Node, f.State)
			return
		}
	}
}

// hadEnded: it had ended when the cancel came, and Redis had lost that.
func (c *checker) hadEnded(t *track, cancel *Op) bool {
	return slices.ContainsFunc(t.kind(Finish), func(op *Op) bool {
		return op.ok() && final(op.Ended) && op.before(cancel) && c.faults.losses.between(op, cancel)
	})
}

func (c *checker) checkDelete(t *track, op *Op) {
	if op.Pending || slices.ContainsFunc(t.possible, func(e *Op) bool { return ends(e) > op.Seq }) {
		return
	}
	for i := range c.final.Nodes {
		f, ok := c.final.Nodes[i].Tasks[t.id]
		if ok && f.Payload != 0 && op.Payload != 0 && f.Payload != op.Payload && c.apart(t) {
			continue // another task, which another node had accepted under the id, was not to be removed
		}
		if ok {
			c.tell(16, t.id, []*Op{op}, "its removal was acknowledged, and %s has it at the end", c.final.Nodes[i].Node)
			return
		}
	}
}

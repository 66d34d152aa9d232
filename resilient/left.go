package resilient

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// leftBehind stands in [core.mine] for the lease of a task that a worker in
// another process has claimed from an earlier process of this node. The journal
// knows the lease, and takes the task back if that worker does not return.
func leftBehind(id morningai.ID) morningai.Lease { return morningai.Lease{ID: id} }

// owns reports whether the journal is to judge a claim.
func (c *core) owns(l morningai.Lease) bool {
	mine, ok := c.mine[l.ID]
	return ok && (mine == l || mine == leftBehind(l.ID))
}

// leftEvery is how often it is looked whether such a task has been taken back.
const leftEvery = 5 * time.Second

// readLeft notes what still runs of the tasks of an earlier process.
func (c *core) readLeft(ctx context.Context, n int64) error {
	if n == 0 {
		return nil
	}
	for filter := (morningai.Filter{State: morningai.StateRunning, Limit: morningai.MaxBatch}); ; {
		page, err := c.journal.List(ctx, filter)
		if err != nil {
			return err
		}
		for i := range page.Tasks {
			c.mine[page.Tasks[i].ID] = leftBehind(page.Tasks[i].ID)
		}
		if filter.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	c.after(leftEvery, c.lookAtLeft)
	return nil
}

// lookAtLeft has what was taken back leave the journal: a task that no worker
// of this process has claimed tells nobody when it does not run any more.
func (c *core) lookAtLeft() {
	for id, l := range c.mine {
		if l == leftBehind(id) {
			c.backlog.leaves(c)
			c.after(leftEvery, c.lookAtLeft)
			return
		}
	}
}

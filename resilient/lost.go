package resilient

import (
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

// unkept are the tasks that the shared engine alone has acknowledged, in order: the
// journal has nothing of them. After a loss of data somebody has to say if they are
// gone.
type unkept []unkeptTask

type unkeptTask struct {
	id morningai.ID
	at time.Time
}

const (
	// unkeptAtMost bounds them: the last ones are those that a loss takes.
	unkeptAtMost = 1 << 16
	// askLostAgain is the pause before it is looked for them again, while a node that
	// may know what became of them has still to report.
	askLostAgain = 10 * time.Second
)

func (u *unkept) add(id morningai.ID, now time.Time) {
	list := *u
	for len(list) > 0 && (len(list) >= unkeptAtMost || now.Sub(list[0].at) > tombstones) {
		list = list[1:]
	}
	*u = append(list, unkeptTask{id, now})
}

// lookForLost says which of the tasks that no journal has were lost, once all that the
// journals know is put back.
func (c *core) lookForLost() {
	b := &c.backlog
	var ids []morningai.ID
	rest := b.unkept[:0:0]
	for _, t := range b.unkept {
		if t.at.After(b.lossAt) {
			rest = append(rest, t)
		} else if c.now.Sub(t.at) < tombstones {
			ids = append(ids, t.id)
		}
	}
	b.unkept = rest
	c.findLost(ids)
}

func (c *core) findLost(ids []morningai.ID) {
	if len(ids) == 0 || c.closing {
		return
	}
	again := func() { c.after(askLostAgain, func() { c.findLost(ids) }) }
	if c.contact.open() || c.rebuild != nil || len(c.mirror.Missing) > 0 {
		again()
		return
	}
	page := ids[:min(len(ids), deliverPage)]
	c.getShared(page, func(tasks []morningai.Task, err error) {
		var gone []morningai.ID
		for i := range tasks {
			if id := page[i]; tasks[i].ID.IsZero() && c.held[id] == nil && !c.known.deleted.has(id, c.now) {
				gone = append(gone, id)
			}
		}
		if err != nil {
			again()
			return
		}
		if len(gone) == 0 {
			c.findLost(ids[len(page):])
			return
		}
		c.askFor(gone, func(elsewhere map[morningai.ID]bool, doubt bool) {
			if doubt {
				again()
				return
			}
			for _, id := range gone {
				if !elsewhere[id] {
					c.isLost(id)
				}
			}
			c.findLost(ids[len(page):])
		})
	})
}

// isLost raises the alarm about a task.
func (c *core) isLost(id morningai.ID) {
	c.incidents.lost(id)
	c.log(slog.LevelError, "a task that Redis alone had acknowledged is lost: no journal has it", "task_id", id, "incident", c.incidents.current.ID,
		"hint", "submit it again; with durability journal+redis the journal keeps what it accepts")
}

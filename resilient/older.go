package resilient

import (
	"encoding/json"
	"log/slog"
	"slices"

	"github.com/RC918/morningai"
)

// nameOf is the name of a journal in the fleet.
func (m *mirror) nameOf(info morningai.JournalInfo) morningai.ID {
	if !m.Self.IsZero() {
		return m.Self
	}
	return info.ID
}

// noteEdition takes in what the shared engine has on record of this node's journal
// from before this process: one that has come further is not this one. Somebody has
// put a copy of its disk back, and what has happened since is not known here. The
// node takes another name, so that nobody takes its word for what the other one had.
func (c *core) noteEdition(recorded int64) {
	if recorded <= c.edition || c.cfg.marks == nil || c.renamed {
		return
	}
	was := c.cfg.member
	c.renamed, c.cfg.member = true, c.newID()
	c.mirror.Self, c.mirror.Older = c.cfg.member, true
	c.members = slices.DeleteFunc(c.members, func(m morningai.Member) bool { return m.Journal == was }) // unless it is on record
	c.log(slog.LevelWarn, "the journal is a copy of an earlier state: Redis knows of a later one; this node takes another name, and what Redis does not know any more is set aside",
		"journal", was, "as", c.cfg.member, "hint", "if the later one is lost for good: morningai node forget "+was.String())
	c.writeMirror()
}

// sift goes on with those of a page of own notes that may still be handed over. A
// copy does not know what has become of them since: what the shared engine has is
// there, and what it may have forgotten is set aside, for it may have run.
func (c *core) sift(notes []morningai.Note, then func(left, page []morningai.Note)) {
	ids := make([]morningai.ID, len(notes))
	for i := range notes {
		ids[i] = notes[i].Key
	}
	c.getShared(ids, func(tasks []morningai.Task, err error) {
		if err != nil {
			c.failedDelivery(err, len(notes))
			return
		}
		var missing, there []morningai.Note
		for i := range notes {
			if tasks[i].ID.IsZero() {
				missing = append(missing, notes[i])
			} else {
				there = append(there, notes[i])
			}
		}
		left := c.young(missing)
		c.erase(keysOf(there)...)
		c.backlog.own = max(c.backlog.own-int64(len(notes)-len(left)), 0)
		if len(left) == 0 {
			c.passed(notes)
			return
		}
		then(left, notes)
	})
}

// dropOrders gives up orders that a copy of the journal still has: they may have been
// carried out, and what they were about may have moved on.
func (c *core) dropOrders(notes []morningai.Note) {
	for i := range notes {
		var o order
		if err := json.Unmarshal(notes[i].Data, &o); err != nil {
			c.log(slog.LevelError, "a note of the journal cannot be read", "error", err)
			continue
		}
		c.known.settle(o.Command.ID)
		c.log(slog.LevelWarn, "an order of an earlier state of the journal is not given again: it may have been carried out", "task_id", o.Command.ID, "command", string(o.Command.Kind))
	}
	c.backlog.commands = max(c.backlog.commands-int64(len(notes)), 0)
	c.erase(keysOf(notes)...)
	c.passed(notes)
}

package resilient

import (
	"context"
	"maps"
	"slices"

	"github.com/RC918/morningai"
)

// historyOp reads attempts and log lines of one task.
type historyOp struct {
	id   morningai.ID
	done func(morningai.History, error)
}

func (c *core) history(op *historyOp, here bool) {
	local := func(cause error) {
		c.lookUp([]morningai.ID{op.id}, nil, func(f found, err error) {
			r := f.own[op.id]
			if r == nil {
				r = f.ended[op.id]
			}
			switch {
			case err != nil:
				c.reply(func() { op.done(morningai.History{}, err) })
			case f.owned[op.id] != nil:
				onJournal(c, "history", func(ctx context.Context) (morningai.History, error) { return c.journal.History(ctx, op.id) },
					func(h morningai.History, err error) { c.reply(func() { op.done(h, err) }) })
			case r != nil:
				c.reply(func() { op.done(morningai.History{Attempts: r.Attempts, Logs: r.Logs}, nil) })
			case cause != nil && !outage(cause) && (f.sent[op.id] == nil || !c.mayLack(op.id)):
				c.reply(func() { op.done(morningai.History{}, cause) })
			case f.sent[op.id] != nil && f.sent[op.id].Task.Attempt == 0 && !outage(cause) && cause != nil:
				c.reply(func() { op.done(morningai.History{}, nil) }) // accepted, and on its way
			default:
				c.reply(func() { op.done(morningai.History{}, c.statusUnknown("history", cause)) })
			}
		})
	}
	if c.away(op.id) || here {
		local(nil)
		return
	}
	onShared(c, "history", c.cfg.limits.call, func(ctx context.Context) (morningai.History, error) { return c.remote.History(ctx, op.id) },
		func(h morningai.History, err error) {
			if err != nil {
				local(err)
				return
			}
			c.reply(func() { op.done(h, nil) })
		})
}

// listOp reads one page of tasks.
type listOp struct {
	filter morningai.Filter
	done   func(morningai.Page, error)
}

func (c *core) list(op *listOp) {
	if c.contact.open() {
		c.listLast(op, nil)
		return
	}
	onShared(c, "list", c.cfg.limits.call, func(ctx context.Context) (morningai.Page, error) { return c.remote.List(ctx, op.filter) },
		func(page morningai.Page, err error) {
			switch {
			case c.rebuild != nil:
				c.listLast(op, errDataLost)
			case outage(err):
				c.listLast(op, err)
			case err != nil:
				c.reply(func() { op.done(page, err) })
			case op.filter.Cursor != "":
				c.showPage(op, page)
			default:
				page = c.withAway(op, page)
				c.pages.see(op.filter, page, c.now)
				c.withOwn(op, page)
			}
		})
}

// listLast answers with the page as it was shown last, and what this node owns.
func (c *core) listLast(op *listOp, cause error) {
	page, ok := c.pages.pages[op.filter]
	if !ok {
		err := c.statusUnknown("list", cause)
		c.reply(func() { op.done(morningai.Page{}, err) })
		return
	}
	page.Fresh = morningai.FreshStale
	page.Tasks = slices.DeleteFunc(slices.Clone(page.Tasks), func(t morningai.Task) bool { return c.known.deleted.has(t.ID, c.now) })
	for i := range page.Tasks { // of what the shared engine has lost since it is no news
		page.Tasks[i].Fresh = morningai.FreshStale
	}
	c.withOwn(op, page)
}

// withOwn adds the tasks that only this node has to a first page.
func (c *core) withOwn(op *listOp, page morningai.Page) {
	if !c.holdsAny() {
		c.showPage(op, page)
		return
	}
	onJournal(c, "list", func(ctx context.Context) (morningai.Page, error) { return c.journal.List(ctx, op.filter) },
		func(own morningai.Page, err error) {
			if err != nil {
				c.reply(func() { op.done(morningai.Page{}, err) })
				return
			}
			for i := range own.Tasks {
				t := &own.Tasks[i]
				t.Fresh = morningai.FreshLocal
				if !slices.ContainsFunc(page.Tasks, func(x morningai.Task) bool { return x.ID == t.ID }) {
					page.Tasks = append(page.Tasks, *t)
				}
			}
			slices.SortStableFunc(page.Tasks, func(a, b morningai.Task) int { return b.CreatedAt.Compare(a.CreatedAt) })
			c.showPage(op, page)
		})
}

// showPage answers with a page, in which nothing is older than it was shown before.
// What has left the state that was asked for is not of the page any more.
func (c *core) showPage(op *listOp, page morningai.Page) {
	page.Fresh = c.overall(page.Fresh)
	page.Tasks = slices.Clone(page.Tasks) // it may be shown again
	for i := range page.Tasks {
		t := &page.Tasks[i]
		*t = c.known.show(*t)
		if page.Fresh == morningai.FreshStale && t.Fresh == morningai.FreshLive {
			t.Fresh = morningai.FreshStale
		}
	}
	page.Tasks = slices.DeleteFunc(page.Tasks, func(t morningai.Task) bool { return !inState(op.filter.State, t.State) })
	c.reply(func() { op.done(page, nil) })
}

// inState reports whether a list of one state, or of all, shows a task that is in
// another.
func inState(asked, is morningai.State) bool {
	return asked == "" || asked == is || asked == morningai.StateRetrying && is == morningai.StateScheduled
}

// statsOp reads the counts.
type statsOp struct {
	done func(morningai.Stats, error)
}

func (c *core) stats(op *statsOp) {
	if c.contact.open() {
		c.statsLast(op, nil)
		return
	}
	told := c.mirror.told
	onShared(c, "stats", c.cfg.limits.call, c.remote.Stats, func(stats morningai.Stats, err error) {
		switch {
		case c.rebuild != nil:
			c.statsLast(op, errDataLost)
		case outage(err):
			c.statsLast(op, err)
		case err != nil:
			c.reply(func() { op.done(stats, err) })
		default:
			if c.mirror.told == told && c.backlog.settings == 0 {
				c.seeStats(stats)
				c.applyMirror(func() {})
			}
			stats.Fresh = c.overall(stats.Fresh)
			c.reply(func() { op.done(stats, nil) })
		}
	})
}

// overall is how fresh an answer about all tasks is: not live while a node may
// hold tasks that the shared engine does not know.
func (c *core) overall(fresh morningai.Freshness) morningai.Freshness {
	apart := slices.ContainsFunc(c.members, func(m morningai.Member) bool {
		return m.Journal != c.cfg.member && (m.Backlog > 0 || !m.Connected || c.unheard(&m))
	})
	if fresh == morningai.FreshLive && (apart || c.partly() || c.backlog.undelivered() > 0 || !c.acquainted()) {
		return morningai.FreshStale
	}
	return fresh
}

// unheard reports whether a node has not said since the last outage, or for longer
// than it takes to say so, what it has accepted on its own.
func (c *core) unheard(m *morningai.Member) bool {
	return m.ContactAt.Before(c.incidents.current.EndedAt.Add(clearMargin)) || c.now.Sub(m.ContactAt) > acquaintance+clearMargin
}

// statsLast answers with the counts as they were known last, and with the queues that
// only tasks of this node are in.
func (c *core) statsLast(op *statsOp, cause error) {
	if c.pages.stats == nil {
		err := c.statusUnknown("stats", cause)
		c.reply(func() { op.done(morningai.Stats{}, err) })
		return
	}
	onJournal(c, "stats", c.journal.Stats, func(own morningai.Stats, err error) {
		if err != nil {
			c.reply(func() { op.done(morningai.Stats{}, err) })
			return
		}
		stats := *c.pages.stats
		stats.Fresh = morningai.FreshStale
		stats.Queues = slices.Clone(stats.Queues)
		has := func(name string) bool {
			return slices.ContainsFunc(stats.Queues, func(q morningai.QueueInfo) bool { return q.Name == name })
		}
		for i := range own.Queues {
			if q := own.Queues[i]; !has(q.Name) {
				q.QueueConfig = morningai.QueueConfig{Name: q.Name} // its limits are this node's share
				stats.Queues = append(stats.Queues, q)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(c.mirror.Queues)) {
			if !has(name) { // set since
				stats.Queues = append(stats.Queues, morningai.QueueInfo{QueueConfig: c.mirror.Queues[name]})
			}
		}
		for i := range stats.Queues {
			q := &stats.Queues[i]
			if m, ok := c.mirror.Queues[q.Name]; ok {
				q.QueueConfig = m
			}
		}
		c.reply(func() { op.done(stats, nil) })
	})
}

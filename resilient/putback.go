package resilient

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// restoreQueues puts settings back that the shared engine has lost, before
// anybody can overstep them.
func (c *core) restoreQueues() {
	onShared(c, "stats", c.cfg.limits.call, c.remote.Stats, func(stats morningai.Stats, err error) {
		if err != nil {
			c.failedDelivery(err, 1)
			return
		}
		c.restoreEach(c.lostSettings(&stats), func(err error) {
			if err != nil {
				c.failedDelivery(err, 1)
				return
			}
			c.backlog.queuesBack = true
			c.next(c.rebuild != nil) // changes follow when everybody has put back what was
		})
	})
}

// lostSettings are those that were changed later than the shared engine knows.
func (c *core) lostSettings(stats *morningai.Stats) []setting {
	var out []setting
	for _, name := range slices.Sorted(maps.Keys(c.mirror.Queues)) {
		for _, change := range since(c.mirror.Queues[name], queueOf(stats, name)) {
			out = append(out, setting{name, change})
		}
	}
	return out
}

func (c *core) restoreEach(lost []setting, then func(error)) {
	if len(lost) == 0 {
		then(nil)
		return
	}
	s := lost[0]
	onShared(c, "set queue", c.cfg.limits.call, func(ctx context.Context) (morningai.QueueConfig, error) {
		return c.remote.SetQueue(ctx, s.Name, s.Change)
	}, func(_ morningai.QueueConfig, err error) {
		if outage(err) {
			then(err)
			return
		}
		if err != nil {
			c.warn("settings of a queue that Redis has lost cannot be put back", err, "queue", s.Name)
		}
		c.restoreEach(lost[1:], then)
	})
}

// restoreLeases tells which tasks run here: those that the shared engine has
// lost as such are put back, with their claims, and belong to their session
// again with its next beat.
func (c *core) restoreLeases() {
	var ids []morningai.ID
	for id, h := range c.held {
		if c.rebuild != nil && h.decided == "" && !h.task.ID.IsZero() {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		c.next(true)
		return
	}
	slices.SortFunc(ids, func(a, b morningai.ID) int { return bytes.Compare(a[:], b[:]) })
	c.getShared(ids, func(tasks []morningai.Task, err error) {
		var records []morningai.Record
		for i := range tasks {
			h := c.held[ids[i]]
			if h == nil || h.decided != "" || isRun(&tasks[i], h) {
				continue
			}
			if tasks[i].Life >= h.task.Life && tasks[i].Attempt >= h.task.Attempt {
				c.repeated(ids[i]) // it was handed out again before anybody had noticed
			}
			records = append(records, running(h, c.cfg.node))
		}
		then := func(err error) {
			if err != nil {
				c.failedDelivery(err, deliverPage)
				return
			}
			c.next(true)
		}
		if err != nil {
			then(err)
			return
		}
		c.putBackRecords(records, then)
	})
}

// isRun reports that the shared engine has a task as it was handed out here.
func isRun(t *morningai.Task, h *holding) bool {
	return t.State == morningai.StateRunning && t.Attempt == h.task.Attempt && t.StartedAt.Equal(h.task.StartedAt)
}

func running(h *holding, node string) morningai.Record {
	r := morningai.Record{Task: h.task, Claim: h.lease.Claim, Lease: h.lease.Lease, Node: node, Session: h.session, Steps: h.steps,
		UniqueKey: h.asked.UniqueKey, Retention: h.asked.Retention, Fingerprint: h.asked.Fingerprint}
	r.Task.State, r.Task.CancelRequested = morningai.StateRunning, h.task.CancelRequested || h.cancel
	r.Attempts = []morningai.Attempt{{Number: r.Task.Attempt, Life: r.Task.Life, Node: node, StartedAt: r.Task.StartedAt}}
	return r
}

// putBackRecords imports records that the shared engine may have lost, with what
// the journal knows of their tasks besides.
func (c *core) putBackRecords(records []morningai.Record, then func(error)) {
	if len(records) == 0 {
		then(nil)
		return
	}
	page := records[:min(len(records), deliverPage)]
	keys := make([]morningai.NoteKey, len(page))
	for i := range page {
		keys[i] = keyOf(noteTask, page[i].Task.ID)
	}
	onJournal(c, "noted", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Noted(ctx, keys) },
		func(notes []morningai.Note, err error) {
			if err != nil {
				then(err)
				return
			}
			for i := range page {
				complete(&page[i], &notes[i])
				c.leap(&page[i])
			}
			c.takeKeys(page, func(err error) {
				if err != nil {
					then(err)
					return
				}
				c.importBack(page, func(err error) {
					if err != nil {
						then(err)
						return
					}
					c.putBackRecords(records[len(page):], then)
				})
			})
		})
}

func (c *core) importBack(page []morningai.Record, then func(error)) {
	onShared(c, "import", c.cfg.limits.call, func(ctx context.Context) ([]morningai.ImportResult, error) { return c.remote.Import(ctx, page) },
		func(results []morningai.ImportResult, err error) {
			for i := range results {
				c.putBackAs(&page[i], &results[i])
			}
			then(err)
		})
}

const (
	// versionStride is more than the visible changes of a task in one generation of
	// the data: what is put back starts there, because whoever puts it back may not
	// have seen all that others were shown. For a reader versions only grow.
	versionStride = 1 << 20
	// claimStride is more than the hand-outs of a task in one life.
	claimStride = 1000
)

func (c *core) leap(r *morningai.Record) {
	generation := c.mirror.Data.Generation
	if c.rebuild != nil {
		generation = c.rebuild.data.Generation
	}
	if first := min(generation, 1<<11) * versionStride; r.Task.Version < first {
		r.Task.Version += first
	}
}

func (c *core) putBackAs(r *morningai.Record, res *morningai.ImportResult) {
	switch {
	case res.Err != nil:
		c.warn("a task that Redis has lost cannot be put back", res.Err, "task_id", r.Task.ID)
	case res.Status == morningai.ImportAdded || res.Status == morningai.ImportUpdated:
		c.incidents.current.Replayed++
	case res.Status == morningai.ImportRepeated:
		c.repeated(r.Task.ID)
	}
	if res.Err == nil && res.Task.State.Terminal() {
		c.backlog.settled(r.Task.ID)
		c.erase(keyOf(noteTask, r.Task.ID))
	}
}

// restoreClaims puts back that tasks were handed out here, so that the shared
// engine can judge the outcomes that follow.
func (c *core) restoreClaims(outcomes []*morningai.Record, page int, then func()) {
	var records []morningai.Record
	for _, o := range outcomes {
		if o.Task.Type == "" || o.Settled == "" || !c.toBeDelivered(o) {
			continue
		}
		r := *o
		t := &r.Task
		t.State, t.Result, t.Error, t.FinishedAt, t.RunAt = morningai.StateRunning, nil, nil, time.Time{}, time.Time{}
		r.Settled, r.Attempts = "", []morningai.Attempt{{Number: t.Attempt, Life: t.Life, Node: r.Node, StartedAt: t.StartedAt}}
		records = append(records, r)
	}
	c.putBackRecords(records, func(err error) {
		if err != nil && !c.poison(page, err) {
			c.failedDelivery(err, page)
			return
		}
		then()
	})
}

// splitAcknowledged tells outcomes that the shared engine has acknowledged from
// those that it has still to judge.
func (c *core) splitAcknowledged(notes []morningai.Note, all []*morningai.Record) (open, acknowledged []*morningai.Record) {
	for i, r := range all {
		_, kept := c.backlog.kept[r.Task.ID]
		h := c.held[r.Task.ID]
		switch {
		case overruled(r.Settled, r.Task.State): // it was noted after the shared engine had judged it
			acknowledged = append(acknowledged, r)
		case h != nil && h.decided != "", r.Task.Type == "", !kept && notes[i].Seq > c.mirror.Told && r.Settled != "":
			open = append(open, r)
		default:
			acknowledged = append(acknowledged, r)
		}
	}
	return open, acknowledged
}

// restoreOutcomes puts back what the shared engine has acknowledged and may have
// lost. An end that its retention has outlived is of no use to anybody.
func (c *core) restoreOutcomes(records []*morningai.Record, page int, then func()) {
	var list []morningai.Record
	for _, r := range records {
		if r.Retention != nil && r.Task.State.Terminal() && c.now.Sub(r.Task.FinishedAt) > max(*r.Retention, tombstones) {
			continue
		}
		list = append(list, *r)
	}
	c.putBackRecords(list, func(err error) {
		switch {
		case err == nil:
			then()
		case c.poison(page, err):
			c.warn("an outcome that Redis has lost cannot be put back", err, "task_id", list[0].Task.ID)
			then()
		default:
			c.failedDelivery(err, page)
		}
	})
}

// putMembersBack records the members that the shared engine has lost, so that
// nodes which know of none of this ask them too.
func (c *core) putMembersBack(req *morningai.BeatRequest, members []morningai.Member) {
	if c.rebuild == nil || req.Leaving {
		return
	}
	for i := range c.members {
		lost := c.members[i]
		if lost.Journal == c.cfg.member || slices.ContainsFunc(members, func(m morningai.Member) bool { return m.Journal == lost.Journal }) {
			continue
		}
		again := *req
		again.Member, again.Forget = &lost, nil
		onShared(c, "beat", c.cfg.limits.call, func(ctx context.Context) (morningai.BeatReply, error) { return c.remote.Beat(ctx, again) },
			func(morningai.BeatReply, error) {}) // if it fails the next beat finds it missing again
	}
}

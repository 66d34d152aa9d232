package resilient

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// deliverOutcomes reports what was finished. In a pass over everything also
// what was acknowledged lately: an engine that died may have lost it.
func (c *core) deliverOutcomes(notes []morningai.Note) {
	c.advance(notes)
	news := c.news(notes)
	all, ok := c.parsed(news, len(notes))
	if !ok {
		return
	}
	then := func() {
		c.passed(notes)
		if len(news) == 0 { // there is nothing to be gentle about
			c.backlog.due = c.now
		}
	}
	if c.rebuild != nil {
		var acknowledged []*morningai.Record
		all, acknowledged = c.splitAcknowledged(news, all)
		then = func() { c.restoreOutcomes(acknowledged, len(notes), func() { c.passed(notes) }) }
		c.restoreClaims(all, len(notes), func() { c.sendOutcomes(all, len(notes), then) })
		return
	}
	c.sendOutcomes(all, len(notes), then)
}

// sendOutcomes reports those of a page that have to be, and then goes on.
func (c *core) sendOutcomes(all []*morningai.Record, page int, then func()) {
	var records []*morningai.Record
	for _, r := range all {
		if r.Settled == "" { // an end that no attempt has brought: the shared engine had it before it was noted
			c.backlog.keep(r.Task.ID, c.now, true)
		} else if c.toBeDelivered(r) {
			records = append(records, r)
		}
	}
	if len(records) == 0 {
		then()
		return
	}
	reports := make([]morningai.Report, len(records))
	for i, r := range records {
		reports[i] = reportOf(r)
	}
	onShared(c, "finish", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Verdict, error) { return c.remote.Finish(ctx, reports) },
		func(verdicts []morningai.Verdict, err error) {
			if err != nil {
				if c.poison(len(records), err) {
					c.setAside(records[0], err)
					then()
					return
				}
				c.failedDelivery(err, page)
				return
			}
			var lost, late []*morningai.Record
			for i := range verdicts {
				switch err := verdicts[i].Err; morningai.CodeOf(err) {
				case morningai.CodeNotFound:
					lost = append(lost, records[i])
				case morningai.CodeStale:
					late = append(late, records[i])
				default:
					if err != nil {
						c.setAside(records[i], err)
						continue
					}
					c.delivered(records[i], verdicts[i])
				}
			}
			c.restore(lost, late, func(err error) {
				if err != nil {
					c.failedDelivery(err, page)
					return
				}
				then()
			})
		})
}

// toBeDelivered reports whether the shared engine has to be told of an outcome in
// this pass, and is not being told already.
func (c *core) toBeDelivered(r *morningai.Record) bool {
	l := morningai.Lease{ID: r.Task.ID, Claim: r.Claim, Lease: r.Lease}
	if h := c.held[l.ID]; h != nil && h.lease == l && h.sending || c.known.refusedOutcomes.has(leaseKey(l), c.now) {
		return false
	}
	_, kept := c.backlog.kept[l.ID]
	return !kept || c.backlog.full && !c.backlog.calm
}

func (c *core) delivered(r *morningai.Record, v morningai.Verdict) {
	if _, kept := c.backlog.kept[r.Task.ID]; kept {
		return
	}
	c.incidents.current.Delivered++
	c.keepDecided(r, v.State)
	c.settled(morningai.Lease{ID: r.Task.ID, Claim: r.Claim, Lease: r.Lease}, v)
}

// restore deals with outcomes that came late. A task that the shared engine has
// lost is put back whole. One whose claim was taken back, because its node was
// away for too long, and that has not been handed out again, is ended too: the
// work is done. Any other goes its own way, and is reported as repeated.
func (c *core) restore(lost, late []*morningai.Record, then func(error)) {
	if len(lost)+len(late) == 0 {
		then(nil)
		return
	}
	ids := make([]morningai.ID, len(late))
	keys := make([]morningai.NoteKey, len(lost))
	for i, r := range late {
		ids[i] = r.Task.ID
	}
	for i, r := range lost {
		keys[i] = keyOf(noteTask, r.Task.ID)
	}
	onJournal(c, "noted", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Noted(ctx, keys) },
		func(notes []morningai.Note, err error) {
			if err != nil {
				then(err)
				return
			}
			for i, r := range lost {
				complete(r, &notes[i])
			}
			c.getShared(ids, func(tasks []morningai.Task, err error) {
				if err != nil {
					then(err)
					return
				}
				c.putBack(lost, late, tasks, then)
			})
		})
}

// complete fills in what a grant does not carry from the note of the task, if
// it was accepted here.
func complete(r *morningai.Record, n *morningai.Note) {
	if n.Seq == 0 {
		return
	}
	if first, err := morningai.ParseRecord(n.Data); err == nil { // the note of an order does not have all of it
		r.UniqueKey, r.Retention, r.Fingerprint = first.UniqueKey, first.Retention, first.Fingerprint
	}
}

func (c *core) putBack(lost, late []*morningai.Record, tasks []morningai.Task, then func(error)) {
	var records []morningai.Record
	for _, r := range lost {
		if r.Task.Type == "" { // it was never known here what the task is
			c.drop(r)
			continue
		}
		if at := r.Attempts[0].FinishedAt; c.now.Sub(at) > tombstones-tombstoneMargin {
			c.setAside(r, errOutcomeUnknown)
			c.drop(r)
			continue
		}
		records = append(records, *r)
	}
	for i, r := range late {
		t := &tasks[i]
		waiting := t.State == morningai.StateQueued || t.State == morningai.StateScheduled
		_, kept := c.backlog.kept[r.Task.ID]
		switch {
		case waiting && t.Life == r.Task.Life && t.Attempt == r.Task.Attempt && r.Task.State.Terminal():
			ended := *r
			ended.Task.Version = max(ended.Task.Version, t.Version+2) // it goes on from what was shown, over having run
			records = append(records, ended)
			continue
		case t.ID.IsZero() && !kept && c.rebuild == nil: // it was deleted, which whoever did it may have had no time to keep
			c.keepDeleted(&r.Task)
			if c.known.deleted.has(r.Task.ID, c.now) { // here, and handed out elsewhere meanwhile
				c.repeated(r.Task.ID)
			}
		case !kept && !t.ID.IsZero():
			c.repeated(r.Task.ID)
			c.log(slog.LevelWarn, "a task was finished here while it could not be reported, and was handed out again", "task_id", r.Task.ID, "trace_id", r.Task.TraceID)
		}
		c.drop(r)
	}
	if len(records) == 0 {
		then(nil)
		return
	}
	onShared(c, "import", c.cfg.limits.call, func(ctx context.Context) ([]morningai.ImportResult, error) { return c.remote.Import(ctx, records) },
		func(results []morningai.ImportResult, err error) {
			if err != nil {
				then(err)
				return
			}
			for i := range results {
				r, res := &records[i], &results[i]
				switch {
				case res.Err != nil:
					c.setAside(r, res.Err)
					c.drop(r)
				default:
					if h := c.held[r.Task.ID]; res.Status == morningai.ImportRepeated || h != nil && h.lease.Claim > r.Claim {
						c.repeated(r.Task.ID) // elsewhere, or it was handed out here again meanwhile
					}
					c.delivered(r, morningai.Verdict{State: res.Task.State})
				}
			}
			then(nil)
		})
}

// sameTime compares times of which one was stored with less precision.
func sameTime(a, b time.Time) bool {
	return a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond))
}

// drop forgets an outcome that has lost its purpose.
func (c *core) drop(r *morningai.Record) {
	if _, later := c.backlog.kept[r.Task.ID]; later && c.held[r.Task.ID] == nil {
		return // the note may be that of a later claim, which was acknowledged
	}
	c.settled(morningai.Lease{ID: r.Task.ID, Claim: r.Claim, Lease: r.Lease}, morningai.Verdict{Err: morningai.ErrStale})
}

// deliverPoints hands over checkpoints; one whose claim has passed on is of no
// use any more.
func (c *core) deliverPoints(notes []morningai.Note) {
	points := make([]morningai.Checkpoint, len(notes))
	for i := range notes {
		if err := json.Unmarshal(notes[i].Data, &points[i]); err != nil {
			c.log(slog.LevelError, "a note of the journal cannot be read", "error", err)
		}
	}
	onShared(c, "checkpoint", c.cfg.limits.call, func(ctx context.Context) ([]error, error) { return c.remote.Checkpoint(ctx, points) },
		func(errs []error, err error) {
			if err != nil && !c.poison(len(notes), err) {
				c.failedDelivery(err, len(notes))
				return
			}
			if err != nil {
				c.warn("a checkpoint is refused by Redis", err)
			}
			for _, err := range errs {
				if err == nil {
					c.incidents.current.Delivered++
				}
			}
			c.backlog.points = max(c.backlog.points-int64(len(notes)), 0)
			c.erase(keysOf(notes)...)
			c.passed(notes)
		})
}

// order is the note of a command.
type order struct {
	Command morningai.Command `json:"command"`
	At      time.Time         `json:"at"`
}

// deliverCommands gives orders, but for those about a task that has first to come to
// what an earlier order had led to.
func (c *core) deliverCommands(page []morningai.Note) {
	if c.mirror.Older {
		c.dropOrders(page)
		return
	}
	var notes []morningai.Note
	var cmds []morningai.Command
	for i := range page {
		var o order
		if err := json.Unmarshal(page[i].Data, &o); err != nil {
			c.log(slog.LevelError, "a note of the journal cannot be read", "error", err)
		}
		if !c.backlog.reordering[o.Command.ID] {
			notes, cmds = append(notes, page[i]), append(cmds, o.Command)
		}
	}
	if len(cmds) == 0 {
		c.passed(page)
		return
	}
	onShared(c, "command", c.cfg.limits.call, func(ctx context.Context) ([]morningai.CommandResult, error) { return c.remote.Command(ctx, cmds) },
		func(results []morningai.CommandResult, err error) {
			if err != nil && !c.poison(len(notes), err) {
				c.failedDelivery(err, len(page))
				return
			}
			var done []morningai.NoteKey
			var kept []morningai.Note
			for i := range results {
				if morningai.CodeOf(results[i].Err) == morningai.CodeNotFound && c.mayCome(cmds[i].ID) {
					c.after(retryOrder, func() { c.backlog.again(c) }) // its task is still on its way
					continue
				}
				done = append(done, notes[i].NoteKey)
				c.known.settle(cmds[i].ID)
				if results[i].Err != nil {
					c.warn("an order that was given during the outage could not be carried out", results[i].Err, "task_id", cmds[i].ID, "command", string(cmds[i].Kind))
					continue
				}
				c.incidents.current.Delivered++
				c.known.see(&results[i].Task)
				if note, err := orderedNote(&cmds[i], &results[i], c.now); err == nil {
					kept = append(kept, note)
				}
			}
			if err != nil {
				done = keysOf(notes)
			}
			c.backlog.commands = max(c.backlog.commands-int64(len(done)), 0)
			c.keepOrders(kept, func() {
				c.erase(done...)
				c.passed(page)
			})
		})
}

// retryOrder is the pause before an order is tried again whose task has still to
// reach the shared engine.
const retryOrder = 500 * time.Millisecond

// mayCome reports whether a task that the shared engine does not know may be
// delivered by a node that has accepted it.
func (c *core) mayCome(id morningai.ID) bool {
	b := &c.backlog
	if _, doubt := b.doubt[id]; doubt || b.own > 0 || b.owned > 0 || b.full && !b.calm { // what an earlier process left is compared last
		return true
	}
	return slices.ContainsFunc(c.members, func(m morningai.Member) bool {
		return m.Journal != c.cfg.member && !(*member)(&m).cleared(id)
	})
}

// setting is the note of a change of a queue. The change says when it was given.
type setting struct {
	Name   string                `json:"name"`
	Change morningai.QueueChange `json:"change"`
}

// deliverSettings hands over changes of queues, one at a time and in the order
// in which they were given. What others have changed later stays.
func (c *core) deliverSettings(notes []morningai.Note) {
	var s setting
	if err := json.Unmarshal(notes[0].Data, &s); err != nil {
		c.log(slog.LevelError, "a note of the journal cannot be read", "error", err)
	}
	onShared(c, "set queue", c.cfg.limits.call, func(ctx context.Context) (morningai.QueueConfig, error) {
		return c.remote.SetQueue(ctx, s.Name, s.Change)
	}, func(q morningai.QueueConfig, err error) {
		if outage(err) && c.backlog.fails < poisonTries {
			c.failedDelivery(err, 1)
			return
		}
		if err != nil {
			c.warn("settings of a queue that were changed during the outage are refused", err, "queue", s.Name)
		} else {
			if !holds(&s.Change, q) {
				c.log(slog.LevelWarn, "settings of a queue that were changed during the outage have been changed elsewhere later, and stay as they are there", "queue", s.Name)
			}
			c.incidents.current.Delivered++
			c.obeyShared(q, func() {}) // the shared engine may lose it at once
		}
		c.settingTold(notes)
	})
}

func queueOf(stats *morningai.Stats, name string) morningai.QueueConfig {
	for i := range stats.Queues {
		if stats.Queues[i].Name == name {
			return stats.Queues[i].QueueConfig
		}
	}
	return morningai.QueueConfig{Name: name}
}

func (c *core) settingTold(notes []morningai.Note) {
	c.backlog.settings = max(c.backlog.settings-1, 0)
	c.mirror.told++
	if c.backlog.settings == 0 {
		c.resumeClaims()
	}
	c.mirror.next = c.now
	c.erase(notes[0].NoteKey)
	c.passed(notes[:1])
}

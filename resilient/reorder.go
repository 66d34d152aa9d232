package resilient

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// orderedNote keeps an order for as long as the shared engine may lose it: the
// task as it left it, with the order and its time in the place of a fingerprint.
func orderedNote(cmd *morningai.Command, res *morningai.CommandResult, at time.Time) (morningai.Note, error) {
	after := &res.Task
	r := morningai.Record{Task: *after, UniqueKey: res.UniqueKey, Retention: res.Retention, Claim: int64(after.Attempt), Deleted: cmd.Kind == morningai.CommandDelete,
		Fingerprint: string(cmd.Kind) + " " + at.UTC().Format(time.RFC3339)}
	data, err := r.AppendBinary(nil)
	return morningai.Note{NoteKey: keyOf(noteOrdered, after.ID), Data: data}, err
}

// keepDeleted keeps that a task was deleted, in the place of what is noted of it.
func (c *core) keepDeleted(t *morningai.Task) {
	note, err := orderedNote(&morningai.Command{Kind: morningai.CommandDelete, ID: t.ID}, &morningai.CommandResult{Task: *t}, c.now)
	if err != nil {
		return // it came from the journal in this form
	}
	c.keepOrders([]morningai.Note{note}, func() { c.erase(keyOf(noteTask, t.ID)) })
}

// orderIn is which order a record of orderedNote tells of, and when it was given.
func orderIn(r *morningai.Record) (morningai.CommandKind, time.Time) {
	kind, text, _ := strings.Cut(r.Fingerprint, " ")
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at = later(r.Task.CreatedAt, r.Task.FinishedAt) // it was not noted
	}
	if r.Task.CancelRequested { // whatever else was ordered while it runs
		kind = string(morningai.CommandCancel)
	}
	return morningai.CommandKind(kind), at
}

// keepOrders writes such notes. The orders were carried out, whatever becomes of
// this. One that the shared engine had carried out before another is not kept in its
// place, though it was told later.
func (c *core) keepOrders(notes []morningai.Note, then func()) {
	notes = slices.DeleteFunc(notes, func(n morningai.Note) bool {
		r, err := morningai.ParseRecord(n.Data)
		if err != nil {
			return false
		}
		if r.Deleted { // it shows what was deleted
			r.Task.Version++
		}
		return !c.known.ordered(&r.Task)
	})
	if len(notes) == 0 {
		then()
		return
	}
	c.noteInOrder(notes, func(error) { then() })
}

// restoreOrdered puts back the ends that were ordered, of tasks that were canceled
// before they ran, or deleted, and the lives that were: nobody may begin what came
// before them.
func (c *core) restoreOrdered() {
	if c.rebuild == nil {
		c.next(true)
		return
	}
	c.readNotes(noteOrdered, func(notes []morningai.Note) {
		records, ok := c.parsed(notes, len(notes))
		if !ok {
			return
		}
		var ends []morningai.Record
		var lives []*morningai.Record
		for _, r := range records {
			switch {
			case r.Deleted || r.Task.State.Terminal():
				end := *r
				end.Fingerprint = ""
				ends = append(ends, end)
			case r.Task.Life > 1:
				lives = append(lives, r)
			}
		}
		c.putBackRecords(ends, func(err error) {
			if err != nil {
				c.failedDelivery(err, len(notes))
				return
			}
			c.orderEach(lives, notes)
		})
	})
}

// reorder carries out again what the shared engine has lost of other orders.
func (c *core) reorder() {
	if !c.backlog.loss {
		c.next(true)
		return
	}
	c.readNotes(noteOrdered, func(notes []morningai.Note) {
		if records, ok := c.parsed(notes, len(notes)); ok {
			c.orderEach(records, notes)
		}
	})
}

// orderEach compares the tasks of a page with what orders had led to, and gives
// again those of which nothing is there.
func (c *core) orderEach(records []*morningai.Record, page []morningai.Note) {
	if len(records) == 0 {
		c.passed(page)
		return
	}
	ids := make([]morningai.ID, len(records))
	for i, r := range records {
		ids[i] = r.Task.ID
	}
	c.getShared(ids, func(tasks []morningai.Task, err error) {
		if err != nil {
			c.failedDelivery(err, len(page))
			return
		}
		var cmds []morningai.Command
		var again []morningai.Record
		for i, r := range records {
			delete(c.backlog.reordering, ids[i])
			now, open := &tasks[i], !r.Deleted && !r.Task.State.Terminal()
			kind, _ := orderIn(r)
			switch {
			case open && r.Task.Life == 1 && now.ID.IsZero() && c.backlog.lossUntil(c, ids[i]): // somebody may still bring it
			case open && now.Life == r.Task.Life-1 && mayEnd(now):
				for _, k := range waysTo(kind, now) {
					cmds = append(cmds, morningai.Command{Kind: k, ID: ids[i]})
				}
			case open && now.Life < r.Task.Life:
				again = append(again, *r)
			case undone(kind, &r.Task, now):
				cmds = append(cmds, morningai.Command{Kind: kind, ID: ids[i]})
			}
		}
		c.retryAgain(again, func(err error) {
			if err != nil {
				c.failedDelivery(err, len(page))
				return
			}
			c.orderAgain(page, cmds)
		})
	})
}

// mayEnd reports that an order would lead to the end of a task's life, or had.
func mayEnd(t *morningai.Task) bool {
	switch t.State {
	case morningai.StateQueued, morningai.StateScheduled, morningai.StateBlocked, morningai.StateFailed, morningai.StateCanceled:
		return !t.ID.IsZero()
	}
	return false
}

// waysTo are the orders that lead from a task in the life before to what an order
// had led to.
func waysTo(kind morningai.CommandKind, now *morningai.Task) (ways []morningai.CommandKind) {
	if !now.State.Terminal() {
		ways = append(ways, morningai.CommandCancel)
	}
	if ways = append(ways, morningai.CommandRetry); kind == morningai.CommandCancel {
		ways = append(ways, kind)
	}
	return ways
}

// undone reports that a task shows nothing of an order that had led to after.
func undone(kind morningai.CommandKind, after, now *morningai.Task) bool {
	switch kind {
	case morningai.CommandCancel:
		return now.Life == after.Life && !now.State.Terminal() && !now.CancelRequested
	case morningai.CommandRetry: // of one that was to be tried again later
		return now.Life == after.Life && now.Attempt == after.Attempt && now.State == morningai.StateScheduled && now.Failures > 0
	case morningai.CommandRun:
		return now.Life == after.Life && now.Attempt == after.Attempt && now.State == morningai.StateScheduled
	}
	return false
}

// retryAgain puts back the next lives of tasks. Once everybody has told which run,
// their claims go on far behind those that the lives before may have had.
func (c *core) retryAgain(records []morningai.Record, then func(error)) {
	for i := range records {
		r := &records[i]
		if r.Fingerprint = ""; c.rebuild == nil {
			r.Claim += claimStride
		}
		r.Task.State, r.Task.RunAt, r.Task.CancelRequested = morningai.StateQueued, time.Time{}, false
	}
	c.putBackRecords(records, then)
}

func (c *core) orderAgain(notes []morningai.Note, cmds []morningai.Command) {
	if len(cmds) == 0 {
		c.passed(notes)
		return
	}
	onShared(c, "command", c.cfg.limits.call, func(ctx context.Context) ([]morningai.CommandResult, error) { return c.remote.Command(ctx, cmds) },
		func(results []morningai.CommandResult, err error) {
			if err != nil {
				c.failedDelivery(err, len(notes))
				return
			}
			for i := range results {
				if results[i].Err != nil {
					c.warn("an order that Redis has lost cannot be carried out again", results[i].Err, "task_id", cmds[i].ID, "command", string(cmds[i].Kind))
					continue
				}
				c.incidents.current.Replayed++
				if c.rebuild == nil { // else its end may still be told by another node
					c.known.see(&results[i].Task)
				}
			}
			c.passed(notes)
		})
}

// lossUntil lets another pass look for a task about which a loss has left an order
// undone, and reports whether there is time for one.
func (b *backlog) lossUntil(c *core, id morningai.ID) bool {
	if c.now.Sub(b.lossAt) >= rebuildPatience {
		return false
	}
	if b.reordering == nil {
		b.reordering = map[morningai.ID]bool{}
	}
	b.lossGoesOn, b.reordering[id] = true, true
	return true
}

// rebuildPatience is for how long after a loss tasks are expected to be brought
// back by nodes that had accepted them.
const rebuildPatience = 2 * time.Minute

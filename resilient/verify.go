package resilient

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// verify compares the tasks that the shared engine is to have with those that it
// has: some have ended elsewhere, some may be lost.
func (c *core) verify() {
	if b := &c.backlog; !b.full || b.loss != (b.stage == stageReturn) {
		c.next(true)
		return
	}
	c.readNotes(noteTask, func(notes []morningai.Note) { c.compareAll(notes, func() { c.passed(notes) }) })
}

// compareAll asks the shared engine which of the tasks it has, and goes on with
// the others.
func (c *core) compareAll(notes []morningai.Note, then func()) {
	ids := make([]morningai.ID, len(notes))
	for i := range notes {
		ids[i] = notes[i].Key
	}
	c.getShared(ids, func(tasks []morningai.Task, err error) {
		if err != nil {
			c.failedDelivery(err, len(notes))
			return
		}
		c.compare(notes, tasks, then)
	})
}

// getShared asks the shared engine for tasks.
func (c *core) getShared(ids []morningai.ID, then func([]morningai.Task, error)) {
	onShared(c, "get", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Task, error) {
		return c.remote.Get(ctx, morningai.GetRequest{IDs: ids, Lingering: true})
	}, then)
}

// compare sends again what the shared engine does not know. A task so old that
// it may have ended and been forgotten there is not: it might run again.
func (c *core) compare(notes []morningai.Note, tasks []morningai.Task, then func()) {
	var missing []morningai.Note
	for i := range notes {
		id := notes[i].Key
		if !tasks[i].ID.IsZero() {
			c.backlog.settled(id)
			c.ended(&notes[i], &tasks[i])
			continue
		}
		if ready, doubt := c.backlog.doubt[id]; doubt && (!ready || c.backlog.stage == stageReturn) || !doubt && c.held[id] != nil {
			continue // it comes by itself: its outcome will put it back
		}
		if c.known.refused.has(id, c.now) || c.known.deleted.has(id, c.now) {
			continue // its note is about to go
		}
		missing = append(missing, notes[i])
	}
	missing = c.young(missing)
	if len(missing) == 0 {
		then()
		return
	}
	c.forward(missing, &c.incidents.current.Replayed, true, then)
}

// ended gives up the note of a task that has ended. The end itself is kept by the
// journal of the node that reported it. But a cancel may have come from a node that
// died before it had kept that, or have ended a task whose hand-out was lost on its
// way, and a node without a journal keeps nothing: then nobody else could put the
// end back.
func (c *core) ended(n *morningai.Note, t *morningai.Task) {
	if !t.State.Terminal() {
		return
	}
	r, err := morningai.ParseRecord(n.Data)
	if err != nil {
		c.erase(n.NoteKey)
		return
	}
	c.hasEnded(&r, t)
}

func (c *core) hasEnded(r *morningai.Record, t *morningai.Task) {
	if c.held[t.ID] != nil {
		return // its outcome is on its way, and decides about its notes
	}
	_, kept := c.backlog.kept[t.ID]
	if kept || t.State != morningai.StateCanceled && len(c.alone) == 0 {
		c.erase(keyOf(noteTask, t.ID))
		return
	}
	end := *r
	end.Task, end.Claim = *t, int64(t.Attempt)
	c.keepEnd(&end, keyOf(noteTask, t.ID))
}

// tombstoneMargin covers clocks that differ.
const tombstoneMargin = 5 * time.Minute

// errOutcomeUnknown is why a task is set aside that may have ended.
var errOutcomeUnknown error = &morningai.Error{Code: "outcome_unknown", Op: "deliver",
	Detail: "Redis does not know the task, and it is so long ago that it was sent that it may have ended and been forgotten",
	Hint:   "look for what it does, and submit it again if that has not happened"}

// anyOld reports whether one of the tasks may have ended and been forgotten by
// the shared engine.
func (c *core) anyOld(notes []morningai.Note) bool {
	return slices.ContainsFunc(notes, func(n morningai.Note) bool {
		r, err := morningai.ParseRecord(n.Data)
		return err == nil && c.isOld(&r)
	})
}

func (c *core) isOld(r *morningai.Record) bool {
	return c.now.Sub(later(r.Task.CreatedAt, c.mirror.Verified)) > tombstones-tombstoneMargin
}

// young sets those aside of which the shared engine may have forgotten that
// they have ended.
func (c *core) young(notes []morningai.Note) []morningai.Note {
	var out []morningai.Note
	for i := range notes {
		r, err := morningai.ParseRecord(notes[i].Data)
		if err == nil && c.isOld(&r) {
			c.setAside(&r, errOutcomeUnknown)
			continue
		}
		out = append(out, notes[i])
	}
	return out
}

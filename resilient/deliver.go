package resilient

import (
	"context"
	"errors"
	"time"

	"github.com/RC918/morningai"
)

// recover begins a pass over everything: the circuit has closed.
func (c *core) recover() {
	b := &c.backlog
	b.due, b.full, b.calm, b.more = c.now, true, false, false
	b.local = true
	b.anew = b.busy
	b.restart(stageSettings)
}

// beginAnew reports that the call which has ended belonged to a pass of the past.
func (b *backlog) beginAnew(c *core) bool {
	if !b.anew {
		return false
	}
	b.anew, b.busy, b.due = false, false, c.now
	b.restart(stageSettings)
	return true
}

func (b *backlog) restart(s stage) { b.stage, b.after, b.fails = s, 0, 0 }

// deliver makes the next call, if it is time for one.
func (c *core) deliver() {
	b := &c.backlog
	if b.busy || c.closing || c.contact.open() && !c.reporting() || b.due.IsZero() || b.due.After(c.now) {
		return
	}
	if !b.started {
		b.started, b.full, b.local = true, true, true
		b.first = true
		c.writeMirror()
	}
	if !c.met && c.cfg.marks != nil {
		b.due = c.now.Add(retryPass) // first it has to be known whether this journal is what it was
		return
	}
	if b.stage == stageDone {
		b.restart(stageSettings)
	}
	if b.page == 0 {
		b.page = deliverPage
	}
	if b.stage == stageSettings && b.after == 0 {
		b.began = c.now
	}
	b.busy = true
	switch b.stage {
	case stageLeases:
		c.restoreLeases()
	case stagePoints:
		c.readNotes(notePoint, c.deliverPoints)
	case stageAgain:
		c.readNotes(noteAgain, c.deliverAgain)
	case stageOutcomes:
		if c.rebuild == nil {
			b.after = max(b.after, c.mirror.Told)
		}
		c.readNotes(noteOutcome, c.deliverOutcomes)
	case stageOrdered:
		c.restoreOrdered()
	case stageReorder:
		c.reorder()
	case stageDoubt:
		c.readDoubt()
	case stageCommands:
		c.readNotes(noteCommand, c.deliverCommands)
	case stageSettings:
		if c.partly() { // they hold where they could be told; the rest waits for all of it
			c.next(true)
			return
		}
		if (b.loss || b.first) && !b.queuesBack { // what is changed now is a change of what was there
			c.restoreQueues()
			return
		}
		c.readNotes(noteQueue, c.deliverSettings)
	case stageOwn:
		if b.edits > 0 {
			b.busy, b.due = false, c.now.Add(retryPass)
			return
		}
		c.readNotes(noteOwn, c.deliverOwn)
	case stageWithdraw:
		c.withdraw()
	case stageReturn, stageVerify:
		c.verify()
	}
}

// next goes on with the stage, or with the one after it.
func (c *core) next(ended bool) {
	b := &c.backlog
	if b.beginAnew(c) {
		return
	}
	b.busy, b.fails = false, 0
	b.page = min(max(b.page*2, 1), deliverPage)
	b.due = c.now
	if b.calm {
		b.due = c.now.Add(calmPace)
	}
	if !ended {
		return
	}
	if b.stage == stageVerify && b.full && c.rebuild == nil {
		b.comparing = false
	}
	b.restart(b.stage + 1)
	if b.first && b.stage > lastOfReport {
		b.first = false
		c.resumeClaims()
	}
	if c.rebuild != nil && b.stage > lastOfReport {
		c.hasReported()
		return
	}
	if b.stage == stageDone {
		c.endPass()
	}
}

func (c *core) endPass() {
	b := &c.backlog
	if b.full || b.loss {
		if b.loss && !b.lossGoesOn {
			c.lookForLost()
		}
		b.loss = b.lossGoesOn
		if !b.loss {
			b.reordering = nil
			c.mirror.Lost = false
		}
		if b.lossGoesOn {
			c.after(retryOrder, func() { b.again(c) })
		}
		b.lossGoesOn = false
	}
	if b.full {
		b.full, b.calmAt = false, c.now.Add(calmEvery)
		if len(c.apart.away) == 0 && c.apart.ended.Before(b.began) { // else not everything was looked at
			c.mirror.Verified = b.began.UTC()
		}
		c.mirror.Older = c.mirror.Older && b.more
		c.writeMirror()
	}
	if b.more {
		b.more, b.calm = false, false
		b.due = c.now.Add(retryPass)
		return
	}
	b.full, b.calm, b.due = true, true, b.calmAt
	c.settleIncident()
}

// failed stops the pass for a moment; one after an outage begins anew.
func (c *core) failedDelivery(err error, page int) {
	b := &c.backlog
	if b.beginAnew(c) {
		return
	}
	b.busy = false
	b.fails++
	b.page = max(page/2, 1)
	b.due = c.now.Add(retryPass)
	if errors.Is(err, morningai.ErrClosed) {
		b.due = time.Time{}
	}
}

// readNotes gives the next page of a kind to send.
func (c *core) readNotes(kind morningai.NoteKind, send func([]morningai.Note)) {
	after, limit := c.backlog.after, c.backlog.page
	onJournal(c, "notes", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Notes(ctx, kind, after, limit) },
		func(notes []morningai.Note, err error) {
			switch {
			case err != nil:
				c.failedDelivery(err, c.backlog.page)
			case len(notes) == 0:
				c.next(true)
			default:
				if there := c.sendable(kind, notes); len(there) > 0 {
					send(there)
				} else {
					c.passed(notes)
				}
			}
		})
}

// passed marks notes as dealt with.
func (c *core) passed(notes []morningai.Note) {
	c.backlog.after = notes[len(notes)-1].Seq
	c.next(false)
}

// poison reports whether a page that failed is one entry which fails again and
// again although the shared engine is well.
func (c *core) poison(n int, err error) bool {
	return n == 1 && (!outage(err) || c.backlog.fails >= poisonTries)
}

func keysOf(notes []morningai.Note) []morningai.NoteKey {
	keys := make([]morningai.NoteKey, len(notes))
	for i := range notes {
		keys[i] = notes[i].NoteKey
	}
	return keys
}

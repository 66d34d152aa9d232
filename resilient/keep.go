package resilient

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

const (
	// resendOutcomes is how long after its acknowledgement an outcome is reported
	// once more when the shared engine was away: it may have lost its last moments.
	resendOutcomes = 2 * time.Minute
	// keepEnded is for how long the end of a task stays in the journal: a snapshot
	// from which the shared engine is restored is seldom older.
	keepEnded = 7 * 24 * time.Hour
	// keepAtMost bounds how many ends and orders are kept.
	keepAtMost = 500_000
	trimAtOnce = 1000
)

type keptOutcome struct {
	id    morningai.ID
	at    time.Time
	ended bool // the task has ended with it
}

// keep notes that the shared engine has acknowledged an outcome.
func (b *backlog) keep(id morningai.ID, now time.Time, ended bool) {
	if b.kept == nil {
		b.kept = map[morningai.ID]time.Time{}
	}
	b.kept[id] = now
	b.keptIn = append(b.keptIn, keptOutcome{id, now, ended})
}

// keepEnd keeps the end of a task that this node had accepted, as an outcome, in
// the place of other notes.
func (c *core) keepEnd(r *morningai.Record, instead ...morningai.NoteKey) {
	data, err := r.AppendBinary(nil)
	if err != nil {
		return // it came from the journal in this form
	}
	id := r.Task.ID
	c.noteInOrder([]morningai.Note{{NoteKey: keyOf(noteOutcome, id), Data: data}}, func(err error) {
		if err == nil {
			c.backlog.keep(id, c.now, true)
			c.erase(instead...)
		}
	})
}

// forgetKept ends the time in which outcomes are reported once more. That of a
// task that goes on leaves the journal then; for an end the mark has to pass.
func (c *core) forgetKept() {
	b := &c.backlog
	n := 0
	for _, k := range b.keptIn {
		age := c.now.Sub(k.at)
		if age < resendOutcomes || k.ended && age < 5*resendOutcomes {
			break
		}
		if b.kept[k.id].Equal(k.at) {
			delete(b.kept, k.id)
			if !k.ended {
				c.erase(keyOf(noteOutcome, k.id))
			}
		}
		n++
	}
	b.keptIn = b.keptIn[n:]
}

// advance moves the mark up to which all outcomes have been acknowledged: those
// before it are not reported again, unless data were lost.
func (c *core) advance(notes []morningai.Note) {
	b, m := &c.backlog, &c.mirror
	if c.rebuild != nil || b.after != m.Told || len(c.apart.away) > 0 {
		return // this page does not follow the mark, or is not whole
	}
	for i := range notes {
		at, kept := b.kept[notes[i].Key]
		if !kept || c.now.Sub(at) < resendOutcomes {
			return
		}
		m.Told = notes[i].Seq
		delete(b.kept, notes[i].Key)
	}
}

// news are the notes of a page that this pass has to look at: what was
// acknowledged lately is not among them, unless the shared engine was away.
func (c *core) news(notes []morningai.Note) []morningai.Note {
	b := &c.backlog
	if c.rebuild != nil || b.full && !b.calm {
		return notes
	}
	var out []morningai.Note
	for i := range notes {
		if _, kept := b.kept[notes[i].Key]; !kept {
			out = append(out, notes[i])
		}
	}
	return out
}

// deliverAgain reports outcomes whose notes stand where earlier ones stood,
// before the mark.
func (c *core) deliverAgain(notes []morningai.Note) {
	keys := make([]morningai.NoteKey, len(notes))
	for i := range notes {
		keys[i] = keyOf(noteOutcome, notes[i].Key)
	}
	onJournal(c, "noted", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Noted(ctx, keys) },
		func(found []morningai.Note, err error) {
			if err != nil {
				c.failedDelivery(err, len(notes))
				return
			}
			var there []morningai.Note
			var gone []morningai.NoteKey
			for i := range found {
				if found[i].Seq != 0 {
					there = append(there, found[i])
				}
				if h := c.held[notes[i].Key]; h == nil || !h.sending {
					gone = append(gone, notes[i].NoteKey)
				}
			}
			records, ok := c.parsed(there, len(notes))
			if !ok {
				return
			}
			c.sendOutcomes(records, len(notes), func() {
				c.erase(gone...)
				c.passed(notes)
			})
		})
}

// trimKept forgets the oldest ends and orders when there are too many, or too
// old ones.
func (c *core) trimKept() {
	if c.trimming {
		return
	}
	kinds := []morningai.NoteKind{noteOutcome, noteOrdered}
	if c.trimmed == noteOutcome { // the other one is next
		slices.Reverse(kinds)
	}
	for _, kind := range kinds {
		n := c.disk.info.Notes[kind]
		full := n > keepAtMost || c.cfg.limit > 0 && c.disk.info.Bytes > c.cfg.limit/2
		if n > 0 && (full || !c.now.Before(c.trimNext)) {
			c.trim(kind, full)
			return
		}
	}
}

// trimEvery is how often the oldest are looked at while there is room.
const trimEvery = 10 * time.Minute

func (c *core) trim(kind morningai.NoteKind, full bool) {
	c.trimming, c.trimmed, c.trimNext = true, kind, c.now.Add(trimEvery)
	onJournal(c, "notes", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Notes(ctx, kind, 0, trimAtOnce) },
		func(notes []morningai.Note, err error) {
			c.trimming = false
			if err != nil {
				return
			}
			var gone []morningai.NoteKey
			room := c.roomNeeded()
			for i := range notes {
				at := endOf(&notes[i])
				if kind == noteOutcome && notes[i].Seq > c.mirror.Told && !c.spare(&notes[i], room) || !full && c.now.Sub(at) < keepEnded {
					break
				}
				room -= int64(len(notes[i].Data))
				gone = append(gone, notes[i].NoteKey)
				c.mirror.Trimmed = later(c.mirror.Trimmed, at)
			}
			c.disk.info.Notes[kind] -= int64(len(gone))
			c.erase(gone...)
			if full && len(gone) == trimAtOnce { // as fast as they come
				c.after(retryPass, c.trimKept)
			}
		})
}

// roomNeeded is by how much a journal that takes no more tasks is to shrink; 0 for
// one that does.
func (c *core) roomNeeded() int64 {
	switch d := &c.disk; {
	case d.full == nil:
		return 0
	case c.cfg.limit > 0 && d.info.Bytes >= c.cfg.limit:
		return d.info.Bytes - c.cfg.limit/2
	default:
		return trimBytes
	}
}

// trimBytes are spared at once for a disk that is full.
const trimBytes = 64 << 20

// spare gives up an end that the shared engine has acknowledged only lately: to
// accept tasks is worth more than to report it once more.
func (c *core) spare(n *morningai.Note, room int64) bool {
	b := &c.backlog
	if _, kept := b.kept[n.Key]; !kept || room <= 0 || c.contact.open() || c.rebuild != nil || !b.calm {
		return false
	}
	delete(b.kept, n.Key)
	return true
}

// endOf is when what a note tells of has happened.
func endOf(n *morningai.Note) time.Time {
	if r, err := morningai.ParseRecord(n.Data); err == nil {
		if n.Kind == noteOrdered {
			_, at := orderIn(&r)
			return at
		}
		if len(r.Attempts) > 0 && !r.Attempts[len(r.Attempts)-1].FinishedAt.IsZero() {
			return r.Attempts[len(r.Attempts)-1].FinishedAt
		}
		return r.Task.FinishedAt
	}
	return time.Time{}
}

// tombstonesSince is from when on the ends of tasks that ended here are known.
func (c *core) tombstonesSince() time.Time {
	return later(c.disk.info.Since, later(c.mirror.Trimmed, c.now.Add(-keepEnded))).UTC()
}

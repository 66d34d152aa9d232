package resilient

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/RC918/morningai"
)

// forwarding is one page of tasks on their way to the shared engine. They are
// in the journal as noteTask, so that they will be sent again if this fails.
type forwarding struct {
	c       *core
	records []*morningai.Record
	counter *int64                // of the incident: what was new to the shared engine counts there
	missing bool                  // the shared engine did not show them
	own     bool                  // the shared engine cannot have them from here
	fresh   map[morningai.ID]bool // they were new to the shared engine a moment ago
	then    func(error)
}

// begin imports what has no unique key, or has it behind it; the others are
// enqueued first, because somebody else may hold their keys.
func (f *forwarding) begin() {
	var whole []morningai.Record
	var keyed []*morningai.Record
	for _, r := range f.records {
		if r.UniqueKey != "" && r.Task.State != morningai.StateRunning && !r.Task.State.Terminal() && !r.Deleted {
			keyed = append(keyed, r)
		} else {
			whole = append(whole, *r)
		}
	}
	f.importAll(whole, func() { f.enqueue(keyed) })
}

func (f *forwarding) importAll(records []morningai.Record, next func()) {
	if len(records) == 0 {
		next()
		return
	}
	c := f.c
	onShared(c, "import", c.cfg.limits.call, func(ctx context.Context) ([]morningai.ImportResult, error) { return c.remote.Import(ctx, records) },
		func(results []morningai.ImportResult, err error) {
			if err != nil {
				f.then(err)
				return
			}
			for i := range results {
				f.imported(&records[i], &results[i])
			}
			next()
		})
}

func (f *forwarding) imported(r *morningai.Record, res *morningai.ImportResult) {
	c := f.c
	if res.Err != nil {
		f.refused(r, res.Err)
		return
	}
	if ours := r.Task; f.own { // an earlier process may have shown it
		ours.Fresh = morningai.FreshLocal
		c.known.see(&ours)
		c.known.yield(&res.Task)
	}
	if res.Status != morningai.ImportAdded && !res.Task.ID.IsZero() && !sameWork(&r.Task, &res.Task) {
		if r.Deleted { // that one stays
			f.settle(r.Task.ID)
			c.erase(keyOf(noteTask, r.Task.ID))
			return
		}
		c.setAside(r, &morningai.Error{Code: morningai.CodeConflict, Op: "deliver", Detail: "another task has this id in Redis"})
		return
	}
	if res.Status == morningai.ImportKept && r.Task.State.Terminal() && !res.Task.State.Terminal() && res.Task.Life == r.Task.Life {
		f.settle(r.Task.ID) // only a removal goes over an end
		c.known.forget(r.Task.ID, c.now)
		c.erase(keyOf(noteTask, r.Task.ID))
		return
	}
	if f.own && res.Status == morningai.ImportUpdated && hasComeFar(r) && !f.fresh[r.Task.ID] {
		c.repeated(r.Task.ID) // another node was asked for it too
	}
	if h := c.held[r.Task.ID]; f.own && h != nil && r.Task.State.Terminal() {
		c.repeated(r.Task.ID) // it was handed out here too
		if h.decided != "" {
			c.backlog.outcomes--
			delete(c.held, r.Task.ID)
		}
	}
	if f.own && r.Deleted && res.Status == morningai.ImportKept && laterThan(&res.Task, &r.Task) {
		c.deleteToo(r.Task.ID)
	}
	switch res.Status {
	case morningai.ImportAdded:
		*f.counter++
	case morningai.ImportRepeated:
		c.repeated(r.Task.ID)
	case morningai.ImportKept:
		if f.own && r.Task.State.Terminal() && res.Task.State.Terminal() && r.Task.State != res.Task.State {
			c.repeated(r.Task.ID) // it has ended elsewhere too, in another way
		} else if f.own && r.Task.State.Terminal() && hasComeFar(r) && res.Task.Life == r.Task.Life && res.Task.Version > r.Task.Version {
			c.repeated(r.Task.ID) // it was taken before, and went over what another node had brought
		} else if f.own && r.Task.Attempt > 0 && !sameTime(res.Task.FinishedAt, r.Task.FinishedAt) && !c.known.deleted.has(r.Task.ID, c.now) {
			c.repeated(r.Task.ID) // it has run here, and was deleted or handed out elsewhere
		}
		if f.missing && c.backlog.absent(r.Task.ID) { // it was deleted, or its retention is over
			c.erase(keyOf(noteTask, r.Task.ID))
		}
		if f.missing { // what the shared engine has of it is not to be shown
			f.settle(r.Task.ID)
			return
		}
	}
	if (r.Task.State.Terminal() && r.Task.State == res.Task.State || r.Deleted) && res.Status != morningai.ImportRepeated {
		c.keepEnd(r)
	}
	f.arrived(r, &res.Task)
}

// deleteToo orders the removal of a task that was deleted here, where only a repeat of
// its request waited, and that has gone further in the shared engine.
func (c *core) deleteToo(id morningai.ID) {
	note, err := jsonNote(keyOf(noteCommand, c.sequenceKey()), id.String(), &order{Command: morningai.Command{Kind: morningai.CommandDelete, ID: id}, At: c.now.UTC()})
	if err != nil {
		c.log(slog.LevelError, "the removal of a task cannot be ordered", "task_id", id, "error", err)
		return
	}
	c.backlog.commands++
	c.note([]morningai.Note{note}, func(err error) {
		if err != nil {
			c.backlog.commands--
			c.warn("the removal of a task cannot be ordered", err, "task_id", id)
			return
		}
		c.backlog.again(c)
	})
}

func sameWork(a, b *morningai.Task) bool {
	return a.Type == b.Type && a.Queue == b.Queue && bytes.Equal(a.Payload, b.Payload)
}

// refused deals with a task that the shared engine did not take. What cannot be
// told from a bad moment is tried again, by itself, a few times.
func (f *forwarding) refused(r *morningai.Record, err error) {
	c, id := f.c, r.Task.ID
	if b := &c.backlog; outage(err) && b.tries[id] < poisonTries {
		if b.tries == nil {
			b.tries = map[morningai.ID]int{}
		}
		b.tries[id]++
		b.doubtful(id)
		b.more = true
		return
	}
	c.setAside(r, err)
}

// arrived notes that the shared engine has a task.
func (f *forwarding) arrived(r *morningai.Record, t *morningai.Task) {
	f.settle(t.ID)
	f.c.known.see(t)
	switch {
	case !t.State.Terminal():
	case r.Task.State.Terminal() || r.Deleted: // it was kept
		f.c.erase(keyOf(noteTask, t.ID))
	default:
		f.c.hasEnded(r, t)
	}
}

func (f *forwarding) settle(id morningai.ID) {
	delete(f.c.backlog.tries, id)
	f.c.backlog.settled(id)
}

func (f *forwarding) enqueue(keyed []*morningai.Record) {
	if len(keyed) == 0 {
		f.then(nil)
		return
	}
	c := f.c
	specs := make([]morningai.TaskSpec, len(keyed))
	for i, r := range keyed {
		specs[i] = r.Spec()
		switch {
		case hasComeFar(r):
			specs[i].RunAt = c.now.Add(tombstones) // what it has come to is imported before
		case r.Task.State == morningai.StateScheduled && c.sharesKeys():
			specs[i].RunAt = later(specs[i].RunAt, c.now.Add(meetingTime))
		}
	}
	onShared(c, "enqueue", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Receipt, error) { return c.remote.Enqueue(ctx, specs) },
		func(receipts []morningai.Receipt, err error) {
			if err != nil {
				f.then(err)
				return
			}
			var rivals []rival
			var known, accepted []morningai.Record
			for i := range receipts {
				switch r := &receipts[i]; {
				case morningai.CodeOf(r.Err) == morningai.CodeConflict:
					known = append(known, *keyed[i]) // another task's id, or its own and deleted
				case r.Err != nil:
					f.refused(keyed[i], r.Err)
				case r.Task.Duplicate:
					rivals = append(rivals, rival{keyed[i], r.Task})
				default:
					if !r.Existing {
						*f.counter++
						f.fresh[keyed[i].Task.ID] = true
					}
					if !r.Existing || hasComeFar(keyed[i]) {
						accepted = append(accepted, asAccepted(keyed[i], &r.Task))
					}
					f.arrived(keyed[i], &r.Task)
				}
			}
			f.missing = true // what is kept is known to the shared engine
			f.importAll(known, func() {
				f.missing = false
				f.importAll(accepted, func() { f.resolve(rivals) })
			})
		})
}

// hasComeFar reports that a task is not as it was accepted: it has run, or an order
// has changed it.
func hasComeFar(r *morningai.Record) bool {
	return r.Task.Attempt > 0 || r.Task.Life > 1 || r.Task.Version > 1 && r.Task.Version < versionStride
}

// asAccepted is a record that says when its task was accepted, which decides
// who keeps a key, and for the rest what the shared engine made of it. One that
// has run is told as it is.
func asAccepted(r *morningai.Record, t *morningai.Task) morningai.Record {
	out := *r
	if hasComeFar(r) {
		out.Task.Version = max(r.Task.Version, t.Version+1)
		return out
	}
	out.Task.State, out.Task.RunAt, out.Task.Version = t.State, t.RunAt, max(t.Version+1, r.Task.Version)
	return out
}

// forward sends a page of noteTask notes and then calls then; on failure the
// pass stops, and a poison is set aside.
func (c *core) forward(notes []morningai.Note, counter *int64, missing bool, then func()) {
	records, ok := c.parsed(notes, len(notes))
	if !ok {
		return
	}
	for _, r := range records {
		if missing && c.backlog.loss {
			c.leap(r)
		}
	}
	f := &forwarding{c: c, records: records, fresh: map[morningai.ID]bool{}, counter: counter, missing: missing, own: counter == &c.incidents.current.Forwarded, then: func(err error) {
		switch {
		case err == nil:
			then()
		case c.poison(len(notes), err):
			c.setAside(records[0], err)
			then()
		default:
			c.failedDelivery(err, len(notes))
		}
	}}
	f.begin()
}

// parsed are the records in notes of a page; one that cannot be read stops the pass.
func (c *core) parsed(notes []morningai.Note, page int) (records []*morningai.Record, ok bool) {
	records = make([]*morningai.Record, len(notes))
	for i := range notes {
		r, err := morningai.ParseRecord(notes[i].Data)
		if err != nil {
			c.log(slog.LevelError, "a note of the journal cannot be read", "error", err)
			c.failedDelivery(err, page)
			return nil, false
		}
		records[i] = &r
	}
	return records, true
}

// readDoubt sends what the shared engine has not acknowledged.
func (c *core) readDoubt() {
	b := &c.backlog
	var keys []morningai.NoteKey
	for _, id := range b.oldest(b.page, c.apart.has) {
		keys = append(keys, keyOf(noteTask, id))
	}
	if len(keys) == 0 {
		c.next(true)
		return
	}
	onJournal(c, "noted", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Noted(ctx, keys) },
		func(notes []morningai.Note, err error) {
			if err != nil {
				c.failedDelivery(err, len(keys))
				return
			}
			var there []morningai.Note
			for i := range notes {
				if notes[i].Seq != 0 {
					there = append(there, notes[i])
				} else {
					b.settled(keys[i].Key) // it has ended meanwhile, or was not written
				}
			}
			if c.anyOld(there) {
				c.compareAll(there, func() { c.next(false) })
				return
			}
			c.forward(there, &c.incidents.current.Replayed, false, func() { c.next(false) })
		})
}

// deliverOwn hands over tasks that the shared engine cannot have, unless this journal
// is a copy of an earlier state.
func (c *core) deliverOwn(notes []morningai.Note) {
	if b := &c.backlog; b.edits > 0 { // since they were read
		if !b.beginAnew(c) {
			b.busy, b.due = false, c.now.Add(retryPass)
		}
		return
	}
	if c.mirror.Older {
		c.sift(notes, c.handOver)
		return
	}
	c.handOver(notes, notes)
}

// handOver says in the journal that tasks of a page leave before the first byte of
// them does.
func (c *core) handOver(notes, page []morningai.Note) {
	sent := make([]morningai.Note, len(notes))
	for i := range notes {
		sent[i] = notes[i]
		sent[i].Kind, sent[i].Seq = noteTask, 0
		c.known.departed.add(notes[i].Key, c.now)
	}
	c.note(sent, func(err error) {
		if err != nil {
			c.failedDelivery(err, len(notes))
			return
		}
		c.forward(sent, &c.incidents.current.Forwarded, false, func() {
			c.erase(keysOf(notes)...)
			c.backlog.own = max(c.backlog.own-int64(len(notes)), 0)
			c.passed(page)
		})
	})
}

// withdraw takes tasks that do not run out of the journal, to be handed over.
func (c *core) withdraw() {
	b := &c.backlog
	if c.partly() { // what runs here of a part that is away goes on
		c.next(true)
		return
	}
	if !b.local {
		c.next(true)
		return
	}
	limit := b.page
	b.left = false
	onJournal(c, "withdraw", func(ctx context.Context) ([]morningai.Note, error) { return c.journal.Withdraw(ctx, noteOwn, limit) },
		func(notes []morningai.Note, err error) {
			switch {
			case err != nil:
				c.failedDelivery(err, limit)
			case len(notes) > 0:
				for i := range notes {
					delete(c.mine, notes[i].Key) // nobody has come back for it
				}
				b.own += int64(len(notes))
				b.owned = max(b.owned-int64(len(notes)), 0)
				b.busy, b.due = false, c.now
				b.restart(stageOwn) // and then look again
			default:
				b.local = b.left // what runs says so when it has ended, perhaps since the journal was asked
				if b.owned = int64(len(c.mine)); b.left {
					b.owned++
				}
				c.next(true)
			}
		})
}

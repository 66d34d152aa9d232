package resilient

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/RC918/morningai"
)

// found is what the journal says of tasks.
type found struct {
	owned   map[morningai.ID]*morningai.Task   // the journal's own
	own     map[morningai.ID]*morningai.Record // waiting here, unknown to the shared engine
	leaving map[morningai.ID]bool              // of sent: the shared engine is being told for the first time
	sent    map[morningai.ID]*morningai.Record // as they left
	ended   map[morningai.ID]*morningai.Record // with an outcome from here
	aside   map[morningai.ID]*aside
	holders map[string]*morningai.Record // by unique key
}

// holdsAny reports whether the journal may know something of a task that the
// shared engine does not.
func (c *core) holdsAny() bool {
	b := &c.backlog
	return c.contact.open() || c.partly() || !b.started || b.full && !b.calm || b.local || b.undelivered() > 0
}

// lookUp reads what the journal has of tasks, and who holds unique keys.
func (c *core) lookUp(ids []morningai.ID, uniqueKeys []string, then func(found, error)) {
	onJournal(c, "look up", func(ctx context.Context) (found, error) {
		f := found{leaving: map[morningai.ID]bool{}, owned: map[morningai.ID]*morningai.Task{}, own: map[morningai.ID]*morningai.Record{}, sent: map[morningai.ID]*morningai.Record{},
			ended: map[morningai.ID]*morningai.Record{}, aside: map[morningai.ID]*aside{}, holders: map[string]*morningai.Record{}}
		return f, f.read(ctx, c.journal, ids, uniqueKeys)
	}, func(f found, err error) {
		for _, id := range ids {
			if c.notAccepted(id) {
				delete(f.sent, id)
			}
		}
		maps.DeleteFunc(f.holders, func(_ string, r *morningai.Record) bool { return c.notAccepted(r.Task.ID) })
		then(f, err)
	})
}

// notAccepted reports that a note of a task says nothing: whether it is accepted is
// not decided, or it was refused and its note is about to go.
func (c *core) notAccepted(id morningai.ID) bool {
	return c.backlog.undecided(id) || c.known.refused.has(id, c.now)
}

func (f *found) read(ctx context.Context, journal morningai.Journal, ids []morningai.ID, uniqueKeys []string) error {
	// Notes are read after the tasks: a withdrawal turns the one into the other.
	tasks, err := journal.Get(ctx, morningai.GetRequest{IDs: ids, Lingering: true})
	if err != nil {
		return err
	}
	for i := range tasks {
		if !tasks[i].ID.IsZero() {
			f.owned[tasks[i].ID] = &tasks[i]
		}
	}
	kinds := []morningai.NoteKind{noteOwn, noteTask, noteOutcome, noteAside}
	keys := make([]morningai.NoteKey, 0, len(kinds)*len(ids))
	for _, kind := range kinds {
		for _, id := range ids {
			keys = append(keys, keyOf(kind, id))
		}
	}
	notes, err := journal.Noted(ctx, keys)
	if err != nil {
		return err
	}
	for _, key := range uniqueKeys {
		for _, kind := range []morningai.NoteKind{noteOwn, noteTask} {
			n, err := journal.NotedAs(ctx, kind, key)
			if err != nil {
				return err
			}
			notes = append(notes, n)
		}
	}
	for i := range notes {
		if err := f.take(&notes[i]); err != nil {
			return err
		}
	}
	maps.DeleteFunc(f.own, func(id morningai.ID, own *morningai.Record) bool {
		sent := f.sent[id] // the shared engine is being told, and may have it
		f.leaving[id] = sent != nil && !sent.Deleted && !own.Deleted
		return f.leaving[id]
	})
	return nil
}

func (f *found) take(n *morningai.Note) error {
	if n.Seq == 0 {
		return nil
	}
	if n.Kind == noteAside {
		var a aside
		if err := json.Unmarshal(n.Data, &a); err != nil {
			return err
		}
		f.aside[n.Key] = &a
		return nil
	}
	r, err := morningai.ParseRecord(n.Data)
	if err != nil {
		return err
	}
	switch n.Kind {
	case noteOwn:
		f.own[n.Key] = &r
	case noteTask:
		f.sent[n.Key] = &r
	case noteOutcome:
		f.ended[n.Key] = &r
	}
	if r.UniqueKey != "" && !r.Deleted && !r.Task.State.Terminal() && f.holders[r.UniqueKey] == nil {
		f.holders[r.UniqueKey] = &r
	}
	return nil
}

// mayLack reports whether the shared engine, which does not know a task, may
// not know it yet or not any more, although this node has it.
func (c *core) mayLack(id morningai.ID) bool {
	if c.known.refused.has(id, c.now) || c.known.deleted.has(id, c.now) {
		return false
	}
	b := &c.backlog
	_, doubt := b.doubt[id]
	h := c.held[id]
	return doubt || !b.started || b.full && !b.calm || h != nil && h.decided != ""
}

// here reports that the journal has a task which the shared engine is still to get: it
// gets a task that has run in two calls.
func (f *found) here(id morningai.ID) bool {
	return f.owned[id] != nil || f.own[id] != nil || f.leaving[id]
}

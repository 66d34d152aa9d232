package enginetest

import (
	"context"
	"slices"
	"testing"

	"github.com/RC918/morningai"
)

// bent is the reference with some methods of the journal replaced.
type bent struct {
	*Reference
	note     func(context.Context, []morningai.Note) error
	erase    func(context.Context, []morningai.NoteKey) error
	notes    func(context.Context, morningai.NoteKind, int64, int) ([]morningai.Note, error)
	notedAs  func(context.Context, morningai.NoteKind, string) (morningai.Note, error)
	withdraw func(context.Context, morningai.NoteKind, int) ([]morningai.Note, error)
	info     func(context.Context) (morningai.JournalInfo, error)
	close    func() error
}

func (b *bent) Note(ctx context.Context, n []morningai.Note) error        { return b.note(ctx, n) }
func (b *bent) Erase(ctx context.Context, keys []morningai.NoteKey) error { return b.erase(ctx, keys) }
func (b *bent) Notes(ctx context.Context, kind morningai.NoteKind, after int64, limit int) ([]morningai.Note, error) {
	return b.notes(ctx, kind, after, limit)
}
func (b *bent) NotedAs(ctx context.Context, kind morningai.NoteKind, alt string) (morningai.Note, error) {
	return b.notedAs(ctx, kind, alt)
}
func (b *bent) Withdraw(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
	return b.withdraw(ctx, kind, limit)
}
func (b *bent) JournalInfo(ctx context.Context) (morningai.JournalInfo, error) { return b.info(ctx) }
func (b *bent) Close() error                                                   { return b.close() }

func journalMutants() map[string]mutant {
	out := map[string]mutant{}
	add := func(name string, change func(e *Reference, b *bent), noticedBy ...string) {
		out[name] = mutant{plant: func(e *Reference) morningai.Engine {
			b := &bent{Reference: e, note: e.Note, erase: e.Erase, notes: e.Notes, notedAs: e.NotedAs, withdraw: e.Withdraw, info: e.JournalInfo, close: e.Close}
			change(e, b)
			return b
		}, noticedBy: noticedBy}
	}
	noteMutants(add)
	withdrawMutants(add)
	return out
}

type bender func(name string, change func(e *Reference, b *bent), noticedBy ...string)

func noteMutants(add bender) {
	add("a note that replaces goes to the end", func(e *Reference, b *bent) {
		b.note = func(ctx context.Context, notes []morningai.Note) error {
			for _, n := range notes {
				if err := e.Erase(ctx, []morningai.NoteKey{n.NoteKey}); err != nil {
					return err
				}
			}
			return e.Note(ctx, notes)
		}
	}, "Notes/a note replaces the one with its kind and key, and keeps its place")
	add("the first note of a key stays", func(e *Reference, b *bent) {
		b.note = func(ctx context.Context, notes []morningai.Note) error {
			return e.Note(ctx, slices.DeleteFunc(slices.Clone(notes), func(n morningai.Note) bool {
				e.mu.Lock()
				defer e.mu.Unlock()
				_, known := e.notes.byKey[n.NoteKey]
				return known
			}))
		}
	}, "Notes/a note replaces the one with its kind and key, and keeps its place", "Notes/many writers at once lose nothing")
	add("numbers are given again", func(e *Reference, b *bent) {
		b.erase = func(ctx context.Context, keys []morningai.NoteKey) error {
			err := e.Erase(ctx, keys)
			e.mu.Lock()
			defer e.mu.Unlock()
			for kind := range e.notes.last {
				e.notes.last[kind] = 0
				for key, n := range e.notes.byKey {
					if key.Kind == kind {
						e.notes.last[kind] = max(e.notes.last[kind], n.Seq)
					}
				}
			}
			return err
		}
	}, "Notes/a note written after an erasure stays, at the end of the order")
	add("an erasure is made after what comes next", func(e *Reference, b *bent) {
		var late []morningai.NoteKey
		b.erase = func(_ context.Context, keys []morningai.NoteKey) error {
			late = append(late, keys...)
			return nil
		}
		b.note = func(ctx context.Context, notes []morningai.Note) error {
			if err := e.Note(ctx, notes); err != nil {
				return err
			}
			keys := late
			late = nil
			return e.Erase(ctx, keys)
		}
		b.info = func(ctx context.Context) (morningai.JournalInfo, error) {
			err := e.Erase(ctx, late)
			if err != nil {
				return morningai.JournalInfo{}, err
			}
			return e.JournalInfo(ctx)
		}
	}, "Notes/an erased note is gone at once, an erasure is idempotent", "Notes/a note written after an erasure stays, at the end of the order")
	add("an erasure takes all kinds of a key", func(e *Reference, b *bent) {
		b.erase = func(ctx context.Context, keys []morningai.NoteKey) error {
			var all []morningai.NoteKey
			for _, key := range keys {
				all = append(all, morningai.NoteKey{Kind: kindA, Key: key.Key}, morningai.NoteKey{Kind: kindB, Key: key.Key})
			}
			return e.Erase(ctx, all)
		}
	}, "Notes/an erased note is gone at once, an erasure is idempotent")
	add("a page starts with the note before", func(e *Reference, b *bent) {
		b.notes = func(ctx context.Context, kind morningai.NoteKind, after int64, limit int) ([]morningai.Note, error) {
			return e.Notes(ctx, kind, after-1, limit)
		}
	}, "Notes/notes of a kind come in the order in which they were first written")
	add("notes come by key", func(e *Reference, b *bent) {
		b.notes = func(ctx context.Context, kind morningai.NoteKind, after int64, limit int) ([]morningai.Note, error) {
			got, err := e.Notes(ctx, kind, after, limit)
			slices.SortFunc(got, func(a, b morningai.Note) int { return slices.Compare(a.Key[:], b.Key[:]) })
			return got, err
		}
	}, "Notes/notes of a kind come in the order in which they were first written")
	add("the newest of an alt is found", func(e *Reference, b *bent) {
		b.notedAs = func(ctx context.Context, kind morningai.NoteKind, alt string) (morningai.Note, error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, n := range slices.Backward(e.ordered(kind)) {
				if alt != "" && n.Alt == alt {
					return n, nil
				}
			}
			return morningai.Note{}, nil
		}
	}, "Notes/notes are found by key and by alt")
	add("notes are forgotten at a close", func(e *Reference, b *bent) {
		b.close = func() error {
			e.mu.Lock()
			clear(e.notes.byKey)
			e.mu.Unlock()
			return e.Close()
		}
	}, "Notes/notes survive a reopen, and so does the journal's name", "Withdraw/a withdrawal survives a reopen")
	add("every reopen makes another journal", func(e *Reference, b *bent) {
		b.close = func() error {
			e.mu.Lock()
			e.notes.id[0]++
			e.mu.Unlock()
			return e.Close()
		}
	}, "Notes/notes survive a reopen, and so does the journal's name")
}

func withdrawMutants(add bender) {
	// after changes what a withdrawal leaves.
	after := func(change func(e *Reference, got []morningai.Note)) func(e *Reference, b *bent) {
		return func(e *Reference, b *bent) {
			b.withdraw = func(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
				got, err := e.Withdraw(ctx, kind, limit)
				e.mu.Lock()
				defer e.mu.Unlock()
				change(e, got)
				return got, err
			}
		}
	}
	add("a withdrawal leaves no notes", after(func(e *Reference, got []morningai.Note) {
		for _, n := range got {
			delete(e.notes.byKey, n.NoteKey)
		}
	}), "Withdraw/a withdrawn task is its exported record", "Withdraw/a withdrawal survives a reopen")
	add("a withdrawn task becomes a tombstone", after(func(e *Reference, got []morningai.Note) {
		for _, n := range got {
			if rec, err := morningai.ParseRecord(n.Data); err == nil {
				rec.Deleted = true
				e.tasks[n.Key], e.order = &entry{Record: rec}, nil
			}
		}
	}), "Withdraw/its id and its unique key are free", "Withdraw/a withdrawn task is unknown to every method")
	add("a withdrawn task stays, too", after(func(e *Reference, got []morningai.Note) {
		for _, n := range got {
			if rec, err := morningai.ParseRecord(n.Data); err == nil && rec.Task.State == morningai.StateScheduled {
				e.tasks[n.Key], e.order = &entry{Record: rec}, nil
			}
		}
	}), "Withdraw/a withdrawn task is unknown to every method")
	// before changes what a withdrawal finds, and puts it back.
	before := func(change func(t *entry) bool) func(e *Reference, b *bent) {
		return func(e *Reference, b *bent) {
			b.withdraw = func(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
				e.mu.Lock()
				aside := map[morningai.ID]*entry{}
				for id, t := range e.tasks {
					if change(t) {
						aside[id] = t
						delete(e.tasks, id)
					}
				}
				e.mu.Unlock()
				got, err := e.Withdraw(ctx, kind, limit)
				e.mu.Lock()
				defer e.mu.Unlock()
				for id, t := range aside {
					e.tasks[id], e.order = t, nil
				}
				return got, err
			}
		}
	}
	add("running tasks are withdrawn", before(func(t *entry) bool {
		if t.Task.State == morningai.StateRunning && !t.Deleted {
			t.Task.State = morningai.StateQueued
		}
		return false
	}), "Withdraw/a withdrawn task is its exported record", "Withdraw/the oldest go first, as many as asked for; what runs stays",
		"Withdraw/a withdrawal survives a reopen")
	add("tombstones are withdrawn", before(func(t *entry) bool {
		t.Deleted = false
		return false
	}), "Withdraw/its id and its unique key are free", "Withdraw/a withdrawn task is its exported record")
	add("history does not come along", before(func(t *entry) bool {
		t.Steps = nil
		return false
	}), "Withdraw/a withdrawn task is its exported record")
	add("tasks without retention are passed over", before(func(t *entry) bool { return t.Task.State.Terminal() && t.Retention != nil && *t.Retention == 0 }),
		"Withdraw/a task with retention 0 that has ended is withdrawn too")
	add("what has ended is passed over", before(func(t *entry) bool { return t.Task.State.Terminal() }),
		"Withdraw/a withdrawn task is its exported record", "Withdraw/withdrawals and work at once share no task")
	add("the newest go first", func(e *Reference, b *bent) {
		b.withdraw = func(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
			e.mu.Lock()
			n := 0
			aside := map[morningai.ID]*entry{}
			for _, t := range slices.Backward(e.sorted()) {
				if stays(t.Record) {
					continue
				}
				if n++; n > limit {
					aside[t.Task.ID] = t
					delete(e.tasks, t.Task.ID)
				}
			}
			e.mu.Unlock()
			got, err := e.Withdraw(ctx, kind, limit)
			e.mu.Lock()
			defer e.mu.Unlock()
			for id, t := range aside {
				e.tasks[id], e.order = t, nil
			}
			return got, err
		}
	}, "Withdraw/the oldest go first, as many as asked for; what runs stays")
}

func TestJournalMutantsAreNoticed(t *testing.T) {
	sound := mutantHarness(func(e *Reference) morningai.Engine { return e }, 0)
	for name, m := range journalMutants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range m.noticedBy {
				if findings(t, c, mutantHarness(m.plant, 0)) == "" {
					t.Errorf("%q passes", c)
				}
				if found := findings(t, c, sound); found != "" {
					t.Errorf("%q fails without a bug: %s", c, found)
				}
			}
		})
	}
}

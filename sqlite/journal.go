package sqlite

import (
	"context"

	"github.com/RC918/morningai"
)

var _ morningai.Journal = (*Engine)(nil)

// The engine's own notes have the kind 0.
func checkKind(op string, kind morningai.NoteKind) error {
	if kind == 0 {
		return morningai.InvalidInput(op, morningai.FieldError{Location: "kind", Message: "must not be 0"})
	}
	return nil
}

type noteWork struct{ notes []morningai.Note }

func (w *noteWork) size() int { return len(w.notes) }

func (w *noteWork) apply(t *txn) error {
	for i := range w.notes {
		if _, err := t.note(&w.notes[i]); err != nil {
			return err
		}
	}
	return nil
}

// Note implements morningai.Journal. Notes may use the reserve that is kept
// below WithMaxBytes, as the outcomes of tasks do.
func (e *Engine) Note(ctx context.Context, notes []morningai.Note) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	w := &noteWork{notes: make([]morningai.Note, len(notes))}
	for i, n := range notes {
		if err := checkKind("note", n.Kind); err != nil {
			return err
		}
		w.notes[i] = n
		// The call may return before the writer is done with them.
		w.notes[i].Data = clone(n.Data)
	}
	if len(notes) == 0 {
		return nil
	}
	return e.submit(ctx, w)
}

// Erase implements morningai.Journal.
func (e *Engine) Erase(ctx context.Context, keys []morningai.NoteKey) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		if err := checkKind("erase", key.Kind); err != nil {
			return err
		}
	}
	if f := e.failed.Load(); f != nil {
		return f
	}
	// The gate is what Close takes before its last commit, which has them too.
	e.gate.RLock()
	defer e.gate.RUnlock()
	if e.closed {
		return errClosed
	}
	if e.erasures.add(keys) {
		e.look()
	}
	return nil
}

const noteColumns = 5

// scanNote reads the columns seq, key, alt, data.
func scanNote(s *stmt, kind morningai.NoteKind) morningai.Note {
	n := morningai.Note{NoteKey: morningai.NoteKey{Kind: kind}, Seq: s.colInt(0) & (1<<kindShift - 1), Alt: s.colText(2), Data: s.colBlob(3)}
	copy(n.Key[:], s.colRaw(1))
	return n
}

// Notes implements morningai.Journal.
func (e *Engine) Notes(ctx context.Context, kind morningai.NoteKind, after int64, limit int) ([]morningai.Note, error) {
	if err := checkKind("read notes", kind); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > morningai.MaxBatch {
		limit = morningai.MaxBatch
	}
	after = min(max(after, 0), 1<<kindShift-1)
	out := []morningai.Note{}
	err := e.read(ctx, "read notes", func(r *reader) error {
		gone := e.erasures.pending(kind)
		s := r.notes
		s.int(1, noteNumber(kind, after))
		s.int(2, noteNumber(kind, 1<<kindShift-1))
		for len(out) < limit {
			ok, err := s.step()
			if err != nil || !ok {
				return err
			}
			if n := scanNote(s, kind); !gone[n.Key] {
				out = append(out, n)
			}
		}
		s.reset()
		return nil
	})
	return out, err
}

// Noted implements morningai.Journal.
func (e *Engine) Noted(ctx context.Context, keys []morningai.NoteKey) ([]morningai.Note, error) {
	for _, key := range keys {
		if err := checkKind("read notes", key.Kind); err != nil {
			return nil, err
		}
	}
	out := make([]morningai.Note, len(keys))
	err := e.read(ctx, "read notes", func(r *reader) error {
		gone := e.erasures.among(keys)
		for i, key := range keys {
			if gone[key] {
				continue
			}
			s := r.noteByKey
			s.int(1, int64(key.Kind))
			s.blob(2, key.Key[:])
			ok, err := s.step()
			if err != nil {
				return err
			}
			if ok {
				out[i] = scanNote(s, key.Kind)
				s.reset()
			}
		}
		return nil
	})
	return out, err
}

// NotedAs implements morningai.Journal.
func (e *Engine) NotedAs(ctx context.Context, kind morningai.NoteKind, alt string) (out morningai.Note, err error) {
	if err := checkKind("read notes", kind); err != nil {
		return out, err
	}
	err = e.read(ctx, "read notes", func(r *reader) error {
		if alt == "" {
			return nil
		}
		gone := e.erasures.pending(kind)
		s := r.noteByAlt
		s.int(1, int64(kind))
		s.text(2, alt)
		for {
			ok, err := s.step()
			if err != nil || !ok {
				return err
			}
			if n := scanNote(s, kind); !gone[n.Key] {
				out = n
				s.reset()
				return nil
			}
		}
	})
	return out, err
}

// JournalInfo implements morningai.Journal. Erasures that no commit has made
// yet are still counted.
func (e *Engine) JournalInfo(ctx context.Context) (morningai.JournalInfo, error) {
	if err := e.ready(ctx); err != nil {
		return morningai.JournalInfo{}, err
	}
	info := morningai.JournalInfo{Notes: map[morningai.NoteKind]int64{}, Since: e.journal.since, ID: e.journal.id, Free: freeBytes(e.path)}
	e.mu.Lock()
	for kind, k := range e.kinds {
		if kind != 0 && k.n != 0 {
			info.Notes[kind] = k.n
		}
	}
	e.mu.Unlock()
	err := e.read(ctx, "journal info", func(r *reader) error {
		pages, _, err := first(r.pages)
		if err != nil {
			return err
		}
		free, _, err := first(r.free)
		info.Bytes = (pages - free) * pageSize
		return err
	})
	return info, err
}

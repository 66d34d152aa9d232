package enginetest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

var _ morningai.Journal = (*Reference)(nil)

// notes is what the reference keeps as a journal.
type notes struct {
	byKey map[morningai.NoteKey]morningai.Note
	last  map[morningai.NoteKind]int64
	id    morningai.ID
	since time.Time
}

func checkKinds(keys ...morningai.NoteKey) error {
	for _, key := range keys {
		if key.Kind == 0 {
			return morningai.ErrInvalidInput
		}
	}
	return nil
}

func (e *Reference) Note(ctx context.Context, notes []morningai.Note) error {
	for _, n := range notes {
		if err := checkKinds(n.NoteKey); err != nil {
			return err
		}
	}
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	for _, n := range notes {
		e.note(n)
	}
	return nil
}

func (e *Reference) note(n morningai.Note) morningai.Note {
	n.Data = slices.Clone(n.Data)
	if old, ok := e.notes.byKey[n.NoteKey]; ok {
		n.Seq = old.Seq
	} else {
		e.notes.last[n.Kind]++
		n.Seq = e.notes.last[n.Kind]
	}
	e.notes.byKey[n.NoteKey] = n
	return n
}

func (e *Reference) Erase(ctx context.Context, keys []morningai.NoteKey) error {
	if err := checkKinds(keys...); err != nil {
		return err
	}
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	for _, key := range keys {
		delete(e.notes.byKey, key)
	}
	return nil
}

// ordered returns the notes of a kind in their order.
func (e *Reference) ordered(kind morningai.NoteKind) []morningai.Note {
	var out []morningai.Note
	for key, n := range e.notes.byKey {
		if key.Kind == kind {
			n.Data = slices.Clone(n.Data)
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b morningai.Note) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

func (e *Reference) Notes(ctx context.Context, kind morningai.NoteKind, after int64, limit int) ([]morningai.Note, error) {
	if err := checkKinds(morningai.NoteKey{Kind: kind}); err != nil {
		return nil, err
	}
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	all := slices.DeleteFunc(e.ordered(kind), func(n morningai.Note) bool { return n.Seq <= after })
	return all[:min(limit, len(all))], nil
}

func (e *Reference) Noted(ctx context.Context, keys []morningai.NoteKey) ([]morningai.Note, error) {
	if err := checkKinds(keys...); err != nil {
		return nil, err
	}
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]morningai.Note, len(keys))
	for i, key := range keys {
		out[i] = e.notes.byKey[key]
		out[i].Data = slices.Clone(out[i].Data)
	}
	return out, nil
}

func (e *Reference) NotedAs(ctx context.Context, kind morningai.NoteKind, alt string) (morningai.Note, error) {
	if err := checkKinds(morningai.NoteKey{Kind: kind}); err != nil {
		return morningai.Note{}, err
	}
	if err := e.enter(ctx); err != nil {
		return morningai.Note{}, err
	}
	defer e.mu.Unlock()
	for _, n := range e.ordered(kind) {
		if alt != "" && n.Alt == alt {
			return n, nil
		}
	}
	return morningai.Note{}, nil
}

func (e *Reference) Withdraw(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
	if err := checkKinds(morningai.NoteKey{Kind: kind}); err != nil {
		return nil, err
	}
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	var out []morningai.Note
	for _, t := range e.sorted() {
		if len(out) == limit {
			break
		}
		if t.Deleted || t.Task.State == morningai.StateRunning {
			continue
		}
		data, err := t.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		delete(e.tasks, t.Task.ID)
		out = append(out, e.note(morningai.Note{NoteKey: morningai.NoteKey{Kind: kind, Key: t.Task.ID}, Alt: t.UniqueKey, Data: data}))
	}
	return out, nil
}

func (e *Reference) JournalInfo(ctx context.Context) (morningai.JournalInfo, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.JournalInfo{}, err
	}
	defer e.mu.Unlock()
	info := morningai.JournalInfo{Notes: map[morningai.NoteKind]int64{}, Free: -1, Since: e.notes.since, ID: e.notes.id}
	for key, n := range e.notes.byKey {
		info.Notes[key.Kind]++
		info.Bytes += int64(len(n.Data) + len(n.Alt) + len(n.Key))
	}
	return info, nil
}

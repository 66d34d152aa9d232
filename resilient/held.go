package resilient

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

// Entry is something that a journal holds for the shared engine.
type Entry struct {
	Kind   EntryKind
	Where  Whereabouts
	ID     morningai.ID // of the task; zero for settings
	Type   string       // of the task; "" if the entry does not say
	Queue  string
	State  morningai.State // of the task as the entry knows it; "" if it does not
	At     time.Time       // when the task was accepted, the attempt ended or the order was given; zero if the entry does not say
	Reason string          // why it was set aside, or which order it is
}

// EntryKind says what an entry is.
type EntryKind string

// The kinds of entry.
const (
	EntryTask       EntryKind = "task"
	EntryOutcome    EntryKind = "outcome"
	EntryCheckpoint EntryKind = "checkpoint"
	EntryCommand    EntryKind = "command"
	EntrySettings   EntryKind = "settings"
)

// Whereabouts says whether the shared engine has an entry too, as far as the
// journal can tell.
type Whereabouts string

// Where an entry may be.
const (
	OnlyInJournal Whereabouts = "journal"   // the shared engine cannot have it
	InDoubt       Whereabouts = "in doubt"  // it may have it
	Copied        Whereabouts = "copy"      // it had it when the node last compared
	SetAside      Whereabouts = "set aside" // it refuses it for good
)

// copyMargin covers the time from an outcome to its note.
const copyMargin = 5 * time.Second

func readMirror(ctx context.Context, journal morningai.Journal) (known mirror, err error) {
	notes, err := journal.Noted(ctx, []morningai.NoteKey{mirrorKey})
	if err != nil || notes[0].Seq == 0 {
		return known, err
	}
	if err := json.Unmarshal(notes[0].Data, &known); err != nil {
		return known, fmt.Errorf("read what was known of the fleet: %w", err)
	}
	return known, nil
}

// Held calls each for what a journal holds, in no promised order. It needs no
// shared engine, and changes nothing. An error of each ends it.
func Held(ctx context.Context, journal morningai.Journal, each func(Entry) error) error {
	known, err := readMirror(ctx, journal)
	if err != nil {
		return err
	}
	h := held{ctx: ctx, journal: journal, told: known.Told, verified: known.Verified.Add(-copyMargin), each: each}
	if err := h.owned(); err != nil {
		return err
	}
	for _, part := range []struct {
		kind morningai.NoteKind
		read func(*morningai.Note) (Entry, error)
	}{{noteOwn, h.task}, {noteTask, h.task}, {noteOutcome, h.task}, {notePoint, h.point}, {noteCommand, h.command}, {noteQueue, h.settings}, {noteAside, h.aside}} {
		if err := h.notes(part.kind, part.read); err != nil {
			return err
		}
	}
	return nil
}

type held struct {
	ctx      context.Context
	journal  morningai.Journal
	verified time.Time
	told     int64 // outcomes up to this one are only kept
	each     func(Entry) error
}

const heldPage = 500

// owned are the tasks that have not been withdrawn.
func (h *held) owned() error {
	for cursor := ""; ; {
		page, err := h.journal.Export(h.ctx, cursor, heldPage)
		if err != nil {
			return err
		}
		for i := range page.Records {
			if r := &page.Records[i]; !r.Deleted {
				e := entryOf(r)
				e.Where = OnlyInJournal
				if err := h.each(e); err != nil {
					return err
				}
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (h *held) notes(kind morningai.NoteKind, read func(*morningai.Note) (Entry, error)) error {
	for after := int64(0); ; {
		notes, err := h.journal.Notes(h.ctx, kind, after, heldPage)
		if err != nil || len(notes) == 0 {
			return err
		}
		for i := range notes {
			if kind == noteOutcome && notes[i].Seq <= h.told {
				continue
			}
			e, err := read(&notes[i])
			if err != nil {
				return fmt.Errorf("read a note of the journal: %w", err)
			}
			if err := h.each(e); err != nil {
				return err
			}
		}
		after = notes[len(notes)-1].Seq
	}
}

func entryOf(r *morningai.Record) Entry {
	t := &r.Task
	return Entry{Kind: EntryTask, ID: t.ID, Type: t.Type, Queue: t.Queue, State: t.State, At: t.CreatedAt}
}

func (h *held) task(n *morningai.Note) (Entry, error) {
	r, err := morningai.ParseRecord(n.Data)
	if err != nil {
		return Entry{}, err
	}
	e := entryOf(&r)
	e.Where = InDoubt
	switch n.Kind {
	case noteOwn:
		e.Where = OnlyInJournal
		return e, nil
	case noteOutcome:
		e.Kind = EntryOutcome
		if len(r.Attempts) > 0 {
			e.At = r.Attempts[len(r.Attempts)-1].FinishedAt
		}
	}
	if !e.At.IsZero() && e.At.Before(h.verified) {
		e.Where = Copied
	}
	return e, nil
}

func (h *held) point(n *morningai.Note) (Entry, error) {
	var p morningai.Checkpoint
	err := json.Unmarshal(n.Data, &p)
	return Entry{Kind: EntryCheckpoint, Where: OnlyInJournal, ID: p.Lease.ID}, err
}

func (h *held) command(n *morningai.Note) (Entry, error) {
	var o order
	err := json.Unmarshal(n.Data, &o)
	return Entry{Kind: EntryCommand, Where: OnlyInJournal, ID: o.Command.ID, At: o.At, Reason: string(o.Command.Kind)}, err
}

func (h *held) settings(n *morningai.Note) (Entry, error) {
	var s setting
	err := json.Unmarshal(n.Data, &s)
	return Entry{Kind: EntrySettings, Where: OnlyInJournal, Queue: s.Name}, err
}

func (h *held) aside(n *morningai.Note) (Entry, error) {
	var a aside
	if err := json.Unmarshal(n.Data, &a); err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: EntryTask, ID: n.Key}
	if len(a.Record) > 0 {
		r, err := morningai.ParseRecord(a.Record)
		if err != nil {
			return Entry{}, err
		}
		e = entryOf(&r)
	}
	e.Where, e.Reason = SetAside, a.Reason
	return e, nil
}

// Settled reports whether everything in the journal has been looked at since
// Open, and nothing calls for another look now. What Undelivered still counts
// then does not go away by waiting for the delivery.
func (e *Engine) Settled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &e.core.backlog
	return b.started && b.full && b.calm && !b.more && !e.core.contact.open() && !e.core.partly()
}

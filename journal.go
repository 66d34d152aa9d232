package morningai

import (
	"context"
	"time"
)

// Journal is an engine that owns tasks of its node, and beside them keeps notes:
// what the node has to remember of tasks that live, or may live, in an engine
// that it shares with others. Package resilient is built on one.
//
// Every promise of [Engine] holds for the tasks that the journal owns. Notes
// are neither handed out nor counted; no method of Engine shows them.
type Journal interface {
	Engine

	// Note writes notes, all in one durable commit. A note replaces the one
	// with its kind and key, and keeps that one's place in the order.
	Note(ctx context.Context, notes []Note) error

	// Erase removes notes; one that does not exist is no error. It returns
	// without waiting for the disk: after a crash, erased notes may be there
	// again, so acting on one a second time must be harmless.
	Erase(ctx context.Context, keys []NoteKey) error

	// Notes returns up to limit notes of a kind in the order in which they were
	// first written, starting after the number given. Those of a Note that has
	// returned are seen.
	Notes(ctx context.Context, kind NoteKind, after int64, limit int) ([]Note, error)

	// Noted returns the notes with these keys, in the order asked; a missing
	// one is zero.
	Noted(ctx context.Context, keys []NoteKey) ([]Note, error)

	// NotedAs returns the oldest note of a kind with this Alt, or a zero one. An
	// Alt of "" is none, and finds none.
	NotedAs(ctx context.Context, kind NoteKind, alt string) (Note, error)

	// Withdraw takes up to limit tasks out of the engine, oldest first: those
	// that do not run, whether they have not started, wait for another attempt
	// or have ended, and that have no tombstone. Each is replaced, in one
	// durable commit, by a note of the kind with the task's id as its key, its
	// unique key as Alt and its packed record ([Record.AppendBinary]) as Data.
	// The notes are returned; none means that nothing is left but what runs.
	// A withdrawn task is unknown to every other method.
	Withdraw(ctx context.Context, kind NoteKind, limit int) ([]Note, error)

	// JournalInfo says how much there is, without looking at each note.
	JournalInfo(ctx context.Context) (JournalInfo, error)
}

// NoteKind tells notes for different purposes apart. What they mean is the
// business of whoever writes them. Kind 0 is the journal's own and an
// [ErrInvalidInput] everywhere.
type NoteKind uint8

// NoteKey names a note.
type NoteKey struct {
	Kind NoteKind
	Key  ID
}

// Note is something to remember.
type Note struct {
	NoteKey
	Seq  int64  // place in the order, from 1; given by the journal, ignored by Note
	Alt  string // another key, not unique; may be ""
	Data []byte
}

// JournalInfo describes what a journal holds.
type JournalInfo struct {
	Notes map[NoteKind]int64 // by kind; kinds without notes may be missing
	Bytes int64              // in use; the files may be larger, and do not shrink
	Free  int64              // bytes free on their disk; -1 if unknown
	Since time.Time          // when the journal was made
	ID    ID                 // names the journal; made once, stays with the file
}

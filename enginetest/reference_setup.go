package enginetest

import (
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Setup is what a [Reference] takes from outside.
type Setup struct {
	Name, Durable string // see morningai.Capabilities
	Now           func() time.Time
	Random        func() uint64 // for leases
	Journal       morningai.ID  // names it as a journal
}

// NewReference makes an empty engine.
func NewReference(setup Setup) *Reference {
	return &Reference{
		setup:    setup,
		notes:    notes{byKey: map[morningai.NoteKey]morningai.Note{}, last: map[morningai.NoteKind]int64{}, id: setup.Journal, since: setup.Now()},
		tasks:    map[morningai.ID]*entry{},
		sessions: map[morningai.SessionID]*member{},
		lines:    map[string]*line{},
		fleet:    map[morningai.ID]morningai.Member{},
		changed:  make(chan struct{}),
	}
}

// Reopen does what a restart of a node does to an engine that is its own: the
// tasks stay, the sessions are gone.
func (e *Reference) Reopen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed, e.thru = false, nil
	for _, id := range slices.SortedFunc(maps.Keys(e.sessions), compareSessions) {
		e.bury(id)
	}
}

// Clone is a copy that shares nothing that can change.
func (e *Reference) Clone() *Reference {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := NewReference(e.setup)
	for id, t := range e.tasks {
		c := *t
		c.Record = cloneRecord(t.Record)
		out.tasks[id] = &c
	}
	for id, m := range e.sessions {
		c := *m
		out.sessions[id] = &c
	}
	for name, l := range e.lines {
		c := *l
		out.lines[name] = &c
	}
	out.fleet = maps.Clone(e.fleet)
	out.notes = notes{byKey: maps.Clone(e.notes.byKey), last: maps.Clone(e.notes.last), id: e.notes.id, since: e.notes.since}
	out.events, out.thru, out.last, out.closed = slices.Clone(e.events), slices.Clone(e.thru), e.last, e.closed
	return out
}

// Restore puts the state of a clone in the place of what is there, as a server
// does that comes back with older data. The clone must not be used any more.
func (e *Reference) Restore(from *Reference) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks, e.order, e.sessions, e.lines, e.fleet = from.tasks, nil, from.sessions, from.lines, from.fleet
	e.notes, e.events, e.thru, e.last, e.closed = from.notes, from.events, from.thru, from.last, from.closed
	e.notify()
}

// Edit changes a record behind the engine's back, as damage to its storage
// would. It does nothing if there is none.
func (e *Reference) Edit(id morningai.ID, change func(*morningai.Record)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tasks[id]; t != nil {
		change(&t.Record)
		e.order = nil
	}
}

// Unerase brings notes back as they were, as a crash does with those whose
// erasure had not reached the disk.
func (e *Reference) Unerase(notes []morningai.Note) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range notes {
		if _, there := e.notes.byKey[n.NoteKey]; !there {
			e.notes.byKey[n.NoteKey] = n
		}
	}
}

func compareIDs(a, b morningai.ID) int { return slices.Compare(a[:], b[:]) }

func compareSessions(a, b morningai.SessionID) int { return slices.Compare(a[:], b[:]) }

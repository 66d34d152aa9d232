package sqlite

import (
	"encoding/json"
	"slices"

	"github.com/RC918/morningai"
)

// memberKind is the kind of the notes that keep members, by journal.
const memberKind morningai.NoteKind = 0

// memberWork brings the record of members up to a beat.
type memberWork struct {
	put  *morningai.Member
	data []byte // of put
	drop []morningai.ID
}

func (w *memberWork) size() int { return 1 + len(w.drop) }

func (w *memberWork) apply(t *txn) error {
	for _, id := range w.drop {
		if err := t.erase(morningai.NoteKey{Kind: memberKind, Key: id}); err != nil {
			return err
		}
	}
	if w.put != nil {
		n := morningai.Note{NoteKey: morningai.NoteKey{Kind: memberKind, Key: w.put.Journal}, Data: w.data}
		if _, err := t.note(&n); err != nil {
			return err
		}
	}
	t.after = append(t.after, func(e *Engine) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, id := range w.drop {
			delete(e.members, id)
		}
		if w.put != nil {
			e.members[w.put.Journal] = *w.put
		}
		return nil
	})
	return nil
}

// membersOf returns what a beat changes; nil if nothing.
func (e *Engine) membersOf(req *morningai.BeatRequest) (*memberWork, error) {
	w := &memberWork{drop: slices.Clone(req.Forget)}
	if m := req.Member; m != nil {
		if m.Journal.IsZero() {
			return nil, morningai.InvalidInput("beat", morningai.FieldError{Location: "member.journal", Message: "must not be zero"})
		}
		if req.Leaving && m.Backlog == 0 {
			w.drop = append(w.drop, m.Journal)
		} else {
			put := *m
			put.Connected = false
			data, err := json.Marshal(put)
			if err != nil {
				return nil, err
			}
			w.put, w.data = &put, data
		}
	}
	if w.put == nil && len(w.drop) == 0 {
		return nil, nil
	}
	return w, nil
}

// memberList returns the members in a fixed order. Engine.mu is held.
func (e *Engine) memberList() []morningai.Member {
	out := make([]morningai.Member, 0, len(e.members))
	for _, m := range e.members {
		m.Connected = e.sessions[m.Session] != nil
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b morningai.Member) int { return slices.Compare(a.Journal[:], b.Journal[:]) })
	return out
}

func (e *Engine) loadMembers() error {
	s, err := e.w.prepare("SELECT data FROM notes WHERE seq>? AND seq<=?")
	if err != nil {
		return err
	}
	defer s.finalize()
	s.int(1, noteNumber(memberKind, 0))
	s.int(2, noteNumber(memberKind, 1<<kindShift-1))
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return err
		}
		var m morningai.Member
		if err := json.Unmarshal(s.colRaw(0), &m); err != nil {
			return errBadRow
		}
		e.members[m.Journal] = m
	}
}

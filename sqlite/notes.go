package sqlite

import (
	"maps"
	"slices"

	"github.com/RC918/morningai"
)

// kindShift splits the number of a stored note into its kind and its place.
const kindShift = 55

func noteNumber(kind morningai.NoteKind, place int64) int64 { return int64(kind)<<kindShift | place }

// noteKind is what is known of the notes of one kind.
type noteKind struct{ n, last int64 }

// noteItem is a note as the transaction sees it.
type noteItem struct {
	key   morningai.NoteKey
	was   int64 // its number in the table; 0 if it is not there
	is    int64 // its number after the transaction; 0 if it is to be gone
	alt   string
	data  []byte
	dirty bool
}

// note writes a note, in the place of one with the same key.
func (t *txn) note(n *morningai.Note) (place int64, err error) {
	it := t.notes[n.NoteKey]
	if it == nil {
		if it, err = t.findNote(n.NoteKey); err != nil {
			return 0, err
		}
	}
	if it.is == 0 {
		k := t.kind(n.Kind)
		k.last++
		k.n++
		it.is = noteNumber(n.Kind, k.last)
		t.e.noted.add(n.Key)
	}
	it.alt, it.data, it.dirty = n.Alt, n.Data, true
	return it.is & (1<<kindShift - 1), nil
}

// erase removes a note, if there is one.
func (t *txn) erase(key morningai.NoteKey) (err error) {
	it := t.notes[key]
	if it == nil {
		if t.e.noted.isNew(key.Key) {
			return nil
		}
		if it, err = t.findNote(key); err != nil {
			return err
		}
	}
	if it.is != 0 {
		it.is = 0
		t.kind(key.Kind).n--
	}
	return nil
}

// eraseWaiting makes the erasures that were asked for until now, before anything
// that was asked for after them.
func (t *txn) eraseWaiting() error {
	t.erased, t.erasedTurn = t.e.erasures.take()
	for _, key := range t.erased {
		if err := t.erase(key); err != nil {
			return err
		}
	}
	return nil
}

// findNote begins to track a note, whether it is stored or not.
func (t *txn) findNote(key morningai.NoteKey) (*noteItem, error) {
	it := &noteItem{key: key}
	if !t.e.noted.isNew(key.Key) {
		s := t.e.sql.noteGet
		s.int(1, int64(key.Kind))
		s.blob(2, key.Key[:])
		number, _, err := first(s)
		if err != nil {
			return nil, err
		}
		it.was, it.is = number, number
	}
	if t.notes == nil {
		t.notes = map[morningai.NoteKey]*noteItem{}
	}
	t.notes[key] = it
	t.noteOrder = append(t.noteOrder, it)
	return it, nil
}

// kind returns the bookkeeping of a kind as the transaction sees it.
func (t *txn) kind(kind morningai.NoteKind) *noteKind {
	k := t.kinds[kind]
	if k == nil {
		if t.kinds == nil {
			t.kinds = map[morningai.NoteKind]*noteKind{}
		}
		k = new(t.e.kinds[kind]) // only the writer changes them
		t.kinds[kind] = k
	}
	return k
}

// flushNotes writes what has become of the notes, new ones many to a statement.
func (t *txn) flushNotes() error {
	q := &t.e.sql
	for _, it := range t.noteOrder {
		if it.was == 0 || it.was == it.is {
			continue
		}
		q.noteDel.int(1, it.was)
		if err := q.noteDel.exec(); err != nil {
			return err
		}
	}
	fresh := t.noteOrder[:0:0]
	for _, it := range t.noteOrder {
		switch {
		case it.is == 0 || !it.dirty:
		case it.was == it.is:
			q.noteSet.text(1, it.alt)
			q.noteSet.blob(2, it.data)
			q.noteSet.int(3, it.is)
			if err := q.noteSet.exec(); err != nil {
				return err
			}
		default:
			fresh = append(fresh, it)
		}
	}
	for len(fresh) > 0 {
		s, n := q.notePut1, 1
		if len(fresh) >= insertRows {
			s, n = q.notePutN, insertRows
		}
		for i, it := range fresh[:n] {
			at := i * noteColumns
			s.int(at+1, it.is)
			s.int(at+2, int64(it.key.Kind))
			s.blob(at+3, it.key.Key[:])
			s.text(at+4, it.alt)
			s.blob(at+5, it.data)
		}
		if err := s.exec(); err != nil {
			return err
		}
		fresh = fresh[n:]
	}
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		k := t.kinds[kind]
		if *k == t.e.kinds[kind] {
			continue
		}
		q.kindPut.int(1, int64(kind))
		q.kindPut.int(2, k.n)
		q.kindPut.int(3, k.last)
		if err := q.kindPut.exec(); err != nil {
			return err
		}
	}
	return nil
}

// loadNotes reads what is kept in memory of the notes, and gives the file its
// name as a journal if it has none.
func (e *Engine) loadNotes() error {
	s, err := e.w.prepare("SELECT kind,n,last FROM note_kinds")
	if err != nil {
		return err
	}
	defer s.finalize()
	for {
		ok, err := s.step()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		e.kinds[morningai.NoteKind(s.colInt(0))] = noteKind{n: s.colInt(1), last: s.colInt(2)}
	}
	floor := e.now().UnixMilli()
	last, err := e.w.prepare("SELECT key FROM notes WHERE kind=? ORDER BY key DESC LIMIT 1")
	if err != nil {
		return err
	}
	defer last.finalize()
	for kind := range e.kinds {
		last.int(1, int64(kind))
		ok, err := last.step()
		if err != nil {
			return err
		}
		if ok {
			var key morningai.ID
			copy(key[:], last.colRaw(0))
			floor = max(floor, prefix(key))
			last.reset()
		}
	}
	e.noted = newRecentIDs(floor)
	return e.loadName()
}

func (e *Engine) loadName() error {
	get, err := e.w.prepare("SELECT id,since FROM journal")
	if err != nil {
		return err
	}
	defer get.finalize()
	ok, err := get.step()
	if err != nil {
		return err
	}
	if ok {
		copy(e.journal.id[:], get.colRaw(0))
		e.journal.since = timeOf(get.colInt(1))
		get.reset()
		return nil
	}
	if e.journal.id, err = morningai.NewID(); err != nil {
		return err
	}
	e.journal.since = e.now()
	put, err := e.w.prepare("INSERT INTO journal (id,since) VALUES (?,?)")
	if err != nil {
		return err
	}
	defer put.finalize()
	put.blob(1, e.journal.id[:])
	put.int(2, micros(e.journal.since))
	return put.exec()
}

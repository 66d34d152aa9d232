package enginetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// RunJournal checks that the engine which the harness opens keeps what
// [morningai.Journal] promises beyond [morningai.Engine]. The engine's own test
// runs [Run] too.
func RunJournal(t *testing.T, h Harness) {
	for _, g := range journalGroups() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) { c.run(newRig(t, h)) })
			}
		})
	}
}

func journalGroups() []group {
	return []group{{"Notes", noteChecks()}, {"Withdraw", withdrawChecks()}}
}

func noteChecks() []check {
	return []check{
		{"notes of a kind come in the order in which they were first written", notesInOrder},
		{"a note replaces the one with its kind and key, and keeps its place", notesReplaced},
		{"notes are found by key and by alt", notesFound},
		{"an erased note is gone at once, an erasure is idempotent", notesErased},
		{"a note written after an erasure stays, at the end of the order", notesAgain},
		{"notes survive a reopen, and so does the journal's name", notesReopened},
		{"notes are no tasks", notesNoTasks},
		{"many writers at once lose nothing", notesTogether},
		{"erasures and notes at once leave what was asked for last", notesErasedTogether},
		{"the info counts by kind", notesInfo},
		{"the journal's own kind, a closed journal and an ended context are refused", notesRefused},
	}
}

const (
	kindA morningai.NoteKind = iota + 1
	kindB
	kindLast morningai.NoteKind = 255
)

// journal is the engine as one.
func (r *rig) journal() morningai.Journal {
	r.Helper()
	j, ok := r.eng.(morningai.Journal)
	r.want(ok, "the engine is no journal")
	return j
}

func (r *rig) newNote(kind morningai.NoteKind, alt, data string) morningai.Note {
	r.Helper()
	n := morningai.Note{NoteKey: morningai.NoteKey{Kind: kind, Key: r.id()}, Alt: alt}
	if data != "" {
		n.Data = []byte(data)
	}
	return n
}

func (r *rig) note(notes ...morningai.Note) {
	r.Helper()
	r.noError(r.journal().Note(r.ctx, notes), "note")
}

func (r *rig) erase(notes ...morningai.Note) {
	r.Helper()
	r.noError(r.journal().Erase(r.ctx, noteKeys(notes)), "erase")
}

func noteKeys(notes []morningai.Note) []morningai.NoteKey {
	var keys []morningai.NoteKey
	for _, n := range notes {
		keys = append(keys, n.NoteKey)
	}
	return keys
}

// allNotes reads a kind a page at a time.
func (r *rig) allNotes(kind morningai.NoteKind) []morningai.Note {
	r.Helper()
	var out []morningai.Note
	for after := int64(0); ; {
		page, err := r.journal().Notes(r.ctx, kind, after, 3)
		r.noError(err, "notes")
		r.want(len(page) <= 3, "a page of 3 has %d notes", len(page))
		if len(page) == 0 {
			return out
		}
		for _, n := range page {
			r.want(n.Seq > after && n.Kind == kind, "after number %d of kind %d comes number %d of kind %d", after, kind, n.Seq, n.Kind)
			after = n.Seq
		}
		out = append(out, page...)
	}
}

// sameNote leaves the number out: the journal gives it.
func sameNote(a, b morningai.Note) bool {
	return a.NoteKey == b.NoteKey && a.Alt == b.Alt && string(a.Data) == string(b.Data)
}

// wantNotes compares what is noted of a kind, in order.
func (r *rig) wantNotes(kind morningai.NoteKind, what string, want ...morningai.Note) []morningai.Note {
	r.Helper()
	got := r.allNotes(kind)
	r.want(slices.EqualFunc(got, want, sameNote), "%s: notes are %v, want %v", what, got, want)
	return got
}

func (r *rig) noted(keys ...morningai.NoteKey) []morningai.Note {
	r.Helper()
	got, err := r.journal().Noted(r.ctx, keys)
	r.noError(err, "noted")
	r.want(len(got) == len(keys), "%d keys have %d notes", len(keys), len(got))
	return got
}

func (r *rig) notedAs(kind morningai.NoteKind, alt string) morningai.Note {
	r.Helper()
	got, err := r.journal().NotedAs(r.ctx, kind, alt)
	r.noError(err, "noted as")
	return got
}

func (r *rig) info() morningai.JournalInfo {
	r.Helper()
	info, err := r.journal().JournalInfo(r.ctx)
	r.noError(err, "journal info")
	return info
}

func isNoNote(n morningai.Note) bool {
	return n.NoteKey == morningai.NoteKey{} && n.Seq == 0 && n.Alt == "" && n.Data == nil
}

func notesInOrder(r *rig) {
	var a, b, c []morningai.Note
	for i := range 20 {
		// Keys fall while numbers grow, so that the order is not that of the keys.
		n := r.newNote(kindA, fmt.Sprint("alt ", i%3), fmt.Sprint(i, "\x00\xff"))
		n.Key[0] = byte(200 - i)
		a = append(a, n)
		b = append(b, r.newNote(kindB, "", fmt.Sprint(i)))
		c = append(c, r.newNote(kindLast, fmt.Sprint(i), ""))
		r.note(c[i], b[i], a[i])
	}
	for range 40 {
		n := r.newNote(kindA, "", "many at once")
		n.Seq = 1 // ignored
		a = append(a, n)
	}
	given := slices.Clone(a[20:])
	for i := range given {
		given[i].Data = slices.Clone(given[i].Data)
	}
	r.note(given...)
	for _, n := range given {
		clear(n.Data) // the caller's again
	}
	first := r.wantNotes(kindA, "kind a", a...)
	r.wantNotes(kindB, "kind b", b...)
	r.wantNotes(kindLast, "the last kind", c...)
	r.wantNotes(kindLast-1, "a kind without notes")
	r.want(first[0].Seq >= 1, "the first number is %d", first[0].Seq)
	again, err := r.journal().Notes(r.ctx, kindA, first[9].Seq, 5)
	r.noError(err, "notes")
	r.want(slices.EqualFunc(again, first[10:15], func(x, y morningai.Note) bool { return sameNote(x, y) && x.Seq == y.Seq }), "a page is %v, want %v", again, first[10:15])
}

func notesReplaced(r *rig) {
	a, b, c := r.newNote(kindA, "old", "1"), r.newNote(kindA, "", "2"), r.newNote(kindA, "x", "3")
	twin := a
	twin.Kind = kindB
	r.note(a, b, c, twin)
	before := r.allNotes(kindA)
	a.Alt, a.Data = "new", []byte("a longer one than it was before")
	b.Alt = "old"
	c.Alt, c.Data = "", nil
	r.note(c, a)
	r.note(b, a)
	check := func(what string) {
		r.Helper()
		after := r.wantNotes(kindA, what, a, b, c)
		for i := range after {
			r.want(after[i].Seq == before[i].Seq, "%s: place %d became %d", what, before[i].Seq, after[i].Seq)
		}
		r.wantNotes(kindB, what+", the other kind", twin)
		r.want(sameNote(r.notedAs(kindA, "new"), a) && sameNote(r.notedAs(kindA, "old"), b) && isNoNote(r.notedAs(kindA, "x")), "%s: alts are those of before", what)
		r.want(r.info().Notes[kindA] == 3 && r.info().Notes[kindB] == 1, "%s: counted %v", what, r.info().Notes)
	}
	check("replaced")
	a.Data = []byte("last")
	first := a
	first.Data = []byte("first")
	r.note(first, a) // the later one of a call wins
	check("replaced twice in a call")
	r.reopen()
	check("after a reopen")
}

func notesFound(r *rig) {
	odd := "a key with 'quotes', \x00, \xff and ü"
	notes := []morningai.Note{r.newNote(kindA, odd, "1"), r.newNote(kindA, odd, "2"), r.newNote(kindB, odd, "3"), r.newNote(kindA, "", "4")}
	notes[2].Key = notes[1].Key
	r.note(notes...)
	missing := morningai.NoteKey{Kind: kindA, Key: r.id()}
	other := morningai.NoteKey{Kind: kindB, Key: notes[0].Key}
	got := r.noted(notes[3].NoteKey, missing, notes[2].NoteKey, notes[1].NoteKey, notes[3].NoteKey, other)
	for i, want := range []int{3, -1, 2, 1, 3, -1} {
		if want < 0 {
			r.want(isNoNote(got[i]), "a missing note is %v", got[i])
			continue
		}
		r.want(sameNote(got[i], notes[want]) && got[i].Seq > 0, "by key came %v, want %v", got[i], notes[want])
	}
	r.want(len(r.noted()) == 0, "no keys have notes")
	r.want(sameNote(r.notedAs(kindA, odd), notes[0]), "the oldest is %v", r.notedAs(kindA, odd))
	r.want(sameNote(r.notedAs(kindB, odd), notes[2]), "of the other kind it is %v", r.notedAs(kindB, odd))
	r.want(isNoNote(r.notedAs(kindA, "")) && isNoNote(r.notedAs(kindA, "no such")), "an alt that no note has finds one")
	r.erase(notes[0])
	r.want(sameNote(r.notedAs(kindA, odd), notes[1]), "the next is %v", r.notedAs(kindA, odd))
}

func notesErased(r *rig) {
	var notes []morningai.Note
	for i := range 10 {
		notes = append(notes, r.newNote(kindA, "same", fmt.Sprint(i)))
	}
	twin := notes[0]
	twin.Kind = kindB
	r.note(append(slices.Clone(notes), twin)...)
	r.erase()
	left := append(slices.Clone(notes[1:4]), notes[5:9]...)
	for range 3 { // one that is gone, and one that never was, among them
		r.erase(notes[0], notes[4], notes[9], notes[4], r.newNote(kindA, "", ""))
		r.wantNotes(kindA, "erased", left...)
		r.wantNotes(kindB, "the same key of another kind", twin)
		got := r.noted(notes[0].NoteKey, notes[1].NoteKey)
		r.want(isNoNote(got[0]) && sameNote(got[1], notes[1]), "by key came %v", got)
		r.want(sameNote(r.notedAs(kindA, "same"), notes[1]), "by alt came %v", r.notedAs(kindA, "same"))
	}
	r.until("counts to follow", func() bool { n := r.info().Notes; return n[kindA] == 7 && n[kindB] == 1 })
	r.wantNotes(kindA, "when counts have followed", left...)
	r.erase(left...)
	r.reopen()
	r.wantNotes(kindA, "after a reopen")
	r.wantNotes(kindB, "after a reopen", twin)
	r.want(r.info().Notes[kindA] == 0, "counted after a reopen: %v", r.info().Notes)
}

func notesAgain(r *rig) {
	a, b := r.newNote(kindA, "", "a"), r.newNote(kindA, "", "b")
	r.note(a, b)
	last := r.allNotes(kindA)[1].Seq
	for i := range 30 {
		b.Data = []byte(fmt.Sprint(i))
		r.erase(b)
		if i%2 == 0 { // sometimes the erasure is made before the note, sometimes with it
			r.until("the erasure", func() bool { return r.info().Notes[kindA] == 1 })
		}
		if i%10 == 9 {
			r.reopen()
		}
		r.note(b)
		// A reader that has seen the old one must come across the new one.
		page, err := r.journal().Notes(r.ctx, kindA, last, 10)
		r.noError(err, "notes")
		r.want(len(page) == 1 && sameNote(page[0], b), "round %d: after the erased note come %v", i, page)
		last = page[0].Seq
		r.want(r.info().Notes[kindA] == 2, "round %d: counted %v", i, r.info().Notes)
	}
	r.reopen()
	r.wantNotes(kindA, "after a reopen", a, b)
}

func notesReopened(r *rig) {
	before := r.info()
	notes := []morningai.Note{r.newNote(kindB, "alt", "1"), r.newNote(kindB, "", "2"), r.newNote(kindB, "", "3")}
	r.note(notes...)
	numbers := r.allNotes(kindB)
	for range 2 {
		r.reopen()
		after := r.wantNotes(kindB, "after a reopen", notes...)
		for i := range after {
			r.want(after[i].Seq == numbers[i].Seq, "number %d became %d", numbers[i].Seq, after[i].Seq)
		}
		r.want(sameNote(r.notedAs(kindB, "alt"), notes[0]) && sameNote(r.noted(notes[2].NoteKey)[0], notes[2]), "notes are not found")
		info := r.info()
		r.want(info.ID == before.ID && info.Since.Equal(before.Since), "the journal was %v, is %v", before, info)
		r.want(info.Notes[kindB] == 3, "counted %v", info.Notes)
	}
	replaced := notes[1]
	replaced.Data = []byte("known from before")
	r.note(replaced)
	r.wantNotes(kindB, "replaced after a reopen", notes[0], replaced, notes[2])
}

func notesNoTasks(r *rig) {
	s := r.specs(1)[0]
	n := morningai.Note{NoteKey: morningai.NoteKey{Kind: kindA, Key: s.ID}, Alt: "k", Data: []byte("note")}
	r.note(n)
	r.want(r.gone(s.ID) && len(r.listAll(morningai.Filter{})) == 0 && len(r.exportAll()) == 0, "a note is shown as a task")
	r.want(len(r.ask(r.join(), 1).Grants) == 0, "a note is handed out")
	for state, count := range r.stats().States {
		r.want(count == 0, "%d notes are counted as %s", count, state)
	}
	s.UniqueKey = "k"
	got := r.tryEnqueue(s)[0]
	r.want(got.Err == nil && !got.Existing, "a task with the id and the key of a note: %+v", got)
	r.finish(report(r.claim(r.join(), 1)[0], morningai.OutcomeSucceeded))
	r.wantNotes(kindA, "beside the task", n)
	r.erase(n)
	r.wantState(s.ID, morningai.StateSucceeded)
}

func notesTogether(r *rig) {
	const writers, each = 16, 40
	var want [writers][]morningai.Note
	for w := range writers {
		for i := range each {
			want[w] = append(want[w], r.newNote(kindA, fmt.Sprint("w", w), fmt.Sprint(w, " ", i)))
		}
	}
	r.together(writers, func(w int) error {
		for i, n := range want[w] {
			first := n
			first.Data = []byte("first")
			for _, n := range []morningai.Note{first, n} {
				if err := r.journal().Note(r.ctx, []morningai.Note{n}); err != nil {
					return err
				}
			}
			got, err := r.journal().Noted(r.ctx, []morningai.NoteKey{n.NoteKey})
			if err != nil || !sameNote(got[0], n) {
				return fmt.Errorf("what note %d has written is not read: %v %w", i, got, err)
			}
		}
		return nil
	})
	check := func() {
		r.Helper()
		by := map[string][]morningai.Note{}
		for _, n := range r.allNotes(kindA) {
			by[n.Alt] = append(by[n.Alt], n)
		}
		for w := range writers {
			r.want(slices.EqualFunc(by[fmt.Sprint("w", w)], want[w], sameNote), "writer %d: %v, want %v", w, by[fmt.Sprint("w", w)], want[w])
		}
		r.want(r.info().Notes[kindA] == writers*each, "counted %v", r.info().Notes)
	}
	check()
	r.reopen()
	check()
}

func notesErasedTogether(r *rig) {
	const writers = 8
	var last [writers][]morningai.Note
	for w := range writers {
		for i := range 20 {
			last[w] = append(last[w], r.newNote(kindA, "", fmt.Sprint(w, i)))
		}
	}
	r.together(writers, func(w int) error {
		for i, n := range last[w] {
			one := []morningai.Note{n}
			for range 1 + i%3 {
				if err := r.journal().Note(r.ctx, one); err != nil {
					return err
				}
				if err := r.journal().Erase(r.ctx, noteKeys(one)); err != nil {
					return err
				}
			}
			if i%2 == 0 {
				if err := r.journal().Note(r.ctx, one); err != nil {
					return err
				}
			}
			got, err := r.journal().Noted(r.ctx, noteKeys(one))
			if err != nil || isNoNote(got[0]) == (i%2 == 0) {
				return fmt.Errorf("round %d reads %v %w", i, got, err)
			}
		}
		return nil
	})
	for _, when := range []string{"at the end", "after a reopen"} {
		for w := range writers {
			for i, got := range r.noted(noteKeys(last[w])...) {
				r.want(isNoNote(got) != (i%2 == 0), "%s: writer %d, round %d left %v", when, w, i, got)
			}
		}
		r.reopen()
	}
	r.want(r.info().Notes[kindA] == writers*10, "counted %v", r.info().Notes)
}

func notesInfo(r *rig) {
	info := r.info()
	r.want(!info.ID.IsZero() && !info.Since.IsZero() && !info.Since.After(time.Now()), "a new journal is %+v", info)
	r.want(info.Bytes >= 0 && (info.Free == -1 || info.Free > 0), "a new journal is %+v", info)
	// Members are on record in the same place, and are no notes.
	m := r.member(newSession())
	r.beat(morningai.BeatRequest{Session: m.Session, Member: m})
	big := r.newNote(kindB, "", string(make([]byte, 1<<20)))
	r.note(big, r.newNote(kindA, "", "1"), r.newNote(kindA, "", "2"))
	after := r.info()
	r.want(after.Notes[kindA] == 2 && after.Notes[kindB] == 1 && len(after.Notes) == 2, "counted %v", after.Notes)
	r.want(after.Bytes >= 1<<20 && after.Bytes > info.Bytes, "with a note of 1 MiB it has %d bytes, had %d", after.Bytes, info.Bytes)
	r.fresh()
	r.want(r.info().ID != info.ID, "two journals have one name")
}

func notesRefused(r *rig) {
	j := r.journal()
	own, good := morningai.NoteKey{Key: r.id()}, r.newNote(kindA, "", "x")
	calls := map[string]func(r *rig, kind morningai.NoteKind) error{
		"note": func(r *rig, kind morningai.NoteKind) error {
			return j.Note(r.ctx, []morningai.Note{good, {NoteKey: morningai.NoteKey{Kind: kind, Key: own.Key}}})
		},
		"erase": func(r *rig, kind morningai.NoteKind) error {
			return j.Erase(r.ctx, []morningai.NoteKey{{Kind: kind, Key: own.Key}})
		},
		"notes": func(r *rig, kind morningai.NoteKind) error { _, err := j.Notes(r.ctx, kind, 0, 1); return err },
		"noted": func(r *rig, kind morningai.NoteKind) error {
			_, err := j.Noted(r.ctx, []morningai.NoteKey{{Kind: kind, Key: own.Key}})
			return err
		},
		"noted as": func(r *rig, kind morningai.NoteKind) error { _, err := j.NotedAs(r.ctx, kind, "x"); return err },
		"withdraw": func(r *rig, kind morningai.NoteKind) error { _, err := j.Withdraw(r.ctx, kind, 1); return err },
	}
	for name, call := range calls {
		r.wantError(call(r, 0), morningai.ErrInvalidInput, "%s of kind 0", name)
	}
	r.wantNotes(kindA, "after a refusal")
	ended := *r
	ended.ctx = canceledContext()
	for name, call := range calls {
		r.wantError(call(&ended, kindA), ended.ctx.Err(), "%s with an ended context", name)
	}
	_, err := j.JournalInfo(ended.ctx)
	r.wantError(err, ended.ctx.Err(), "info with an ended context")
	r.noError(r.eng.Close(), "close")
	for name, call := range calls {
		r.wantError(call(r, kindA), morningai.ErrClosed, "%s after the close", name)
	}
	_, err = j.JournalInfo(r.ctx)
	r.wantError(err, morningai.ErrClosed, "info after the close")
}

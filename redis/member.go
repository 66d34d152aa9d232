package redis

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// memberField is the length of a field of the sessions that names a member, an m
// and its journal: members are kept there, so that a beat reads and writes them
// without a command more.
const memberField = 17

// settingsField is when the settings of a queue were changed last.
const settingsField = "q"

// memberArgs is what a beat changes of the members: one that is recorded, or
// removed if nothing of it is packed, and those that are forgotten.
func memberArgs(req *morningai.BeatRequest) []string {
	args := []string{"", "", ""}
	if m := req.Member; m != nil {
		args[0], args[2] = string(m.Journal[:]), be(uint64(m.Edition))
		if !req.Leaving || m.Backlog > 0 {
			args[1] = packMember(m)
		}
	}
	for _, id := range req.Forget {
		args = append(args, string(id[:]))
	}
	return args
}

func packMember(m *morningai.Member) string {
	b := append([]byte(nil), m.Session[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(m.ContactAt)))
	b = binary.AppendUvarint(b, uint64(max(0, m.Backlog)))
	for _, text := range []string{m.Node, m.URL, m.Version} {
		b = appendText(b, text)
	}
	b = binary.BigEndian.AppendUint64(b, m.Reported)
	b = binary.BigEndian.AppendUint64(b, m.Crashed)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Edition))
	return string(b)
}

func readMember(journal, text string) (morningai.Member, bool) {
	if len(journal) != 16 || len(text) < 24 {
		return morningai.Member{}, false
	}
	r := &reader{rest: text[24:], ok: true}
	m := morningai.Member{Journal: morningai.ID([]byte(journal)), Session: morningai.SessionID([]byte(text[:16])),
		ContactAt: fromNanos(be64(text[16:])), Backlog: int64(r.uvarint())}
	m.Node, m.URL, m.Version = r.text(), r.text(), r.text()
	if r.ok && r.rest != "" { // written by a program that knows of losses
		if b := r.bytes(16); r.ok {
			m.Reported, m.Crashed = uint64(be64(b)), uint64(be64(b[8:]))
		}
	}
	if r.ok && r.rest != "" { // and one that counts editions
		if b := r.bytes(8); r.ok {
			m.Edition = be64(b)
		}
	}
	return m, r.ok
}

// lookUp reads what is on record of the journal of this engine's node, before this
// process says anything of it.
func (e *Engine) lookUp(ctx context.Context) error {
	if e.opt.member.IsZero() {
		return nil
	}
	call, cancel := e.bounded(ctx)
	defer cancel()
	result, err := e.do(call, e.client.B().Hget().Key(e.parts[0].base+"sessions").Field("m"+string(e.opt.member[:])).Build())
	if err != nil {
		return err
	}
	text, err := result.ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		return err
	}
	if text != "" {
		m, ok := readMember(string(e.opt.member[:]), text)
		if !ok {
			return errCorrupt
		}
		e.edition.Store(m.Edition)
		return nil
	}
	// It has left, or was never there.
	if result, err = e.do(call, e.client.B().Hget().Key(e.parts[0].base+"meta").Field("e"+string(e.opt.member[:])).Build()); err != nil {
		return err
	}
	if text, err = result.ToString(); err != nil && !rueidis.IsRedisNil(err) {
		return err
	}
	if len(text) == 8 {
		e.edition.Store(be64(text))
	}
	return nil
}

// readSettings says when the settings were changed last: "-" for never, so that it
// says something always.
func readSettings(sessions map[string]string) string { return cmp.Or(sessions[settingsField], "-") }

// readMembers finds the members among the sessions, and sorts them by journal.
func readMembers(sessions map[string]string) ([]morningai.Member, error) {
	var out []morningai.Member
	for field, value := range sessions {
		if len(field) != memberField {
			continue
		}
		m, ok := readMember(field[1:], value)
		if !ok {
			return nil, errCorrupt
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b morningai.Member) int { return bytes.Compare(a.Journal[:], b.Journal[:]) })
	return out, nil
}

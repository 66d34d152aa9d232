package enginetest

import (
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// member is a node with a journal, as its own beats describe it.
func (r *rig) member(session morningai.SessionID) *morningai.Member {
	r.Helper()
	return &morningai.Member{Journal: r.id(), Node: "n1", URL: "http://127.0.0.1:8080", Session: session, Version: "1.2.3", Backlog: 7,
		ContactAt: time.Now().UTC().Truncate(time.Microsecond)}
}

// wantMembers compares what a beat says is on record.
func (r *rig) wantMembers(got []morningai.Member, what string, want ...morningai.Member) {
	r.Helper()
	if r.harness.Self != nil {
		self := r.harness.Self(r.eng)
		got = slices.DeleteFunc(slices.Clone(got), func(m morningai.Member) bool { return m.Journal == self })
	}
	order := func(a, b morningai.Member) int { return slices.Compare(a.Journal[:], b.Journal[:]) }
	got = slices.SortedFunc(slices.Values(got), order)
	slices.SortFunc(want, order)
	r.want(len(got) == len(want), "%s: members %+v, want %+v", what, got, want)
	for i, w := range want {
		g := got[i]
		r.want(g.ContactAt.Equal(w.ContactAt), "%s: contact at %v, want %v", what, g.ContactAt, w.ContactAt)
		g.ContactAt, w.ContactAt = time.Time{}, time.Time{}
		r.want(g == w, "%s: member %+v, want %+v", what, g, w)
	}
}

// connected and parted are the member as others see it.
func connected(m *morningai.Member) morningai.Member { return seen(m, true) }
func parted(m *morningai.Member) morningai.Member    { return seen(m, false) }

func seen(m *morningai.Member, connected bool) morningai.Member {
	out := *m
	out.Connected = connected
	return out
}

// others is what a session without a journal is told.
func (r *rig) others(watcher morningai.SessionID) []morningai.Member {
	r.Helper()
	return r.beat(morningai.BeatRequest{Session: watcher}).Members
}

func memberRecorded(r *rig) {
	a, b, watcher := newSession(), newSession(), r.join()
	r.wantMembers(r.others(watcher), "at first")
	first, second := r.member(a), r.member(b)
	second.Node, second.URL, second.Backlog = "n2 \"ü\"", "", 0
	r.wantMembers(r.beat(morningai.BeatRequest{Session: a, Member: first}).Members, "its own beat", connected(first))
	want := []morningai.Member{connected(first), connected(second)}
	r.wantMembers(r.beat(morningai.BeatRequest{Session: b, Member: second}).Members, "the other's beat", want...)
	r.wantMembers(r.others(watcher), "a third", want...)
	// What is not said of it stays, what is said replaces everything.
	r.wantMembers(r.beat(morningai.BeatRequest{Session: a}).Members, "a beat without a word", want...)
	first.Backlog, first.Version, first.ContactAt = 0, "", first.ContactAt.Add(time.Second)
	r.beat(morningai.BeatRequest{Session: a, Member: first})
	r.wantMembers(r.others(watcher), "its next word", connected(first), connected(second))
	// A new session of the same journal takes the old one's place.
	first.Session, first.URL = newSession(), "http://127.0.0.1:9"
	r.beat(morningai.BeatRequest{Session: first.Session, Member: first})
	r.wantMembers(r.others(watcher), "its next session", connected(first), connected(second))
	r.wantMembers(r.beat(morningai.BeatRequest{Session: first.Session, Member: first}).Members, "a repeat", connected(first), connected(second))
}

func memberLeaves(r *rig) {
	a, b, watcher := newSession(), newSession(), r.join()
	first, second := r.member(a), r.member(b)
	r.beat(morningai.BeatRequest{Session: a, Member: first})
	r.beat(morningai.BeatRequest{Session: b, Member: second})
	first.Backlog = 0
	for range 2 {
		r.wantMembers(r.beat(morningai.BeatRequest{Session: a, Member: first, Leaving: true}).Members, "the one that leaves", connected(second))
	}
	r.wantMembers(r.others(watcher), "a third", connected(second))
}

func memberStays(r *rig) {
	a, b, c, watcher := newSession(), newSession(), newSession(), r.join()
	owing, dead, silent := r.member(a), r.member(b), r.member(c)
	dead.Backlog, silent.Backlog = 0, 0
	for _, m := range []*morningai.Member{owing, dead, silent} {
		r.beat(morningai.BeatRequest{Session: m.Session, Member: m})
	}
	owing.Backlog = 1
	r.wantMembers(r.beat(morningai.BeatRequest{Session: a, Member: owing, Leaving: true}).Members, "the one that owes", parted(owing), connected(dead), connected(silent))
	r.reap(b)
	r.beat(morningai.BeatRequest{Session: c, Leaving: true})
	want := []morningai.Member{parted(owing), parted(dead), parted(silent)}
	r.wantMembers(r.others(watcher), "a third", want...)
	// It comes back and has delivered.
	owing.Session, owing.Backlog = newSession(), 0
	r.beat(morningai.BeatRequest{Session: owing.Session, Member: owing})
	r.wantMembers(r.others(watcher), "when it is back", connected(owing), parted(dead), parted(silent))
	r.beat(morningai.BeatRequest{Session: owing.Session, Member: owing, Leaving: true})
	r.wantMembers(r.others(watcher), "when it has left", parted(dead), parted(silent))
}

func memberForgotten(r *rig) {
	var all []*morningai.Member
	for range 3 {
		m := r.member(newSession())
		r.beat(morningai.BeatRequest{Session: m.Session, Member: m})
		all = append(all, m)
	}
	watcher := r.join()
	forget := []morningai.ID{all[0].Journal, r.id(), all[2].Journal}
	for range 2 {
		r.wantMembers(r.beat(morningai.BeatRequest{Session: watcher, Forget: forget}).Members, "after forgetting", connected(all[1]))
	}
	r.wantMembers(r.others(watcher), "later", connected(all[1]))
	r.beat(morningai.BeatRequest{Session: all[0].Session})
	r.wantMembers(r.others(watcher), "after a beat that says nothing", connected(all[1]))
	r.beat(morningai.BeatRequest{Session: all[0].Session, Member: all[0]})
	r.wantMembers(r.others(watcher), "when it beats again", connected(all[0]), connected(all[1]))
}

func memberReopened(r *rig) {
	m, left, lost := r.member(newSession()), r.member(newSession()), r.member(newSession())
	for _, one := range []*morningai.Member{m, left, lost} {
		r.beat(morningai.BeatRequest{Session: one.Session, Member: one})
	}
	left.Backlog = 0
	r.beat(morningai.BeatRequest{Session: left.Session, Member: left, Leaving: true})
	r.beat(morningai.BeatRequest{Session: m.Session, Forget: []morningai.ID{lost.Journal}})
	r.reopen()
	// Whether the session survives is the engine's choice.
	got := r.others(newSession())
	for i := range got {
		got[i].Connected = true
	}
	r.wantMembers(got, "after a reopen", connected(m))
}

package resilient

import (
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// lastKnown remembers tasks as they were shown last, so that a reader is never
// shown an older state, and is shown something while the shared engine is away.
type lastKnown struct {
	byID map[morningai.ID]*shown
	ring shown // most recent first, from ring.next on
	// generation of the shared engine's data. Of states from before a loss it may
	// know nothing: then what it says now is later, whatever the versions are.
	generation int64
	bytes      int
	pending    map[morningai.ID]bool // an order about the task has still to be delivered
	unsure     recent                // the shared engine may have them, and the journal does not
	deleted    recent
	// outcomes that the shared engine has refused, by leaseKey: whoever reported
	// them was told
	refusedOutcomes recent
	refused         recent                           // by the shared engine: their notes are about to go
	orders          map[morningai.ID]*morningai.Task // as they were after the last order that was carried out
	ordersIn        []morningai.ID
	departed        recent // the shared engine is being told, or was, what waited in the journal
}

// shown is a task as it was shown last, in the ring of all that are remembered.
type shown struct {
	task       morningai.Task
	next, prev *shown
	generation int64 // of the shared engine's data
	lift       int64 // what readers see is so much above the version
	yielded    bool  // the shared engine has decided otherwise; see yield
}

func (s *shown) unlink() {
	s.prev.next, s.next.prev = s.next, s.prev
}

func (s *shown) linkAfter(at *shown) {
	s.prev, s.next = at, at.next
	s.prev.next, s.next.prev = s, s
}

// maxKnownBytes bounds what is remembered.
const maxKnownBytes = 32 << 20

func newLastKnown() *lastKnown {
	k := &lastKnown{byID: map[morningai.ID]*shown{}, pending: map[morningai.ID]bool{}}
	k.ring.next, k.ring.prev = &k.ring, &k.ring
	return k
}

// recent remembers the last ids of a kind, for as long as the shared engine is
// sure to remember what has ended.
type recent struct {
	at    map[morningai.ID]time.Time
	order []morningai.ID
}

const maxRecent = 4096

func (r *recent) has(id morningai.ID, now time.Time) bool {
	at, ok := r.at[id]
	return ok && now.Sub(at) < tombstones
}

func (r *recent) add(id morningai.ID, now time.Time) {
	if r.at == nil {
		r.at = map[morningai.ID]time.Time{}
	}
	r.drop(id)
	if len(r.order) == maxRecent {
		delete(r.at, r.order[0])
		r.order = r.order[1:]
	}
	r.at[id] = now
	r.order = append(r.order, id)
}

func (r *recent) drop(id morningai.ID) {
	if _, ok := r.at[id]; ok {
		delete(r.at, id)
		r.order = slices.DeleteFunc(r.order, func(x morningai.ID) bool { return x == id })
	}
}

// receipt returns the task of a receipt as it is to be shown: never in an
// earlier state than before.
func (k *lastKnown) receipt(t morningai.Task) morningai.Task {
	shown := k.show(t)
	shown.Durable, shown.Runs, shown.Duplicate = t.Durable, t.Runs, t.Duplicate
	return shown
}

func sizeOf(t *morningai.Task) int {
	return 512 + len(t.Payload) + len(t.Result) + len(t.Progress) + 64*len(t.Metadata)
}

// see remembers a task, unless a later state of it is known.
func (k *lastKnown) see(t *morningai.Task) {
	if t.ID.IsZero() {
		return
	}
	s, fresh := k.byID[t.ID], t.Fresh
	if s == nil {
		s = &shown{}
		k.byID[t.ID] = s
	} else {
		if k.later(s, t) {
			return
		}
		if another(&s.task, t) {
			s.lift = 0
		} else if (s.generation != k.generation || s.yielded) && laterThan(&s.task, t) {
			s.lift += s.task.Version - t.Version + 2 // for a reader versions only grow, and it is not the next step of what was shown
		}
		if t.Fresh == morningai.FreshStale && !laterThan(t, &s.task) {
			fresh = s.task.Fresh // where it was known from
		}
		k.bytes -= sizeOf(&s.task)
		s.unlink()
	}
	s.task, s.generation, s.yielded = *t, k.generation, s.yielded && t.Fresh != morningai.FreshLive
	s.task.Fresh = fresh
	s.task.Durable, s.task.Runs, s.task.Duplicate, s.task.Pending = "", "", false, false
	k.bytes += sizeOf(t)
	s.linkAfter(&k.ring)
	for k.bytes > maxKnownBytes && k.ring.prev != s {
		k.drop(k.ring.prev)
	}
}

// later reports that what was shown is a later state of the task than t.
func (k *lastKnown) later(had *shown, t *morningai.Task) bool {
	if another(&had.task, t) {
		return false
	}
	if !had.yielded && had.task.State.Terminal() && !t.State.Terminal() && had.task.Life == t.Life {
		return true // a loss may have taken the end, until whoever keeps it has put it back
	}
	if t.Fresh == morningai.FreshLive && (had.yielded || had.generation != k.generation && !had.task.State.Terminal()) {
		return false
	}
	return laterThan(&had.task, t)
}

// another reports that an id was given again to a task, after the one that had it was
// forgotten.
func another(had, t *morningai.Task) bool { return t.CreatedAt.Sub(had.CreatedAt) >= tombstones }

// yield notes what the shared engine has of a task. If two nodes had accepted it
// apart, what was shown of the other one, from a journal, gives way to it.
func (k *lastKnown) yield(t *morningai.Task) {
	if s := k.byID[t.ID]; s != nil && s.task.Fresh == morningai.FreshLocal && laterThan(&s.task, t) {
		s.yielded = true
	}
}

// lift is how far the versions that readers see of a task are above the shared
// engine's, which a loss has set back.
func (k *lastKnown) lift(id morningai.ID) int64 {
	if s := k.byID[id]; s != nil {
		return s.lift
	}
	return 0
}

func (k *lastKnown) drop(s *shown) {
	k.bytes -= sizeOf(&s.task)
	s.unlink()
	delete(k.byID, s.task.ID)
}

// laterThan reports whether a is a later state of a task than b.
func laterThan(a, b *morningai.Task) bool {
	if a.Life != b.Life {
		return a.Life > b.Life
	}
	return a.Version > b.Version
}

func (k *lastKnown) get(id morningai.ID) *morningai.Task {
	if s := k.byID[id]; s != nil {
		return &s.task
	}
	return nil
}

func (k *lastKnown) forget(id morningai.ID, now time.Time) {
	k.deleted.add(id, now)
	if s := k.byID[id]; s != nil {
		k.drop(s)
	}
}

// ordered notes what an order has made of a task, and reports whether it is the last
// so far.
func (k *lastKnown) ordered(t *morningai.Task) bool {
	had := k.orders[t.ID]
	if had != nil && laterThan(had, t) {
		return false
	}
	if k.orders == nil {
		k.orders = map[morningai.ID]*morningai.Task{}
	}
	if had == nil {
		if len(k.ordersIn) == maxRecent {
			delete(k.orders, k.ordersIn[0])
			k.ordersIn = k.ordersIn[1:]
		}
		k.ordersIn = append(k.ordersIn, t.ID)
	}
	k.orders[t.ID] = &morningai.Task{Life: t.Life, Version: t.Version}
	return true
}

// await marks a task about which an order has still to be delivered.
func (k *lastKnown) await(id morningai.ID) { k.pending[id] = true }

func (k *lastKnown) settle(id morningai.ID) { delete(k.pending, id) }

// latest returns t, or what was shown before if that is later.
func (k *lastKnown) latest(t morningai.Task) morningai.Task {
	if had := k.byID[t.ID]; had != nil && k.later(had, &t) {
		t = had.task
		t.Fresh = morningai.FreshStale
	}
	return t
}

// show returns t, or what was shown before if that is later, with the marks
// that belong to it now.
func (k *lastKnown) show(t morningai.Task) morningai.Task {
	runs := t.Runs
	t = k.latest(t)
	k.see(&t)
	t.Pending, t.Runs = k.pending[t.ID], runs
	t.Version += k.lift(t.ID)
	return t
}

// lastPages remembers answers that cannot be put together without the shared
// engine.
type lastPages struct {
	pages map[morningai.Filter]morningai.Page
	order []morningai.Filter
	stats *morningai.Stats
}

const maxPages = 64

func newLastPages() *lastPages { return &lastPages{pages: map[morningai.Filter]morningai.Page{}} }

func (p *lastPages) see(f morningai.Filter, page morningai.Page, now time.Time) {
	if page.AsOf.IsZero() {
		page.AsOf = now.UTC()
	}
	if _, ok := p.pages[f]; !ok {
		if len(p.order) == maxPages {
			delete(p.pages, p.order[0])
			p.order = p.order[1:]
		}
		p.order = append(p.order, f)
	}
	p.pages[f] = page
}

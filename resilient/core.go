package resilient

import (
	"container/heap"
	"time"

	"github.com/RC918/morningai"
)

// core is the state of a node between two engines. It holds no clock, starts no
// goroutine and waits for nothing: step takes one event and returns what is to
// be done. Only step and what it calls touch the fields.
type core struct {
	cfg     config
	remote  morningai.Engine  // named in effects, never called by the core
	journal morningai.Journal // the same
	random  func() float64    // in [0, 1)

	now     time.Time
	out     []effect
	timers  timers
	budgets budgets
	calls   int64 // waiting calls made

	contact   detector
	apart     partsAway
	mirror    mirror
	sessions  map[morningai.SessionID]*session
	mine      map[morningai.ID]morningai.Lease // claimed from the journal and not finished; see leftBehind
	held      map[morningai.ID]*holding        // claimed from the shared engine and not settled there
	claims    map[*claimOp]struct{}            // that wait
	streams   map[*eventsOp]struct{}           // the same
	known     *lastKnown
	pages     *lastPages
	backlog   backlog
	rebuild   *rebuild // the shared engine has lost data, and this node does not rely on it yet
	incidents incidents
	members   []morningai.Member
	membersAt time.Time // when they were last learned
	// peersHeard is when nodes at the addresses of peers were last heard of.
	peersHeard map[string]time.Time
	forgets    []*forgetOp
	editing    map[morningai.ID][]func(func()) // tasks that wait in the journal and are being changed, and what waits for that
	meeting    []func(error)                   // what waits to know who else is there
	alone      []string                        // nodes without a journal, as the last beat has shown
	disk       disk
	crashed    bool                       // an earlier process of this node had died
	startedAt  time.Time                  // if so: when this one began
	trimming   bool                       // the oldest of what is kept are being looked at
	trimmed    morningai.NoteKind         // which of them were looked at last
	trimNext   time.Time                  // when it is time to
	trash      []morningai.NoteKey        // to be erased soon, in order; what is not in toErase
	toErase    map[morningai.NoteKey]bool // any more was written anew since
	met        bool                       // the shared engine has answered since the start
	trusted    bool                       // and whoever has lost anything there has had time to say so; see firstContact
	asked      map[morningai.ID]*asking   // ids that are being enqueued
	edition    int64                      // of the journal, as it is on its disk
	renamed    bool                       // see noteEdition
	marking    bool                       // what was acknowledged is written down soon
	closing    bool
	noting     map[morningai.NoteKey][]func() // outcomes that are being written, and what waits for that
}

func newCore(cfg config, remote morningai.Engine, journal morningai.Journal, random func() float64, now time.Time) *core {
	c := &core{cfg: cfg, remote: remote, journal: journal, random: random, now: now,
		sessions: map[morningai.SessionID]*session{}, mine: map[morningai.ID]morningai.Lease{}, held: map[morningai.ID]*holding{},
		claims: map[*claimOp]struct{}{}, streams: map[*eventsOp]struct{}{}, asked: map[morningai.ID]*asking{}, known: newLastKnown(), pages: newLastPages(), toErase: map[morningai.NoteKey]bool{}, noting: map[morningai.NoteKey][]func(){}}
	c.contact = detector{state: morningai.ContactUp, since: now, heard: now, oldest: 1}
	c.backlog.due = now
	return c
}

// step lets the core handle events that have come, one after the other.
func (c *core) step(now time.Time, events ...func()) []effect {
	c.now = now
	for _, event := range events {
		event()
	}
	c.expire()
	c.watchContact()
	c.keepHouse()
	c.deliver()
	out := c.out
	c.out = nil
	return out
}

// reuse takes back what step has returned, once it was performed.
func (c *core) reuse(effects []effect) {
	clear(effects)
	if c.out == nil && cap(effects) <= maxReuse {
		c.out = effects[:0]
	}
}

const maxReuse = 4096

// wake is when there is something to do, if nothing happens before.
func (c *core) wake() time.Time {
	at := c.contact.wake(&c.cfg.limits)
	if !c.disk.looking {
		at = earlier(at, c.disk.next)
	}
	if !c.mirror.looking && !c.contact.open() {
		at = earlier(at, c.mirror.next)
	}
	at = earlier(at, c.incidents.next)
	at = earlier(at, c.backlog.wake(c))
	if len(c.timers) > 0 {
		at = earlier(at, c.timers[0].at)
	}
	if b := c.budgets.first(); b != nil {
		at = earlier(at, b.at)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	switch {
	case a.IsZero():
		return b
	case b.IsZero(), a.Before(b):
		return a
	}
	return b
}

// keepHouse does what is due from time to time.
func (c *core) keepHouse() {
	if c.closing {
		return
	}
	if !c.disk.next.After(c.now) {
		c.lookAtJournal()
	}
	if !c.contact.open() && !c.mirror.next.After(c.now) {
		c.lookAtFleet()
	}
	if !c.incidents.next.IsZero() && !c.incidents.next.After(c.now) {
		c.writeIncident()
	}
}

// timer calls f when its time has come.
type timer struct {
	at  time.Time
	seq int64
	f   func()
}

// timers is a heap: what is due first is first, and of one time what was asked
// for first.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].before(t[j].at, t[j].seq) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	(*t)[len(*t)-1] = timer{}
	*t = (*t)[:len(*t)-1]
	return last
}

// after calls f within step once d has passed.
func (c *core) after(d time.Duration, f func()) {
	c.calls++
	heap.Push(&c.timers, timer{c.now.Add(d), c.calls, f})
}

func (c *core) expire() {
	for {
		b := c.budgets.first()
		switch due := len(c.timers) > 0 && !c.timers[0].at.After(c.now); {
		case b != nil && !b.at.After(c.now) && !(due && c.timers[0].before(b.at, b.seq)):
			c.budgets.drop()
			b.end()
		case due:
			heap.Pop(&c.timers).(timer).f()
		default:
			return
		}
	}
}

func (t *timer) before(at time.Time, seq int64) bool {
	return t.at.Before(at) || t.at.Equal(at) && t.seq < seq
}

// outage reports whether an error of a whole call says that the shared engine
// cannot be relied on, as opposed to an answer.
func outage(err error) bool {
	switch morningai.CodeOf(err) {
	case morningai.CodeInvalidInput, morningai.CodeTooLarge, morningai.CodeNotFound, morningai.CodeConflict,
		morningai.CodeWrongState, morningai.CodeStale, morningai.CodeCursorExpired, morningai.CodeClosed:
		return false
	}
	return err != nil
}

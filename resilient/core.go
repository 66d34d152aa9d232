package resilient

import (
	"container/heap"
	"context"
	"log/slog"
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
	forgets   []*forgetOp
	meeting   []func(error) // what waits to know who else is there
	alone     []string      // nodes without a journal, as the last beat has shown
	disk      disk
	crashed   bool                       // an earlier process of this node had died
	startedAt time.Time                  // if so: when this one began
	trimming  bool                       // the oldest of what is kept are being looked at
	trimmed   morningai.NoteKind         // which of them were looked at last
	trimNext  time.Time                  // when it is time to
	trash     []morningai.NoteKey        // to be erased soon, in order; what is not in toErase
	toErase   map[morningai.NoteKey]bool // any more was written anew since
	met       bool                       // the shared engine has answered since the start
	trusted   bool                       // and whoever has lost anything there has had time to say so; see firstContact
	asked     map[morningai.ID]*asking   // ids that are being enqueued
	edition   int64                      // of the journal, as it is on its disk
	renamed   bool                       // see noteEdition
	marking   bool                       // what was acknowledged is written down soon
	closing   bool
	noting    map[morningai.NoteKey][]func() // outcomes that are being written, and what waits for that
}

func newCore(cfg config, remote morningai.Engine, journal morningai.Journal, random func() float64, now time.Time) *core {
	c := &core{cfg: cfg, remote: remote, journal: journal, random: random, now: now,
		sessions: map[morningai.SessionID]*session{}, mine: map[morningai.ID]morningai.Lease{}, held: map[morningai.ID]*holding{},
		claims: map[*claimOp]struct{}{}, streams: map[*eventsOp]struct{}{}, asked: map[morningai.ID]*asking{}, known: newLastKnown(), pages: newLastPages(), toErase: map[morningai.NoteKey]bool{}, noting: map[morningai.NoteKey][]func(){}}
	c.contact = detector{state: morningai.ContactUp, since: now, heard: now, oldest: 1}
	c.backlog.due = now
	return c
}

// effect is something for the shell to do outside of the core.
type effect struct {
	to    target
	name  string
	limit time.Duration // of the call; 0: none
	// waits numbers a call that stands still by design, so that it can be
	// ended early; 0 for others.
	waits int64
	// What is to be written, instead of run: calls that write the same kind may be
	// made as one.
	notes []morningai.Note
	tasks []morningai.TaskSpec
	run   func(ctx context.Context) (any, error)
	then  func(result any, err error) // an event: the shell hands it back through step
	line  *line
}

// line is one for people.
type line struct {
	level slog.Level
	text  string
	attrs []any
}

// call makes the call of an effect.
func (f *effect) call(ctx context.Context, remote morningai.Engine, journal morningai.Journal) (any, error) {
	switch {
	case f.notes != nil:
		return nil, journal.Note(ctx, f.notes)
	case f.tasks != nil:
		return remote.Enqueue(ctx, f.tasks)
	}
	return f.run(ctx)
}

type target uint8

const (
	toReply   target = iota // run answers a caller; nothing comes back
	toShared                // a call of the shared engine
	toJournal               // a call of the journal
	toPeer                  // a call of another node
	toLog                   // a line for people
	toCancel                // the waiting call with this number ends
)

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

// onShared makes a call of the shared engine. What it says of the engine's
// health is noted before then sees it.
func onShared[T any](c *core, name string, limit time.Duration, run func(context.Context) (T, error), then func(T, error)) {
	if name != "beat" && name != "stats" && name != "probe" {
		c.mirror.stir(c.now)
	}
	call := c.contact.began(c.now)
	c.out = append(c.out, effect{to: toShared, name: name, limit: limit,
		run: reaching(c, run),
		then: func(result any, err error) {
			sent := c.contact.ended(call)
			got, _ := result.(reached[T])
			c.noteData(got.data)
			c.noteEdition(got.edition)
			c.noteContact(call, sent, err)
			c.mark(name, err)
			then(got.value, err)
		}})
}

// reached is what a call of the shared engine has brought, and on which data.
type reached[T any] struct {
	value   T
	data    morningai.DataSet
	edition int64 // of this node's journal, as it is on record
}

func reaching[T any](c *core, run func(context.Context) (T, error)) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		value, err := run(ctx)
		now := c.remote.Capabilities()
		return reached[T]{value, now.Data, now.Edition}, err
	}
}

// waitShared is onShared for a call that stands still by design: how long it
// takes says nothing. It returns the number to end it with.
func waitShared[T any](c *core, name string, run func(context.Context) (T, error), then func(T, error)) int64 {
	sent := c.now
	c.calls++
	c.out = append(c.out, effect{to: toShared, name: name, waits: c.calls,
		run: reaching(c, run),
		then: func(result any, err error) {
			got, _ := result.(reached[T])
			c.noteData(got.data)
			c.noteEdition(got.edition)
			c.noteContact(0, sent, err)
			c.mark(name, err)
			then(got.value, err)
		}})
	return c.calls
}

// onJournal makes a call of the journal.
func onJournal[T any](c *core, name string, run func(context.Context) (T, error), then func(T, error)) {
	c.out = append(c.out, effect{to: toJournal, name: name,
		run: func(ctx context.Context) (any, error) { return run(ctx) },
		then: func(result any, err error) {
			c.noteDisk(err)
			value, _ := result.(T)
			then(value, err)
		}})
}

// waitJournal is onJournal for a call that stands still by design.
func waitJournal[T any](c *core, name string, run func(context.Context) (T, error), then func(T, error)) int64 {
	onJournal(c, name, run, then)
	c.calls++
	c.out[len(c.out)-1].waits = c.calls
	return c.calls
}

// end ends a waiting call early; its then is still called.
func (c *core) end(call int64) {
	if call != 0 {
		c.out = append(c.out, effect{to: toCancel, waits: call})
	}
}

// write is onJournal for calls that return nothing but an error.
func (c *core) write(name string, run func(context.Context) error, then func(error)) {
	onJournal(c, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, run(ctx) },
		func(_ struct{}, err error) { then(err) })
}

func (c *core) note(notes []morningai.Note, then func(error)) {
	for i := range notes {
		c.disk.written += int64(len(notes[i].Data))
		if len(c.trash) > 0 { // what stood there before is replaced, not erased
			delete(c.toErase, notes[i].NoteKey)
		}
	}
	if notes == nil {
		notes = []morningai.Note{}
	}
	c.out = append(c.out, effect{to: toJournal, name: "note", notes: notes, then: func(_ any, err error) {
		c.noteDisk(err)
		then(err)
	}})
}

// erase removes notes that have served their purpose, with others. If it fails
// they are acted on once more, which changes nothing.
func (c *core) erase(keys ...morningai.NoteKey) {
	if len(keys) == 0 {
		return
	}
	if len(c.trash) == 0 {
		c.after(eraseEvery, c.empty)
	}
	for _, k := range keys {
		c.toErase[k] = true
	}
	c.trash = append(c.trash, keys...)
}

// eraseNow removes notes before anything else is said: a reader must not find
// them.
func (c *core) eraseNow(keys []morningai.NoteKey, then func()) {
	c.write("erase", func(ctx context.Context) error { return c.journal.Erase(ctx, keys) }, func(error) { then() })
}

// eraseForGood is eraseNow for what a crash must not bring back: tasks that were
// refused would run. Erasing does not wait for the disk, a note behind it does, and
// says whether it is certain.
func (c *core) eraseForGood(keys []morningai.NoteKey, then func(error)) {
	c.eraseNow(keys, func() {
		c.note([]morningai.Note{{NoteKey: erasedKey, Data: []byte{1}}}, then)
	})
}

// eraseEvery gathers what is to be erased into fewer calls.
const eraseEvery = 50 * time.Millisecond

func (c *core) empty() {
	var keys []morningai.NoteKey
	for _, k := range c.trash {
		if c.toErase[k] {
			keys = append(keys, k)
			delete(c.toErase, k)
		}
	}
	c.trash = nil
	if len(keys) > 0 {
		c.write("erase", func(ctx context.Context) error { return c.journal.Erase(ctx, keys) }, func(error) {})
	}
}

// reply answers whoever waits for an operation.
func (c *core) reply(answer func()) {
	c.out = append(c.out, effect{to: toReply, run: func(context.Context) (any, error) {
		answer()
		return nil, nil
	}})
}

func (c *core) log(level slog.Level, text string, attrs ...any) {
	c.out = append(c.out, effect{to: toLog, line: &line{level, text, attrs}})
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

package drill

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/RC918/morningai"
)

// fleet is a little system of nodes around one store that keeps every promise,
// told step by step on one goroutine. bug names one that it breaks; fired says
// that it has done so, in a way that somebody has seen.
type fleet struct {
	*story
	choose func(n int) int // 0 to n-1
	bug    string
	fired  bool

	store  map[int]*row
	nodes  []*member
	down   bool
	paused string // the node that paused the queue; "" while it is not
	next   int
	lease  int64
	seen   map[string]int64 // by reader and task: the largest version shown
	calls  []func()         // returns that are still to come
}

// row is a task as it stands.
type row struct {
	id                          int
	state                       morningai.State
	life, version, claim, lease int64
	node                        string // the one it runs on
	accepted                    string // the one whose journal has it; "" if none has
	cancel, acked, told         bool   // told: its cancel was acknowledged while it ran
	key                         string
	payload                     Digest
	attempts                    []AttemptFinal
}

// member is a node: what its journal holds and what its handlers do.
type member struct {
	name   string
	up     bool
	cut    bool
	local  map[int]*row // owned by the node
	hidden map[int]*row // lost by the store while the node was away
	runs   []handout
	outbox []Op    // outcomes that the store has not had
	orders []order // cancels that the store has not had
}

type handout struct {
	id           int
	claim, lease int64
	local        bool
}

type order struct {
	id   int
	life int64
}

func newFleet(bug string, choose func(int) int) *fleet {
	f := &fleet{story: newStory(everything, "a", "b", "c"), choose: choose, bug: bug, store: map[int]*row{}, seen: map[string]int64{}}
	for _, n := range f.final.Nodes {
		f.nodes = append(f.nodes, &member{name: n.Node, up: true, local: map[int]*row{}, hidden: map[int]*row{}})
	}
	return f
}

// breaks is asked at each place where a bug can be.
func (f *fleet) breaks(bug string) bool { return f.bug == bug }

func (f *fleet) fire() { f.fired = true }

func (f *fleet) reaches(m *member) bool { return m.up && !m.cut && !f.down }

// step lets one thing happen.
func (f *fleet) step() {
	m := f.nodes[f.choose(len(f.nodes))]
	if !m.up {
		if f.choose(3) == 0 {
			f.restart(m)
		}
		return
	}
	switch f.choose(24) {
	case 0, 1, 2, 3:
		f.enqueue(m)
	case 4, 5, 6, 7, 8:
		f.claim(m)
	case 9, 10, 11, 12:
		if len(m.runs) > 0 {
			f.finish(m, f.choose(len(m.runs)), f.choose(5))
		}
	case 13, 14, 15:
		f.read(m, f.any())
	case 16:
		f.cancel(m, f.any())
	case 17:
		f.retry(m, f.any())
	case 18:
		f.again(m, f.any())
	case 19:
		f.crash(m)
	case 20:
		f.outage(m)
	case 21:
		f.pause(m)
	case 22:
		f.reap(m)
	case 23:
		if f.choose(3) == 0 {
			f.lose()
		}
	}
	if f.choose(2) == 0 {
		f.due()
	}
	if len(f.calls) > 0 && f.choose(2) == 0 {
		f.answer(f.choose(len(f.calls)))
	}
}

func (f *fleet) any() int { return 1 + f.choose(max(f.next, 1)) }

func (f *fleet) answer(i int) {
	f.now += ms
	f.calls[i]()
	f.calls = slices.Delete(f.calls, i, i+1)
}

// ask records a call that takes effect at once and is answered now or later.
func (f *fleet) ask(op Op) {
	outcome, code := op.Outcome, op.Code
	op.Outcome, op.Code = "", ""
	f.now += ms
	c := f.h.Begin(op)
	back := func() { c.Return(func(o *Op) { o.Outcome, o.Code = outcome, code }) }
	if f.choose(4) == 0 && !f.breaks("a second holder") { // it is seen only once it has returned
		f.calls = append(f.calls, back)
		return
	}
	back()
}

// show fills in what a row looks like.
func (r *row) show(op *Op) {
	op.Life, op.Version, op.State, op.Payload = r.life, r.version, r.state, r.payload
}

func (f *fleet) client(m *member) string { return fmt.Sprintf("%s%d", m.name, f.choose(2)) }

func (f *fleet) find(m *member, id int) *row {
	if r := m.local[id]; r != nil {
		return r
	}
	if f.reaches(m) {
		return f.store[id]
	}
	return nil
}

func (f *fleet) enqueue(m *member) {
	f.next++
	id := f.next
	op := Op{Node: m.name, Client: f.client(m), Kind: Enqueue, Task: tid(id), Payload: Digest(100 + id), Queue: "q"}
	r := &row{id: id, state: queued, life: 1, version: 1, accepted: m.name, payload: op.Payload}
	switch kind := f.choose(12); {
	case kind == 0: // a wrong request
		op.Outcome, op.Code = Fail, morningai.CodeInvalidInput
		if f.breaks("a refused task is kept") && f.reaches(m) {
			f.store[id] = r
			f.fire()
			defer f.read(m, id)
		}
		f.ask(op)
		return
	case kind == 1: // its answer is lost
		op.Outcome = Unknown
	case kind == 2 && f.reaches(m):
		op.Durable, r.accepted = "redis", ""
	case kind == 3 && f.reaches(m):
		op.Key, r.key = "k", "k"
		if h := f.holder(); h != nil {
			if !f.breaks("a second holder") {
				h.show(&op)
				op.Holder, op.Payload, op.Outcome = tid(h.id), Digest(100+id), OK
				f.ask(op)
				return
			}
			defer func() { f.read(m, h.id); f.fire() }()
		}
	}
	if !f.reaches(m) && f.breaks("refused in an outage") {
		op.Outcome, op.Code = Unknown, morningai.CodeUnavailable
		f.fire()
		f.ask(op)
		return
	}
	if f.reaches(m) {
		op.Durable = cmp.Or(op.Durable, "journal+redis")
		f.store[id] = r
	} else {
		op.Durable = "journal"
		m.local[id] = r
	}
	if op.Outcome != Unknown {
		op.Outcome = OK
		op.Life, op.Version, op.State, r.acked = r.life, r.version, r.state, true
		if f.breaks("acknowledged and not kept") && op.Durable != "redis" {
			delete(f.store, id)
			delete(m.local, id)
			f.fire()
		}
	}
	f.ask(op)
}

func (f *fleet) holder() *row {
	for id := 1; id <= f.next; id++ {
		for _, table := range []map[int]*row{f.store, f.nodes[0].hidden, f.nodes[1].hidden, f.nodes[2].hidden} {
			if r := table[id]; r != nil && r.key != "" && !r.state.Terminal() {
				return r
			}
		}
	}
	return nil
}

func (f *fleet) again(m *member, id int) {
	r := f.find(m, id)
	if r == nil || r.key != "" || r.accepted != m.name {
		return
	}
	op := Op{Node: m.name, Client: f.client(m), Kind: Enqueue, Task: tid(id), Queue: "q"}
	r.show(&op)
	op.Durable = "journal+redis"
	if m.local[id] != nil {
		op.Durable = "journal"
	}
	if f.choose(2) == 0 {
		op.Payload = 7
		// A node that was started anew may have forgotten what had ended.
		if r.life == 1 && r.acked && !r.state.Terminal() && f.breaks("another request is taken for the same") {
			f.fire()
		} else {
			op = Op{Node: op.Node, Client: op.Client, Kind: Enqueue, Task: op.Task, Queue: "q", Payload: 7, Outcome: Fail, Code: morningai.CodeConflict}
		}
	}
	f.ask(op)
}

func (f *fleet) read(m *member, id int) {
	if id > f.next {
		return
	}
	op := Op{Node: m.name, Client: f.client(m), Kind: Read, Task: tid(id)}
	r := f.find(m, id)
	acked := func(o Op) bool {
		return o.Kind == Enqueue && o.Task == tid(id) && o.Outcome == OK && o.End != 0 && !o.held() && o.Durable != "redis"
	}
	switch {
	case r != nil:
		r.show(&op)
		op.Attempt = r.claim
		reader := fmt.Sprint(op.Client, id)
		if was := f.seen[reader]; was > 1 && f.breaks("versions fall") {
			op.Version = 1
			f.h.Add(op)
			f.fire()
			return
		}
		f.seen[reader] = max(f.seen[reader], r.version)
		if f.breaks("another payload is shown") {
			op.Payload = 7
			f.fire()
		}
		if f.breaks("an old end is shown") && r.state.Terminal() {
			f.h.Add(op)
			op.State = running
			f.fire()
		}
		f.h.Add(op)
		return
	default:
		op.Outcome, op.Code = Unknown, morningai.CodeStatusUnknown
		if f.breaks("not found in an outage") && slices.ContainsFunc(slices.Collect(f.h.Ops()), acked) {
			op.Outcome, op.Code = Fail, morningai.CodeNotFound
			f.fire()
		}
	}
	f.ask(op)
}

func (f *fleet) bump(r *row, s morningai.State) { r.state, r.version = s, r.version+1 }

// due makes what was scheduled ready.
func (f *fleet) due() {
	for _, table := range []map[int]*row{f.store, f.nodes[0].local, f.nodes[1].local, f.nodes[2].local} {
		for _, r := range sorted(table) {
			if r.state == scheduled {
				f.bump(r, queued)
			}
		}
	}
}

// sorted lists the rows of a table, for the same choice in the same state.
func sorted(table map[int]*row) []*row {
	return slices.SortedFunc(maps.Values(table), func(a, b *row) int { return cmp.Compare(a.id, b.id) })
}

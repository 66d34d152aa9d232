package drill

import (
	"slices"

	"github.com/RC918/morningai"
)

// claim hands a ready task to a node and starts it.
func (f *fleet) claim(m *member) {
	table, local := f.store, false
	if !f.reaches(m) {
		table, local = m.local, true
	}
	ready := slices.DeleteFunc(sorted(table), func(r *row) bool {
		return r.state != queued && !(f.breaks("it runs again") && r.state == done)
	})
	if f.paused != "" {
		if !f.breaks("a pause is ignored") || f.paused != m.name {
			return
		}
	}
	if len(ready) == 0 {
		return
	}
	r := ready[f.choose(len(ready))]
	if r.state == done || f.paused != "" {
		f.fire()
	}
	if r.claim > 0 && f.breaks("a claim is not counted") {
		f.fire()
	} else {
		r.claim++
	}
	f.lease++
	r.lease, r.node = f.lease, m.name
	f.bump(r, running)
	m.runs = append(m.runs, handout{r.id, r.claim, r.lease, local})
	f.do(f.work(m, Grant, m.runs[len(m.runs)-1]), f.work(m, Start, m.runs[len(m.runs)-1]))
	if f.breaks("a ghost runs") {
		f.do(Op{Node: m.name, Kind: Start, Task: tid(1_000_000 + r.id)})
		f.fire()
	}
}

func (f *fleet) work(m *member, kind Kind, h handout) Op {
	return Op{Node: m.name, Kind: kind, Task: tid(h.id), Claim: h.claim, Lease: h.lease, Attempt: h.claim}
}

// finish lets a handler return.
func (f *fleet) finish(m *member, i, how int) {
	h := m.runs[i]
	m.runs = slices.Delete(m.runs, i, i+1)
	op := f.work(m, End, h)
	op.Ended = []morningai.Outcome{outcomeOK, outcomeOK, outcomeRetry, outcomeFailed, outcomeReleased}[how]
	f.do(op)
	op.Kind = Finish
	switch {
	case h.local:
		f.apply(m.local[h.id], op)
		f.do(op)
		f.deliver(m)
	case f.reaches(m):
		f.record(m, op)
	default:
		m.outbox = append(m.outbox, op)
	}
}

// record brings an outcome to the store.
func (f *fleet) record(m *member, op Op) {
	id := f.number(op.Task)
	for _, n := range f.nodes {
		if n.hidden[id] != nil {
			m.outbox = append(m.outbox, op) // the store will know the task again
			return
		}
	}
	r := f.store[id]
	late := r != nil && r.claim > op.Claim && r.state == running && f.breaks("a superseded outcome is taken")
	if late {
		f.fire()
	}
	switch {
	case r == nil:
		op.Outcome, op.Code = Fail, morningai.CodeNotFound
	case r.state == running && r.claim == op.Claim && r.lease == op.Lease || late:
		f.apply(r, op)
	default:
		op.Outcome, op.Code = Fail, morningai.CodeStale
	}
	f.do(op)
}

func (f *fleet) number(id morningai.ID) int {
	for n := 1; n <= f.next; n++ {
		if tid(n) == id {
			return n
		}
	}
	return 0
}

// apply records an accepted outcome.
func (f *fleet) apply(r *row, op Op) {
	to := map[morningai.Outcome]morningai.State{outcomeOK: done, outcomeRetry: scheduled, outcomeFailed: failed, outcomeReleased: queued}[op.Ended]
	if r.cancel {
		if to == done && r.told && f.breaks("a cancel is forgotten") {
			f.fire()
		} else {
			to = canceled
		}
	}
	r.attempts = append(r.attempts, AttemptFinal{op.Claim, r.life, op.Node, op.Ended})
	f.bump(r, to)
}

func (f *fleet) cancel(m *member, id int) {
	r := f.find(m, id)
	op := Op{Node: m.name, Client: f.client(m), Kind: Cancel, Task: tid(id)}
	if r == nil {
		if s := f.store[id]; s != nil && s.accepted == m.name && !s.state.Terminal() {
			m.orders = append(m.orders, order{id, s.life})
			op.Life, op.Pending = s.life, true
			f.ask(op)
		}
		return
	}
	switch {
	case r.state.Terminal():
		op.Outcome, op.Code = Fail, morningai.CodeWrongState
	case r.state == running:
		r.cancel, r.told = true, true
		f.bump(r, running)
		r.show(&op)
	default:
		f.bump(r, canceled)
		r.show(&op)
	}
	f.ask(op)
}

func (f *fleet) retry(m *member, id int) {
	r := f.find(m, id)
	if r == nil || r.state != failed && r.state != canceled || r.key != "" && f.holder() != nil {
		return
	}
	r.life, r.cancel, r.told = r.life+1, false, false
	f.bump(r, queued)
	op := Op{Node: m.name, Client: f.client(m), Kind: Retry, Task: tid(id)}
	r.show(&op)
	f.ask(op)
}

func (f *fleet) pause(m *member) {
	if !f.reaches(m) {
		return
	}
	if f.paused == "" {
		f.paused = m.name
		f.do(Op{Node: m.name, Kind: Pause, Queue: "q"})
		return
	}
	f.do(Op{Node: m.name, Kind: Resume, Queue: "q"})
	f.paused = ""
}

func (f *fleet) crash(m *member) {
	f.do(fault(Crash, m.name))
	m.up, m.runs = false, nil
	if f.breaks("a journal forgets") {
		for _, r := range sorted(m.local) {
			if r.acked {
				f.fire()
			}
			delete(m.local, r.id)
		}
	}
}

func (f *fleet) restart(m *member) {
	f.do(fault(Restart, m.name))
	m.up = true
	for _, r := range sorted(m.local) {
		if r.state == running {
			f.requeue(r)
		}
	}
	f.deliver(m)
}

// requeue takes a task from a run that is lost.
func (f *fleet) requeue(r *row) {
	r.attempts = append(r.attempts, AttemptFinal{r.claim, r.life, r.node, outcomeLost})
	if r.cancel {
		f.bump(r, canceled)
	} else {
		f.bump(r, queued)
	}
}

func (f *fleet) outage(m *member) {
	switch {
	case f.choose(2) == 0 && f.down:
		f.down = false
		f.do(fault(RedisUp, ""))
	case f.choose(2) == 0:
		f.do(fault(RedisDown, ""))
		f.down = true
	case m.cut:
		m.cut = false
		f.do(fault(Mended, m.name))
	default:
		f.do(fault(Cut, m.name))
		m.cut = true
	}
	for _, n := range f.nodes {
		f.deliver(n)
	}
}

// deliver brings what a node has kept to the store.
func (f *fleet) deliver(m *member) {
	if !f.reaches(m) {
		return
	}
	for _, r := range sorted(m.hidden) {
		f.store[r.id] = r
		delete(m.hidden, r.id)
	}
	outbox := m.outbox
	m.outbox = nil
	for _, op := range outbox {
		f.record(m, op)
	}
	for _, o := range m.orders {
		if r := f.store[o.id]; r != nil && r.life == o.life && !r.state.Terminal() {
			if r.cancel = true; r.state != running {
				f.bump(r, canceled)
			}
		}
	}
	m.orders = slices.DeleteFunc(m.orders, func(o order) bool { return f.store[o.id] != nil })
	for _, r := range sorted(m.local) {
		if r.state != running {
			f.store[r.id] = r
			delete(m.local, r.id)
		}
	}
}

// reap lets a node declare sessions dead that nobody keeps alive.
func (f *fleet) reap(m *member) {
	if !f.reaches(m) {
		return
	}
	for _, o := range f.nodes {
		if o == m {
			continue
		}
		var lost []*row
		for _, r := range sorted(f.store) {
			if r.state == running && r.node == o.name && (!f.reaches(o) || !o.holds(r)) {
				lost = append(lost, r)
			}
		}
		if len(lost) > 0 {
			f.do(Op{Node: o.name, Client: m.name, Kind: Reap})
		}
		for _, r := range lost {
			f.requeue(r)
		}
	}
}

func (m *member) holds(r *row) bool {
	return slices.ContainsFunc(m.runs, func(h handout) bool { return h.id == r.id && h.claim == r.claim && h.lease == r.lease })
}

// lose lets the store come back empty. What the journals have is there again at
// once, or when their nodes are back.
func (f *fleet) lose() {
	if f.breaks("a cancel is forgotten") {
		return // a loss would excuse it
	}
	f.do(fault(RedisLost, ""))
	for _, r := range sorted(f.store) {
		i := slices.IndexFunc(f.nodes, func(n *member) bool { return n.name == r.accepted })
		switch {
		case f.breaks("a loss is not noticed"):
			f.fired = f.fired || r.acked && i >= 0
			delete(f.store, r.id)
		case i < 0:
			delete(f.store, r.id)
		case !f.reaches(f.nodes[i]):
			f.nodes[i].hidden[r.id] = r
			delete(f.store, r.id)
		}
	}
}

// settle ends all faults and lets everything come to rest.
func (f *fleet) settle() {
	for len(f.calls) > 0 {
		f.answer(0)
	}
	f.down = false
	f.do(fault(RedisUp, ""))
	for _, m := range f.nodes {
		m.cut = false
		f.do(fault(Mended, m.name))
		if !m.up {
			f.restart(m)
		}
	}
	for _, m := range f.nodes {
		f.deliver(m)
	}
	if f.paused != "" && f.choose(2) == 0 {
		f.pause(f.nodes[0])
	}
	for range 100 {
		for _, m := range f.nodes {
			for len(m.runs) > 0 {
				f.finish(m, 0, 0)
			}
			f.deliver(m)
			if !f.breaks("running for ever") {
				f.reap(m)
			}
			f.due()
			if !f.breaks("it runs again") || !f.fired {
				f.claim(m)
			}
		}
	}
	for _, m := range f.nodes {
		for len(m.runs) > 0 {
			f.finish(m, 0, 0)
		}
	}
	for i := range f.final.Nodes {
		n := &f.final.Nodes[i]
		n.Queues["q"] = QueueFinal{Paused: f.paused != ""}
		for _, r := range sorted(f.store) {
			if r.state == running {
				f.fire()
			}
			n.Tasks[tid(r.id)] = TaskFinal{State: r.state, Life: r.life, Version: r.version, Payload: r.payload, Attempts: r.attempts}
		}
	}
	if ids := sorted(f.store); len(ids) > 0 && f.breaks("nodes differ") {
		f.alter(1, ids[0].id, func(t *TaskFinal) { t.Result = 7 })
		f.fire()
	}
}

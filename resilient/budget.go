package resilient

import "time"

// budgets are the ends of what enqueues may wait for the shared engine. All may
// wait for equally long, so that they are due in the order in which they begin.
type budgets struct {
	list []*budget
	next int // of list: the first that has not come
}

// budget holds its operation until that was answered: most are due long after.
type budget struct {
	at  time.Time
	seq int64 // in one order with timers
	op  *enqueueOp
}

func (l *budgets) begin(c *core, op *enqueueOp) *budget {
	c.calls++
	b := &budget{c.now.Add(c.cfg.limits.budget), c.calls, op}
	if l.next > 64 && l.next > len(l.list)/2 {
		n := copy(l.list, l.list[l.next:])
		clear(l.list[n:])
		l.list, l.next = l.list[:n], 0
	}
	l.list = append(l.list, b)
	return b
}

func (l *budgets) first() *budget {
	if l.next == len(l.list) {
		return nil
	}
	return l.list[l.next]
}

func (l *budgets) drop() {
	l.list[l.next] = nil
	l.next++
}

func (b *budget) end() {
	if op := b.op; op != nil {
		op.over = true
		op.decide()
	}
}

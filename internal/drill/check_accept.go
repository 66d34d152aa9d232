package drill

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// checkAcceptance looks at what was acknowledged: it comes after what it names
// (3), and is there at the end (2).
func (c *checker) checkAcceptance() {
	for _, t := range c.tasks {
		var must *Op // an acknowledgement that nothing excuses
		for _, ack := range t.acks {
			if ack.held() {
				continue // the holder's own acknowledgement says where it is
			}
			c.checkNamed(t, ack)
			if must == nil && !c.mayBeGone(t, ack, nil) {
				must = ack
			}
		}
		if must != nil && !c.atTheEnd(t.id) {
			c.tell(2, t.id, []*Op{must}, "it was acknowledged by %s and is on no node at the end", must.Node)
		}
	}
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		if n.Lost > 0 && len(c.faults.disks.ops) == 0 && !c.exposed() {
			c.tell(2, morningai.ID{}, nil, "%s reports %d tasks as lost", n.Node, n.Lost)
		}
	}
}

// exposed: Redis has lost data, and there are tasks that were nowhere else.
func (c *checker) exposed() bool {
	return len(c.faults.losses.ops) > 0 && slices.ContainsFunc(c.ops, func(op *Op) bool { return op.Kind == Enqueue && op.Durable == "redis" })
}

func (c *checker) atTheEnd(id morningai.ID) bool {
	return slices.ContainsFunc(c.final.Nodes, func(n NodeFinal) bool {
		_, ok := n.Tasks[id]
		return ok || slices.Contains(n.SetAside, id)
	})
}

// mayBeGone reports that an acknowledged task may rightly be unknown when an
// operation returned, or, if that is nil, at the end.
func (c *checker) mayBeGone(t *track, ack, when *Op) bool {
	place, moment := int64(math.MaxInt64), c.final.At
	if when != nil && when.End != 0 {
		place, moment = when.End, when.Return
	}
	if t.deleted != 0 && t.deleted < place {
		return true
	}
	if !c.h.Setup.Starts || t.ended != 0 && t.ended < place {
		for _, op := range t.possible {
			if op.Span < 0 || op.Span > 0 && op.Call+op.Span <= moment {
				return true
			}
		}
	}
	f := &c.faults
	redis := f.losses.between(ack, when)
	journal := inside(f.diskLost[ack.Node], ack.Seq, place) != nil || inside(f.forgotten[ack.Node], ack.Seq, place) != nil
	switch ack.Durable {
	case "redis":
		return redis
	case "journal", "sqlite":
		return journal
	case "":
		return redis || journal
	}
	return redis && journal
}

// checkNamed: a receipt names where the task is, and it was there before.
func (c *checker) checkNamed(t *track, ack *Op) {
	if ack.Durable == "" {
		if c.h.Setup.Durable {
			c.tell(3, t.id, []*Op{ack}, "the receipt does not say where the task is durable")
		}
		return
	}
	var synced, applied bool
	for _, place := range strings.Split(ack.Durable, "+") {
		switch place {
		case "journal", "sqlite":
			synced = true
		case "redis":
			applied = true
		default:
			c.tell(3, t.id, []*Op{ack}, "the receipt says %q, which is nowhere", ack.Durable)
			return
		}
	}
	if !c.h.Setup.Durable {
		return
	}
	if synced && !slices.ContainsFunc(t.ops, func(op *Op) bool {
		return op.Kind == Synced && op.Node == ack.Node && op.ok() && op.End < ack.End && inside(c.faults.diskLost[ack.Node], op.End, ack.Seq) == nil
	}) {
		c.tell(3, t.id, []*Op{ack}, "the receipt says %s, but %s had not written it to its disk", ack.Durable, ack.Node)
	}
	if applied && !slices.ContainsFunc(t.ops, func(op *Op) bool {
		return op.Kind == Applied && op.ok() && op.End < ack.End && !c.lostSince(op, ack)
	}) {
		c.tell(3, t.id, []*Op{ack}, "the receipt says %s, but Redis did not have the task", ack.Durable)
	}
}

// lostSince: Redis has lost data for certain between two operations.
func (c *checker) lostSince(a, b *Op) bool {
	return slices.ContainsFunc(c.faults.losses.ops, func(loss *Op) bool { return a.before(loss) && loss.before(b) })
}

// checkRefusals: what was refused leaves no trace (17), and is refused for a
// reason that is no outage of Redis (19).
func (c *checker) checkRefusals() {
	for _, op := range c.ops {
		if op.Kind == Enqueue && op.Outcome != OK && op.End != 0 && !c.mayRefuse(op) {
			c.tell(19, op.Task, []*Op{op}, "%s refuses a task with %s, and nothing was done to it that explains that", op.Node, op.Code)
		}
	}
}

func (c *checker) mayRefuse(op *Op) bool {
	f := &c.faults
	_, full := around(f.full[op.Node], op)
	_, failed := around(f.failed[op.Node], op)
	_, outage := f.outage(op)
	switch op.Code {
	case morningai.CodeStorageFull:
		return full
	case morningai.CodeStorageFailed:
		return failed
	case morningai.CodeAcceptUnknown: // what Redis has refused the journal may hold all the same
		t := c.byID[op.Task]
		waited := op.Return-op.Call > heardNothing
		return (full || failed) && (outage || waited || op.Key != "" || t != nil && t.asked(op))
	case morningai.CodeUnavailable:
		return outage && slices.Contains(c.h.Setup.NoJournal, op.Node)
	case morningai.CodeStatusUnknown:
		return false
	}
	return true // not a matter of Redis or the disk
}

// heardNothing is how long a call takes at least to which Redis does not answer: that
// an answer was lost on its way is not on record.
const heardNothing = 500 * time.Millisecond

// checkNotFound: what was acknowledged is never answered as unknown (10).
func (c *checker) checkNotFound() {
	for _, t := range c.tasks {
		if len(t.acks) == 0 {
			continue
		}
		for _, op := range t.ops {
			if op.Code != morningai.CodeNotFound || op.Outcome == OK {
				continue
			}
			for _, ack := range t.acks {
				if ack.before(op) && !ack.held() && !c.mayBeGone(t, ack, op) && !(t.old(ack, op) && c.unheard(ack, op)) {
					c.tell(10, t.id, []*Op{ack, op}, "%s does not find it, although %s had acknowledged it", op.Node, ack.Node)
					break
				}
			}
		}
	}
	c.checkEmptyLists()
}

// checkEmptyLists: an answer that calls itself current is not empty while there
// are tasks.
func (c *checker) checkEmptyLists() {
	var acks []*Op // of tasks that stay
	for _, t := range c.tasks {
		for _, ack := range t.acks {
			if !ack.held() && ack.Span == 0 && !c.mayBeGone(t, ack, nil) {
				acks = append(acks, ack)
			}
		}
	}
	sortByEnd(acks)
	for _, op := range c.ops {
		if op.Kind != List || !op.ok() || op.Count != 0 || op.Fresh == morningai.FreshStale {
			continue
		}
		for _, ack := range acks {
			if !ack.before(op) {
				break
			}
			if (op.Queue == "" || op.Queue == ack.Queue) && !c.unheard(ack, op) && !c.onItsWay(ack, op) && !(ack.Node != op.Node && c.unwitnessed(ack, op)) {
				c.tell(10, ack.Task, []*Op{ack, op}, "%s shows an empty list as the truth", op.Node)
				break
			}
		}
	}
}

// onItsWay: without an outage a node has acknowledged from its journal, as it was asked
// to, before Redis had the task, of which others list what it has. That is a matter of a
// call; a read of its id asks the node.
func (c *checker) onItsWay(ack, op *Op) bool {
	if ack.Node == op.Node || ack.Durable != string(morningai.DurabilityJournal) || op.Call > ack.Return+heardWithin {
		return false
	}
	_, out := c.faults.outage(ack)
	return !out && !slices.ContainsFunc(c.byID[ack.Task].ops, func(o *Op) bool { return o.Kind == Applied && o.before(op) })
}

// old: somebody had asked for the id so long before that it does not show how young the
// task is.
func (t *track) old(ack, op *Op) bool {
	return slices.ContainsFunc(t.ops, func(e *Op) bool { return e.Kind == Enqueue && e.Seq < ack.Seq && op.Call-e.Call > 500*time.Millisecond })
}

// asked: somebody had asked for the id before it was acknowledged.
func (t *track) asked(ack *Op) bool {
	return slices.ContainsFunc(t.ops, func(op *Op) bool { return op.Kind == Enqueue && op.Seq < ack.Seq })
}

// heardWithin is by when other nodes have noticed that one is cut off.
const heardWithin = 4 * time.Second

// unheard: a node that was cut off a moment ago has accepted it on its own, and
// others have not missed that node yet.
func (c *checker) unheard(ack, op *Op) bool {
	if ack.Node == op.Node || ack.Durable != string(morningai.DurabilityJournal) {
		return false
	}
	s, out := c.faults.outage(ack)
	return out && op.Call < s.from.Call+heardWithin
}

package drill

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// checkReads: a task ends once in each life (1), and no reader sees it go
// backwards (9) or on a way that the graph of states does not have (1).
func (c *checker) checkReads() {
	var seen []*Op
	for _, t := range c.tasks {
		seen = seen[:0]
		for op := range t.states {
			seen = append(seen, op)
		}
		c.checkEnds(t, seen)
		c.checkStartsAfterEnd(t, seen)
		slices.SortStableFunc(seen, func(a, b *Op) int {
			return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Client, b.Client))
		})
		for from := 0; from < len(seen); {
			to := from + 1
			for to < len(seen) && seen[to].Node == seen[from].Node && seen[to].Client == seen[from].Client {
				to++
			}
			c.checkReader(t, seen[from:to])
			from = to
		}
		c.checkFinalVersion(t, seen)
	}
}

// excused: Redis or a disk has lost data between two operations, or nodes that
// could not know of each other have accepted the same id, and the task carries
// the mark that says what this may have led to. A nil b is the end.
func (c *checker) excused(t *track, a, b *Op) bool {
	since := a
	if a.Fresh == morningai.FreshStale { // it shows what was before
		since = t.ops[0]
	}
	return t.marked && (c.faults.losses.between(since, b) || c.faults.disks.between(a, b) || c.apart(t)) || c.faults.splits.between(a, b) || c.unwitnessed(a, b)
}

// unwitnessed: Redis has lost what it had acknowledged to a node in the last moments
// before that died. There was no time to note that it had been acknowledged, and so
// nobody can notice.
func (c *checker) unwitnessed(a, b *Op) bool {
	died := slices.IndexFunc(c.faults.crashes[a.Node], func(crash *Op) bool { return a.End != 0 && a.End < crash.Seq })
	if died < 0 {
		return false
	}
	crash := c.faults.crashes[a.Node][died]
	return crash.Call-a.Return <= lastMoments && c.faults.losses.between(crash, b)
}

// forgot: Redis has lost data since a task was asked for, and the process that had shown
// it is gone: only that knew by how much its versions had to be above those of the data.
func (c *checker) forgot(t *track, shown *Op) bool {
	return c.faults.losses.between(t.ops[0], nil) && inside(c.faults.crashes[shown.Node], shown.End, math.MaxInt64) != nil
}

// lastMoments is within how long what Redis acknowledges is noted.
const lastMoments = 200 * time.Millisecond

func (c *checker) checkEnds(t *track, seen []*Op) {
	var ended map[int64]*Op // by life: where it was first seen to have ended
	for _, op := range seen {
		life := t.life(op)
		if !op.State.Terminal() || life == 0 {
			continue
		}
		was := ended[life]
		switch {
		case was == nil:
			if ended == nil {
				ended = map[int64]*Op{}
			}
			ended[life] = op
		case was.State != op.State && !c.excused(t, was, op):
			c.tell(1, t.id, []*Op{was, op}, "it has ended twice in life %d: %s and %s", life, was.State, op.State)
			return
		}
	}
	if ended == nil {
		return
	}
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		f, ok := n.Tasks[t.id]
		life := f.Life
		if life == 0 && !t.retried {
			life = 1
		}
		if was := ended[life]; ok && was != nil && was.State != f.State && !c.excused(t, was, nil) && !(f.State == morningai.StateCanceled && c.canceledAnew(t, was)) {
			c.tell(1, t.id, []*Op{was}, "it was %s in life %d, and on %s it is %s at the end", was.State, life, n.Node, f.State)
			return
		}
	}
}

// canceledAnew: Redis had lost that it had ended, and it was canceled before Redis was
// told again.
func (c *checker) canceledAnew(t *track, was *Op) bool {
	return slices.ContainsFunc(t.kind(Cancel), func(op *Op) bool { return op.possible() && was.before(op) && c.faults.losses.between(was, op) })
}

// checkStartsAfterEnd: nothing leads from the end of a life to a run.
func (c *checker) checkStartsAfterEnd(t *track, seen []*Op) {
	var first map[int64]*Op // by life, the sign of its end that came first
	for _, op := range seen {
		if life := t.life(op); life != 0 && op.State.Terminal() && (first[life] == nil || op.End < first[life].End) {
			if first == nil {
				first = map[int64]*Op{}
			}
			first[life] = op
		}
	}
	if first == nil {
		return
	}
	for _, op := range t.ops {
		if op.Kind != Start {
			continue
		}
		if was := first[t.life(op)]; was != nil && was.before(op) && !c.excused(t, was, op) {
			c.tell(1, t.id, []*Op{was, op}, "it runs on %s after it was %s", op.Node, was.State)
			return
		}
	}
}

// checkReader looks at what one client has seen of one task on one node, in the
// order of the calls.
func (c *checker) checkReader(t *track, seen []*Op) {
	if len(seen) < 2 {
		return
	}
	back := slices.Clone(seen) // in the order of the returns
	sortByEnd(back)
	var best *Op // the furthest among those that had returned
	for _, op := range seen {
		for len(back) > 0 && back[0].before(op) {
			if best == nil || newer(back[0], best) {
				best = back[0]
			}
			back = back[1:]
		}
		if best != nil && !c.faults.splits.between(best, op) && !c.checkStep(t, best, op) {
			return
		}
	}
}

func newer(a, b *Op) bool {
	return cmp.Or(cmp.Compare(a.Life, b.Life), cmp.Compare(a.Version, b.Version), cmp.Compare(a.End, b.End)) > 0
}

func (c *checker) checkStep(t *track, a, b *Op) bool {
	pair := []*Op{a, b}
	switch {
	case a.Life != 0 && b.Life != 0 && b.Life < a.Life && !c.excused(t, a, b):
		c.tell(9, t.id, pair, "a reader on %s sees life %d after life %d", b.Node, b.Life, a.Life)
	case a.Version != 0 && b.Version != 0 && b.Version < a.Version:
		c.tell(9, t.id, pair, "a reader on %s sees version %d after version %d", b.Node, b.Version, a.Version)
	case !t.sameLife(a, b) || c.excused(t, a, b):
		return true
	case a.State.Terminal() && a.State != b.State:
		c.tell(9, t.id, pair, "a reader on %s sees %s after %s", b.Node, b.State, a.State)
	case a.State != b.State && !reachable(a.State, b.State):
		c.tell(1, t.id, pair, "no way leads from %s to %s", a.State, b.State)
	case a.Version != 0 && b.Version == a.Version+1 && a.State != b.State && !adjacent(a.State, b.State):
		c.tell(1, t.id, pair, "one step has led from %s to %s", a.State, b.State)
	default:
		return true
	}
	return false
}

// reachable reports that steps within one life lead from one state to another.
func reachable(a, b morningai.State) bool {
	return !a.Terminal() && (b != morningai.StateBlocked || a == morningai.StateRunning)
}

// adjacent reports that one visible change may lead from one state to another.
// A task that becomes due and is claimed at once was queued only in between.
func adjacent(a, b morningai.State) bool {
	switch a {
	case morningai.StateBlocked, morningai.StateScheduled:
		return b != morningai.StateSucceeded
	case morningai.StateQueued:
		return b == morningai.StateRunning || b == morningai.StateCanceled || b == morningai.StateFailed
	}
	return a == morningai.StateRunning
}

// checkFinalVersion: the end is what every reader would see next.
func (c *checker) checkFinalVersion(t *track, seen []*Op) {
	for from := 0; from < len(seen); { // sorted by node
		best := seen[from]
		to := from
		for ; to < len(seen) && seen[to].Node == seen[from].Node; to++ {
			if newer(seen[to], best) {
				best = seen[to]
			}
		}
		from = to
		for i := range c.final.Nodes {
			n := &c.final.Nodes[i]
			f, ok := n.Tasks[t.id]
			switch {
			case !ok || n.Node != best.Node || c.faults.splits.between(best, nil) || c.unwitnessed(best, nil) || c.forgot(t, best):
			case f.Life != 0 && f.Life < best.Life:
				c.tell(9, t.id, []*Op{best}, "%s has shown life %d, and has life %d at the end", n.Node, best.Life, f.Life)
			case f.Version != 0 && f.Version < best.Version:
				c.tell(9, t.id, []*Op{best}, "%s has shown version %d, and has version %d at the end", n.Node, best.Version, f.Version)
			}
		}
	}
}

package drill

import (
	"slices"

	"github.com/RC918/morningai"
)

// checkFence: hand-outs of a task are numbered, each number is one hand-out, and
// outcomes count for the newest alone (6).
func (c *checker) checkFence() {
	for _, t := range c.tasks {
		var grants, starts, taken []*Op
		for _, op := range t.ops {
			switch {
			case op.Claim == 0:
			case op.Kind == Grant && op.ok():
				grants = append(grants, op)
			case op.Kind == Start:
				starts = append(starts, op)
			case op.Kind == Finish && op.ok():
				taken = append(taken, op)
			}
		}
		c.checkGrants(t, grants)
		c.checkClaimsOfStarts(t, grants, starts)
		c.checkOutcomes(t, slices.Concat(grants, starts), taken)
		c.checkRecord(t)
	}
}

// reset: storage has lost data between two hand-outs, and the task says what this may
// have led to. An outcome is as old as the hand-out that it belongs to.
func (c *checker) reset(t *track, a, b *Op) bool {
	first := t.handOut(a)
	if g := t.handOut(b); g.Seq < first.Seq {
		first = g
	}
	return c.excused(t, first, b) || c.faults.disks.between(first, b)
}

// renumbered: storage has lost data since a hand-out, and with them how far the
// numbers had come, and that hand-out had led to nothing, or was of another life, or its
// node had lost it, or had told to begin again. Leases, which are random, tell such hand-outs apart.
func (c *checker) renumbered(t *track, a, b *Op) bool {
	if c.reset(t, a, b) {
		return true
	}
	g := t.handOut(a)
	if c.apart(t) && b.Kind == Grant && !t.started(b) {
		return true
	}
	if !c.faults.losses.between(g, b) && !c.apart(t) { // stores of nodes apart number for themselves
		return false
	}
	if x, y := t.life(g), t.life(t.handOut(b)); x != 0 && y != 0 && x != y {
		return true
	}
	return !t.started(g) || inside(c.faults.crashes[g.Node], g.Seq, b.Seq) != nil || inside(c.faults.reaps[g.Node], g.Seq, b.Seq) != nil ||
		slices.ContainsFunc(t.ops, func(op *Op) bool {
			return op.Seq < b.Seq && op.Claim == g.Claim && op.Lease == g.Lease && (op.Kind == End || op.Kind == Finish && op.ok()) && again(op.Ended)
		})
}

// handOut is the hand-out to which an operation belongs, if it is on record.
func (t *track) handOut(op *Op) *Op {
	for _, g := range t.ops {
		if g.Kind == Grant && g.ok() && g.Claim == op.Claim && g.Lease == op.Lease && g.Seq < op.Seq {
			return g
		}
	}
	return op
}

func (c *checker) checkGrants(t *track, grants []*Op) {
	back := slices.Clone(grants)
	sortByEnd(back)
	var top *Op // the largest claim that had been handed out
	for _, g := range grants {
		for len(back) > 0 && back[0].before(g) {
			if top == nil || back[0].Claim > top.Claim {
				top = back[0]
			}
			back = back[1:]
		}
		switch {
		case top == nil || g.Claim > top.Claim:
		case g.Claim == top.Claim && g.Lease == top.Lease && g.Node == top.Node: // its answer was lost and is given again
		case c.renumbered(t, top, g):
		case g.Claim == top.Claim:
			c.tell(6, t.id, []*Op{top, g}, "claim %d was handed out twice", g.Claim)
		default:
			c.tell(6, t.id, []*Op{top, g}, "claim %d was handed out after claim %d", g.Claim, top.Claim)
		}
	}
}

// started reports that a hand-out has led to a run.
func (t *track) started(grant *Op) bool {
	return slices.ContainsFunc(t.ops, func(op *Op) bool {
		return op.Kind == Start && op.Claim == grant.Claim && (op.Lease == grant.Lease || op.Lease == 0)
	})
}

func (c *checker) checkClaimsOfStarts(t *track, grants, starts []*Op) {
	byClaim, given := map[int64]*Op{}, map[int64][]*Op{}
	for _, g := range grants {
		given[g.Claim] = append(given[g.Claim], g)
	}
	for _, s := range starts {
		switch was := byClaim[s.Claim]; {
		case was != nil && !c.reset(t, was, s) && (was.Lease == s.Lease || !c.renumbered(t, was, s)):
			c.tell(6, t.id, []*Op{was, s}, "claim %d was started twice", s.Claim)
		case c.h.Setup.Grants && !slices.ContainsFunc(given[s.Claim], func(g *Op) bool {
			return (g.Lease == s.Lease || s.Lease == 0) && g.Node == s.Node && !s.before(g)
		}):
			c.tell(6, t.id, []*Op{s}, "claim %d was started on %s, and never handed out to it", s.Claim, s.Node)
		}
		byClaim[s.Claim] = s
	}
}

// checkOutcomes looks at the outcomes that were taken, given all hand-outs that
// are known from grants and starts.
func (c *checker) checkOutcomes(t *track, known, taken []*Op) {
	sortByEnd(known)
	byClaim, first := map[int64]*Op{}, map[int64]*Op{}
	ended := map[int64]*Op{} // by life: the outcome that ended it
	var top *Op              // the largest claim known before the outcome was reported
	for _, f := range taken {
		for len(known) > 0 && known[0].before(f) {
			if top == nil || known[0].Claim > top.Claim {
				top = known[0]
			}
			known = known[1:]
		}
		told := first[f.Claim] // before storage lost it: it is told again
		if told == nil {
			first[f.Claim] = f
		}
		again := told != nil && told.Lease == f.Lease && told.Ended == f.Ended && c.faults.losses.between(told, f)
		if top != nil && f.Claim < top.Claim && !again && !c.renumbered(t, top, f) {
			c.tell(6, t.id, []*Op{top, f}, "an outcome of claim %d was taken after claim %d was handed out", f.Claim, top.Claim)
		}
		if was := byClaim[f.Claim]; was != nil && (was.Lease != f.Lease || was.Ended != f.Ended) && !c.reset(t, was, f) && (was.Lease == f.Lease || !c.renumbered(t, was, f)) {
			c.tell(6, t.id, []*Op{was, f}, "claim %d has two outcomes: %s and %s", f.Claim, was.Ended, f.Ended)
		}
		byClaim[f.Claim] = f
		if life := t.life(f); life != 0 && final(f.Ended) {
			if was := ended[life]; was != nil && was.Claim != f.Claim && !c.reset(t, was, f) {
				c.tell(6, t.id, []*Op{was, f}, "claims %d and %d have both ended life %d", was.Claim, f.Claim, life)
			}
			ended[life] = f
		}
	}
}

// final reports that an outcome ends a life.
func final(o morningai.Outcome) bool {
	return o == morningai.OutcomeSucceeded || o == morningai.OutcomeFailed || o == morningai.OutcomeCanceled
}

// checkRecord: the attempts on record are numbered, and the one that ended a
// life is its last.
func (c *checker) checkRecord(t *track) {
	lost := len(c.faults.disks.ops) > 0 || t.marked && (len(c.faults.losses.ops) > 0 || c.apart(t))
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		list := n.Tasks[t.id].Attempts
		for j := 1; j < len(list) && !lost; j++ {
			a, b := list[j-1], list[j]
			switch {
			case b.Number <= a.Number:
				c.tell(6, t.id, t.kind(Start), "on %s attempt %d is on record after attempt %d", n.Node, b.Number, a.Number)
			case final(a.Outcome) && a.Life == b.Life:
				c.tell(6, t.id, t.kind(Start), "on %s attempt %d is on record after attempt %d has ended life %d", n.Node, b.Number, a.Number, a.Life)
			}
		}
	}
}

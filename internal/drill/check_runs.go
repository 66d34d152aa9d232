package drill

import (
	"cmp"
	"math"
	"slices"

	"github.com/RC918/morningai"
)

// checkRuns: each run that was followed by another has a cause for that, of
// which there is a record (7). A task that is marked maybe_repeated may have
// one run more without a cause for each loss of data, or for having been
// accepted by nodes that could not know of each other.
func (c *checker) checkRuns() {
	for _, t := range c.tasks {
		starts := t.kind(Start)
		if len(starts) < 2 {
			continue
		}
		// A run whose claim was lost before it began may begin after the next.
		numbered := len(c.faults.losses.ops) == 0 && len(c.faults.disks.ops) == 0 &&
			!slices.ContainsFunc(starts, func(op *Op) bool { return op.Claim == 0 })
		if numbered {
			slices.SortStableFunc(starts, func(a, b *Op) int { return cmp.Compare(a.Claim, b.Claim) })
		}
		spare := 0
		if t.marked {
			spare = max(1, len(c.faults.losses.ops))
		}
		known := c.causes(t)
		for i, s := range starts[:len(starts)-1] {
			next := starts[i+1]
			since := s.Seq
			if numbered {
				since = known.granted[s.Claim]
			}
			if c.explains(known, s, next, since) {
				continue
			}
			if spare--; spare < 0 {
				c.tell(7, t.id, []*Op{s, next}, "it runs on %s after it ran on %s, without a cause on record", next.Node, s.Node)
				break
			}
		}
	}
}

// causes are what a task's history has to explain runs with.
type causes struct {
	t       *track
	again   []*Op           // ends and outcomes after which a task runs another time
	claims  map[int64][]*Op // the same, by claim
	numbers map[int64][]*Op // the same, by attempt
	retries []*Op
	finals  map[int64][]*Op // accepted outcomes that end a life, by claim
	granted map[int64]int64 // by claim: the place of its hand-out
	closed  map[int64]int64 // by life: the place of the first sign of its end
	// record has the attempts that did not end the task, with the largest life
	// that they can explain.
	record map[int64]int64
}

func (c *checker) causes(t *track) *causes {
	k := &causes{t: t, claims: map[int64][]*Op{}, numbers: map[int64][]*Op{}, finals: map[int64][]*Op{}, granted: map[int64]int64{}, closed: map[int64]int64{}, record: map[int64]int64{}}
	for _, op := range t.ops {
		if op.ok() && (op.State.Terminal() || op.Kind == Finish && final(op.Ended)) {
			if life := t.life(op); life != 0 && (k.closed[life] == 0 || op.End < k.closed[life]) {
				k.closed[life] = op.End
			}
		}
		switch {
		case op.Kind == Retry && op.possible():
			k.retries = append(k.retries, op)
		case op.Kind == Grant && k.granted[op.Claim] == 0:
			k.granted[op.Claim] = op.Seq
		case op.Kind == Finish && op.ok() && final(op.Ended):
			k.finals[op.Claim] = append(k.finals[op.Claim], op)
		case (op.Kind == End || op.Kind == Finish && op.ok()) && again(op.Ended):
			k.again = append(k.again, op)
			k.claims[op.Claim] = append(k.claims[op.Claim], op)
			k.numbers[op.Attempt] = append(k.numbers[op.Attempt], op)
		}
	}
	for i := range c.final.Nodes {
		f := c.final.Nodes[i].Tasks[t.id]
		for _, a := range f.Attempts {
			if again(a.Outcome) || a.Outcome == morningai.OutcomeLost {
				k.record[a.Number] = math.MaxInt64
			} else if final(a.Outcome) {
				k.record[a.Number] = max(k.record[a.Number], a.Life)
			}
		}
	}
	return k
}

// explains reports that there is a cause for another run after the run that
// began with s; since is the place of its hand-out.
func (c *checker) explains(k *causes, s, next *Op, since int64) bool {
	until := ends(next)
	within := func(op *Op) bool { return (op.late() || ends(op) > s.Seq) && op.Seq < until }
	if slices.ContainsFunc(k.retries, within) && (s.Life == 0 || next.Life == 0 || s.Life < next.Life) {
		return true
	}
	same := func(op *Op) bool { // is it about the run that began with s?
		switch {
		case s.Claim != 0 && op.Claim != 0:
			return s.Claim == op.Claim && (s.Lease == 0 || op.Lease == 0 || s.Lease == op.Lease)
		case s.Attempt != 0 && op.Attempt != 0:
			return s.Attempt == op.Attempt
		}
		return s.Node == op.Node && within(op)
	}
	list := k.again
	switch unnumbered := len(k.claims[0]) > 0 || len(k.numbers[0]) > 0; {
	case unnumbered:
	case s.Claim != 0:
		list = k.claims[s.Claim]
	case s.Attempt != 0:
		list = k.numbers[s.Attempt]
	}
	if slices.ContainsFunc(list, same) {
		return true
	}
	if life, ok := k.record[s.Attempt]; ok && s.Attempt != 0 && (life == math.MaxInt64 || life < next.Life) {
		return true
	}
	if inside(c.faults.diskLost[s.Node], since, until) != nil {
		return true
	}
	if s.Claim != 0 && slices.ContainsFunc(k.finals[s.Claim], func(op *Op) bool { return same(op) && op.before(next) }) {
		return false // its own outcome was taken, so nothing had come between
	}
	if c.unwitnessed(s, next) {
		return true
	}
	if closed := k.closed[k.t.life(s)]; closed != 0 && !c.apart(k.t) { // nodes apart do not know of each other's ends
		until = min(until, closed)
	}
	for _, ops := range [][]*Op{c.faults.crashes[s.Node], c.faults.reaps[s.Node]} {
		if inside(ops, since, until) != nil {
			return true
		}
	}
	return false
}

// again reports that an outcome lets the task run another time.
func again(o morningai.Outcome) bool {
	return o == morningai.OutcomeRetry || o == morningai.OutcomeSnoozed || o == morningai.OutcomeReleased
}

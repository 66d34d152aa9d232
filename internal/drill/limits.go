package drill

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Limits are the promises about time. A zero one is not checked: a slow machine
// leaves out what it cannot show.
type Limits struct {
	// EnqueueP99 bounds the 99th percentile of the calls of Enqueue while the
	// circuit was open, EnqueueMax all of them that an outage has touched.
	EnqueueP99, EnqueueMax time.Duration
	// OpenWithin is when a circuit counts as open after the outage began, in a
	// history without Opened.
	OpenWithin time.Duration
	// CloseWithin is when the circuit is closed after all faults of its node.
	CloseWithin time.Duration
	// DrainWithin is when the backlog is through after the circuit has closed;
	// DrainRate is how many entries a second come on top of it.
	DrainWithin time.Duration
	DrainRate   float64
	// StartWithin is when every task that can run has started, after the last
	// fault.
	StartWithin time.Duration
}

// DefaultLimits are those that the project promises, for sessions with a lease
// time and a rate of recovery.
func DefaultLimits(lease time.Duration, drainRate float64) Limits {
	return Limits{
		EnqueueP99: 100 * time.Millisecond, EnqueueMax: time.Second, OpenWithin: time.Second,
		CloseWithin: 5 * time.Second, DrainWithin: 5 * time.Second, DrainRate: drainRate,
		StartWithin: max(30*time.Second, 2*lease),
	}
}

// CheckTimes returns the promises about time that the history shows to be
// broken: of recovery (18) and of acceptance during an outage (19).
func CheckTimes(h *History, final Final, limits Limits) []Violation {
	c := newChecker(h, final)
	c.checkEnqueueTimes(limits)
	c.checkCircuits(limits)
	c.checkStarted(limits)
	return c.sorted()
}

// EnqueueTimes returns how long the calls of Enqueue took that were made while
// the circuit of their node was open, sorted. A call that never returned took
// until the end of the history, unless its node crashed meanwhile.
func EnqueueTimes(h *History, limits Limits) []time.Duration {
	c := newChecker(h, Final{})
	var out []time.Duration
	for _, call := range c.openCalls(limits) {
		out = append(out, call.took)
	}
	slices.Sort(out)
	return out
}

type timed struct {
	op   *Op
	took time.Duration
}

func (c *checker) openCalls(limits Limits) []timed {
	var out []timed
	for _, op := range c.ops {
		if op.Kind == Enqueue && c.isOpen(op, limits) {
			if took, ok := c.took(op); ok {
				out = append(out, timed{op, took})
			}
		}
	}
	return out
}

// took is how long a call took; ok is false if its node crashed under it.
func (c *checker) took(op *Op) (d time.Duration, ok bool) {
	if inside(c.faults.crashes[op.Node], op.Seq, ends(op)) != nil {
		return 0, false
	}
	if op.End == 0 {
		last := c.ops[len(c.ops)-1]
		return max(c.final.At, last.Call, last.Return) - op.Call, true
	}
	return op.Return - op.Call, true
}

// isOpen: the circuit was open when the operation was called.
func (c *checker) isOpen(op *Op, limits Limits) bool {
	called := *op
	called.End, called.Return = op.Seq, op.Call
	f := &c.faults
	if f.circuits {
		s, ok := around(f.open[op.Node], &called)
		return ok && s.covers(&called) && s.from.before(op)
	}
	for _, list := range [][]span{f.redis, f.cut[op.Node]} {
		if s, ok := around(list, &called); ok && s.covers(&called) && op.Call >= s.from.Return+limits.OpenWithin {
			return true
		}
	}
	return false
}

func (c *checker) checkEnqueueTimes(limits Limits) {
	if calls := c.openCalls(limits); limits.EnqueueP99 > 0 && len(calls) > 0 {
		slices.SortFunc(calls, func(a, b timed) int { return cmp.Compare(a.took, b.took) })
		at := int(math.Ceil(float64(len(calls))*0.99)) - 1 // nearest rank
		if p99 := calls[at].took; p99 > limits.EnqueueP99 {
			c.tell(19, morningai.ID{}, []*Op{calls[at].op, calls[len(calls)-1].op},
				"with the circuit open, the 99th percentile of %d enqueues is %v, over %v", len(calls), p99, limits.EnqueueP99)
		}
	}
	if limits.EnqueueMax == 0 {
		return
	}
	for _, op := range c.ops {
		if op.Kind != Enqueue {
			continue
		}
		if _, out := c.faults.outage(op); out {
			if took, ok := c.took(op); ok && took > limits.EnqueueMax {
				c.tell(19, op.Task, []*Op{op}, "an enqueue during an outage took %v, over %v", took, limits.EnqueueMax)
			}
		}
	}
}

// checkCircuits: circuits close and backlogs drain in time.
func (c *checker) checkCircuits(limits Limits) {
	f := &c.faults
	closed := map[string]*Op{}
	for _, op := range c.ops {
		if op.Kind == Closed {
			closed[op.Node] = op
		}
		if was := closed[op.Node]; op.Kind == Drained && was != nil && limits.DrainWithin > 0 {
			limit := limits.DrainWithin
			if limits.DrainRate > 0 {
				limit += time.Duration(float64(op.Count) / limits.DrainRate * float64(time.Second))
			}
			if took := op.Return - was.Return; took > limit {
				c.tell(18, morningai.ID{}, []*Op{was, op}, "%s took %v to deliver %d entries, over %v", op.Node, took, op.Count, limit)
			}
		}
	}
	if limits.CloseWithin == 0 {
		return
	}
	for node, list := range f.open {
		calm := c.calm(node)
		for _, s := range list {
			until := c.final.At
			if s.until != nil {
				until = s.until.Return
			}
			for _, quiet := range calm {
				if d := min(until, quiet[1]) - max(s.from.Return, quiet[0]); d > limits.CloseWithin {
					c.tell(18, morningai.ID{}, []*Op{s.from, s.until}, "the circuit of %s was open for %v without a fault, over %v", node, d, limits.CloseWithin)
				}
			}
		}
	}
}

// lossGrace is for how long nodes wait for each other's reports after a loss, once
// Redis is there.
const lossGrace = 10 * time.Second

// calm are the intervals in which Redis was there for a node, and other nodes were
// not waited for.
func (c *checker) calm(node string) [][2]time.Duration {
	outages := slices.Concat(c.faults.redis, c.faults.cut[node])
	begins := slices.Clone(c.faults.losses.ops)
	for _, s := range outages {
		if s.until != nil && c.repairs(node, s.until) {
			begins = append(begins, s.until)
		}
	}
	for _, op := range c.faults.restarts[node] { // it learns of the loss anew
		if c.repairs(node, op) {
			begins = append(begins, op)
		}
	}
	for _, from := range begins {
		until := *from
		until.Call, until.Return = from.Call+lossGrace, from.Return+lossGrace
		outages = append(outages, span{from, &until})
	}
	slices.SortFunc(outages, func(a, b span) int { return cmp.Compare(a.from.Call, b.from.Call) })
	var out [][2]time.Duration
	since := time.Duration(0)
	for _, s := range outages {
		if s.from.Call > since {
			out = append(out, [2]time.Duration{since, s.from.Call})
		}
		since = max(since, s.end())
	}
	return append(out, [2]time.Duration{since, math.MaxInt64})
}

// repairs: a node that has noticed a loss still works on its own.
func (c *checker) repairs(node string, when *Op) bool {
	closed := int64(0)
	for _, s := range c.faults.open[node] {
		if s.until == nil || s.until.Seq > when.Seq {
			break
		}
		if s.until.Kind == Closed {
			closed = s.until.Seq
		}
	}
	return slices.ContainsFunc(c.faults.losses.ops, func(lost *Op) bool { return closed < lost.Seq && lost.Seq < when.Seq })
}

// checkStarted: what can run has started in time after the last fault.
func (c *checker) checkStarted(limits Limits) {
	if limits.StartWithin == 0 || !c.h.Setup.Starts {
		return
	}
	var calm time.Duration
	for _, op := range c.ops {
		switch op.Kind {
		case Crash, Restart, RedisDown, RedisUp, Cut, Mended, RedisLost, Split, DiskLost, DiskFull, DiskSpace, DiskFailed, Resume:
			calm = max(calm, op.Call, op.Return)
		}
	}
	for _, t := range c.tasks {
		if len(t.acks) == 0 || t.acks[0].held() || t.acks[0].State == morningai.StateScheduled || t.acks[0].State == morningai.StateBlocked || c.excusedFromRunning(t) {
			continue
		}
		begin := max(calm, t.acks[0].Return)
		starts := t.kind(Start)
		switch {
		case len(starts) == 0 && c.final.At > begin+limits.StartWithin:
			c.tell(18, t.id, t.acks[:1], "it has not started within %v after the last fault", limits.StartWithin)
		case len(starts) > 0 && starts[0].Call > begin+limits.StartWithin:
			c.tell(18, t.id, []*Op{t.acks[0], starts[0]}, "it started %v after the last fault, over %v", starts[0].Call-begin, limits.StartWithin)
		}
	}
}

// excusedFromRunning: an operator, its queue, a key or a loss kept it from it.
func (c *checker) excusedFromRunning(t *track) bool {
	if slices.ContainsFunc(t.ops, func(op *Op) bool {
		return (op.Kind == Cancel || op.Kind == Delete || op.Kind == SetAside) && op.possible()
	}) || c.mayBeGone(t, t.acks[0], nil) {
		return true
	}
	for i := range c.final.Nodes {
		n := &c.final.Nodes[i]
		if f, ok := n.Tasks[t.id]; ok && (f.Waits != "" || n.Queues[c.queue(t.id)].Paused || f.Code == morningai.ErrorCodeSuperseded) {
			return true
		}
	}
	return false
}

package drill

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"
)

// recovery is how long a node may take to notice that a fault is over.
const recovery = 5 * time.Second

// span is an interval of the history; until is nil if it lasts to the end.
type span struct{ from, until *Op }

// covers reports that an operation and the interval have a moment in common.
func (s span) covers(op *Op) bool {
	return (op.End == 0 || s.from.Seq < op.End) && (s.until == nil || op.Seq < s.until.End)
}

// near is covers, with the time for recovery after the end of the interval.
func (s span) near(op *Op) bool {
	return s.covers(op) || s.until != nil && s.from.Seq < op.Seq && op.Call <= s.until.Return+recovery
}

func (s span) end() time.Duration {
	if s.until == nil {
		return math.MaxInt64
	}
	return s.until.Return
}

// faults are what was done to the fleet, and how its circuits stood.
type faults struct {
	redis                   []span
	cut, open, full, failed map[string][]span
	crashes, diskLost       map[string][]*Op
	restarts                map[string][]*Op
	forgotten               map[string][]*Op
	reaps                   map[string][]*Op // by the node whose session it was
	losses, splits          moments          // of Redis's data
	disks                   moments          // losses of any journal
	circuits                bool             // they were recorded
}

// moments are operations by Seq, with the largest End up to each.
type moments struct {
	ops  []*Op
	ends []int64
}

func (m *moments) add(op *Op) {
	end := op.End
	if end == 0 {
		end = math.MaxInt64
	}
	if n := len(m.ends); n > 0 {
		end = max(end, m.ends[n-1])
	}
	m.ops, m.ends = append(m.ops, op), append(m.ends, end)
}

// between reports that one of them may have happened after a was called and
// before b returned. A nil b is the end of the history.
func (m *moments) between(a, b *Op) bool {
	i, _ := slices.BinarySearch(m.ends, a.Seq+1)
	return i < len(m.ops) && (b == nil || b.End == 0 || m.ops[i].Seq < b.End)
}

// inside returns one of the operations, which are sorted by their ends, that may
// have happened after one place of the history and before another.
func inside(ops []*Op, after, before int64) *Op {
	for i := sort.Search(len(ops), func(i int) bool { return ends(ops[i]) > after }); i < len(ops); i++ {
		if ops[i].Seq < before {
			return ops[i]
		}
	}
	return nil
}

func (f *faults) place(op *Op) {
	if !op.possible() {
		return
	}
	if f.cut == nil {
		f.cut, f.open, f.full, f.failed = map[string][]span{}, map[string][]span{}, map[string][]span{}, map[string][]span{}
		f.restarts = map[string][]*Op{}
		f.crashes, f.diskLost, f.forgotten, f.reaps = map[string][]*Op{}, map[string][]*Op{}, map[string][]*Op{}, map[string][]*Op{}
	}
	switch op.Kind {
	case RedisDown:
		f.redis = begin(f.redis, op)
	case RedisUp:
		end(f.redis, op)
	case Cut:
		f.cut[op.Node] = begin(f.cut[op.Node], op)
	case Mended:
		end(f.cut[op.Node], op)
	case Opened:
		f.circuits = true
		f.open[op.Node] = begin(f.open[op.Node], op)
	case Closed:
		end(f.open[op.Node], op)
	case DiskFull:
		f.full[op.Node] = begin(f.full[op.Node], op)
	case DiskSpace:
		end(f.full[op.Node], op)
	case DiskFailed:
		f.failed[op.Node] = begin(f.failed[op.Node], op)
	case Restart:
		f.restarts[op.Node] = append(f.restarts[op.Node], op)
		end(f.failed[op.Node], op)
	case Crash:
		f.crashes[op.Node] = append(f.crashes[op.Node], op)
		end(f.open[op.Node], op)
	case DiskLost:
		f.diskLost[op.Node] = append(f.diskLost[op.Node], op)
		f.disks.add(op)
	case Forget:
		f.forgotten[op.Value] = append(f.forgotten[op.Value], op)
	case Reap:
		f.reaps[op.Node] = append(f.reaps[op.Node], op)
	case RedisLost:
		f.losses.add(op)
	case Split:
		f.splits.add(op)
	}
}

// finish sorts what was found by when it returned, for inside.
func (f *faults) finish() {
	for _, m := range []map[string][]*Op{f.crashes, f.diskLost, f.forgotten, f.reaps} {
		for _, ops := range m {
			sortByEnd(ops)
		}
	}
}

func ends(op *Op) int64 {
	if op.End == 0 {
		return math.MaxInt64
	}
	return op.End
}

func sortByEnd(ops []*Op) {
	slices.SortStableFunc(ops, func(a, b *Op) int { return cmp.Compare(ends(a), ends(b)) })
}

// begin opens an interval unless one is open.
func begin(list []span, op *Op) []span {
	if n := len(list); n > 0 && list[n-1].until == nil {
		return list
	}
	return append(list, span{from: op})
}

func end(list []span, op *Op) {
	if n := len(list); n > 0 && list[n-1].until == nil {
		list[n-1].until = op
	}
}

// outage returns an interval around the operation in which its node could not
// reach Redis, or was still recovering from it.
func (f *faults) outage(op *Op) (span, bool) {
	for _, list := range [][]span{f.cut[op.Node], f.redis, f.open[op.Node]} {
		if s, ok := around(list, op); ok {
			return s, true
		}
	}
	return span{}, false
}

// around finds an interval that is near the operation.
func around(list []span, op *Op) (span, bool) {
	// Intervals of one list follow each other, so only those that began before
	// the operation returned count, the last ones first.
	i := sort.Search(len(list), func(i int) bool { return op.End != 0 && list[i].from.Seq >= op.End })
	for i--; i >= 0; i-- {
		if list[i].near(op) {
			return list[i], true
		}
		if list[i].until != nil && list[i].until.Return+recovery < op.Call {
			break
		}
	}
	return span{}, false
}

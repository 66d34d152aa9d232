package drill

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/RC918/morningai"
)

// Violation is one broken promise.
type Violation struct {
	Invariant int
	Task      morningai.ID // zero if it is not about one task
	What      string       // a sentence
	Ops       []Op         // the lines of the history that show it, in their order
}

// String is the sentence and the lines.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "invariant %d: ", v.Invariant)
	if !v.Task.IsZero() {
		fmt.Fprintf(&b, "task %s: ", v.Task)
	}
	b.WriteString(v.What)
	for _, op := range v.Ops {
		b.WriteString("\n  " + op.String())
	}
	return b.String()
}

// Check returns every promise that the history and the final state show to be
// broken, by invariant and then by place in the history. Promises about how
// long something takes are left to [CheckTimes]. It takes the time of sorting
// the history.
//
// The numbers of the invariants:
//
//	 1  states follow the graph; one end per life
//	 2  what was acknowledged is there at the end; nothing is lost
//	 3  an acknowledgement comes after what it names
//	 4  nothing runs or is shown that nobody asked for; payloads are unchanged
//	 5  one id, one payload
//	 6  claims grow, and fence
//	 7  every run but the last of a task has a cause to be followed by another
//	 8  no session is declared dead without a lease time of the observer's contact
//	 9  for one reader on one node nothing goes backwards
//	10  what was acknowledged is never answered as unknown to anybody
//	11  lanes have no gaps; what is set aside is reported
//	13  all nodes say the same at the end
//	14  a unique key has one live holder
//	16  acknowledged commands and settings hold
//	17  what was refused leaves no trace
//	18  at the end nothing that could run waits
//	19  an outage is no reason to refuse
func Check(h *History, final Final) []Violation {
	c := newChecker(h, final)
	for _, family := range []func(){
		c.checkAcceptance, c.checkRefusals, c.checkNotFound, c.checkIdentity, c.checkKeys, c.checkReads,
		c.checkFence, c.checkRuns, c.checkSessions, c.checkCommands, c.checkSettings, c.checkLanes, c.checkFinal,
	} {
		family()
	}
	return c.sorted()
}

func (c *checker) sorted() []Violation {
	slices.SortStableFunc(c.found, func(a, b Violation) int {
		first := func(v Violation) int64 {
			if len(v.Ops) == 0 {
				return 0
			}
			return v.Ops[0].Seq
		}
		return cmp.Or(cmp.Compare(a.Invariant, b.Invariant), cmp.Compare(first(a), first(b)),
			bytes.Compare(a.Task[:], b.Task[:]), cmp.Compare(a.What, b.What))
	})
	return c.found
}

// checker is one history under examination.
type checker struct {
	h      *History
	final  Final
	ops    []*Op // by Seq
	tasks  []*track
	byID   map[morningai.ID]*track
	faults faults
	found  []Violation
}

// track is what the history has about one task.
type track struct {
	id  morningai.ID
	ops []*Op // by Seq; those in which the task is the holder of a key included
	// possible are the enqueues under this id that may have been accepted,
	// acks the answers that it is accepted; refused the enqueues that were not.
	possible, acks, refused []*Op
	retried                 bool // a retry may have raised its life
	// marked: somebody said maybe_repeated, or reported it as repeated; or as set
	// aside, when nodes had accepted the id apart.
	marked bool
	// Places from which on it may have been deleted, and may have ended; 0 if never.
	deleted, ended int64
}

func newChecker(h *History, final Final) *checker {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &checker{h: h, final: final, ops: make([]*Op, 0, h.n), byID: map[morningai.ID]*track{}}
	for _, part := range h.parts {
		for i := range part {
			c.ops = append(c.ops, &part[i])
		}
	}
	for _, op := range c.ops {
		c.place(op)
	}
	c.faults.finish()
	for i := range final.Nodes {
		for id, t := range final.Nodes[i].Tasks {
			if tr := c.byID[id]; tr != nil && t.MaybeRepeated {
				tr.marked = true
			}
		}
		for _, id := range final.Nodes[i].Repeated {
			if tr := c.byID[id]; tr != nil {
				tr.marked = true
			}
		}
		for _, id := range final.Nodes[i].SetAside {
			if tr := c.byID[id]; tr != nil {
				tr.marked = tr.marked || c.apart(tr)
			}
		}
	}
	return c
}

func (c *checker) place(op *Op) {
	c.faults.place(op)
	if !op.Task.IsZero() {
		t := c.track(op.Task)
		t.ops = append(t.ops, op)
		t.marked = t.marked || op.MaybeRepeated
		if t.ended == 0 && (op.Kind == Start || op.possible() && (op.Kind == Cancel || op.Kind == Finish || op.Kind == Enqueue && op.Key != "")) {
			t.ended = op.Seq
		}
		switch op.Kind {
		case Delete:
			if t.deleted == 0 && op.possible() {
				t.deleted = op.Seq
			}
		case Enqueue:
			switch {
			case !op.possible():
				t.refused = append(t.refused, op)
			case !op.held():
				t.possible = append(t.possible, op)
				if op.ok() {
					t.acks = append(t.acks, op)
				}
			}
		case Retry:
			t.retried = t.retried || op.possible()
		}
	}
	if op.held() {
		t := c.track(op.Holder)
		t.ops = append(t.ops, op)
		if op.Kind == Enqueue && op.ok() {
			t.acks = append(t.acks, op)
		}
	}
}

func (c *checker) track(id morningai.ID) *track {
	t := c.byID[id]
	if t == nil {
		t = &track{id: id}
		c.byID[id] = t
		c.tasks = append(c.tasks, t)
	}
	return t
}

// tell adds a violation; operations that are nil are left out.
func (c *checker) tell(invariant int, task morningai.ID, ops []*Op, what string, args ...any) {
	v := Violation{Invariant: invariant, Task: task, What: fmt.Sprintf(what, args...)}
	for _, op := range ops {
		if op != nil && !slices.ContainsFunc(v.Ops, func(o Op) bool { return o.Seq == op.Seq }) {
			v.Ops = append(v.Ops, *op)
		}
	}
	slices.SortFunc(v.Ops, func(a, b Op) int { return cmp.Compare(a.Seq, b.Seq) })
	c.found = append(c.found, v)
}

// life is the life that an operation is about: without a retry there is only
// one. It is 0 if it cannot be known.
func (t *track) life(op *Op) int64 {
	if op.Life == 0 && !t.retried {
		return 1
	}
	return op.Life
}

// sameLife reports that two operations are surely about one life of the task.
func (t *track) sameLife(a, b *Op) bool {
	life := t.life(a)
	return life != 0 && life == t.life(b)
}

// states are the operations of the task that say in which state it is, and, if
// it is the holder of a key that was asked for, those answers.
func (t *track) states(yield func(*Op) bool) {
	for _, op := range t.ops {
		if op.ok() && op.State != "" && (!op.held() || op.Holder == t.id) && !yield(op) {
			return
		}
	}
}

func (t *track) kind(k Kind) []*Op {
	var out []*Op
	for _, op := range t.ops {
		if op.Kind == k {
			out = append(out, op)
		}
	}
	return out
}

package drill

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// story tells a history with a clock of its own, on which each operation takes
// a millisecond, and what the nodes say at the end.
type story struct {
	h     *History
	now   time.Duration
	final Final
}

const (
	ms  = time.Millisecond
	sec = time.Second
)

func newStory(setup Setup, nodes ...string) *story {
	s := &story{}
	s.h = NewHistory(setup, func() time.Duration { return s.now })
	for _, n := range nodes {
		s.final.Nodes = append(s.final.Nodes, NodeFinal{Node: n, Tasks: map[morningai.ID]TaskFinal{}, Queues: map[string]QueueFinal{}})
	}
	return s
}

func (s *story) do(ops ...Op) {
	for _, op := range ops {
		s.now += ms
		s.h.Add(op)
	}
}

func (s *story) wait(d time.Duration) { s.now += d }

// call is an operation during which others happen.
func (s *story) call(op Op, during func()) {
	s.now += ms
	outcome, code := op.Outcome, op.Code
	op.Outcome, op.Code = "", ""
	c := s.h.Begin(op)
	during()
	s.now += ms
	c.Return(func(o *Op) { o.Outcome, o.Code = outcome, code })
}

// end puts a task into the final state of every node.
func (s *story) end(n int, f TaskFinal) {
	for i := range s.final.Nodes {
		s.final.Nodes[i].Tasks[tid(n)] = f
	}
}

// alter changes a task's final state on one node.
func (s *story) alter(node, n int, change func(*TaskFinal)) {
	f := s.final.Nodes[node].Tasks[tid(n)]
	change(&f)
	s.final.Nodes[node].Tasks[tid(n)] = f
}

func (s *story) check() []Violation {
	s.final.At = s.now + ms
	return Check(s.h, s.final)
}

func tid(n int) (id morningai.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// by fills in what most operations have: a node, a client of that node's own, a
// task in its first life.
func by(node string, kind Kind, n int, more ...func(*Op)) Op {
	op := Op{Node: node, Client: "c", Kind: kind, Task: tid(n), Life: 1}
	for _, f := range more {
		f(&op)
	}
	return op
}

func enqueue(node string, n int, more ...func(*Op)) Op {
	op := by(node, Enqueue, n, shows(morningai.StateQueued, 1))
	op.Payload, op.Queue, op.Durable = Digest(100+n), "q", "journal+redis"
	for _, f := range more {
		f(&op)
	}
	return op
}

func read(node string, n int, state morningai.State, version int64, more ...func(*Op)) Op {
	op := by(node, Read, n, shows(state, version))
	op.Payload, op.Fresh = Digest(100+n), morningai.FreshLive
	for _, f := range more {
		f(&op)
	}
	return op
}

func shows(state morningai.State, version int64) func(*Op) {
	return func(op *Op) { op.State, op.Version = state, version }
}

func life(n int64) func(*Op)       { return func(op *Op) { op.Life = n } }
func client(name string) func(*Op) { return func(op *Op) { op.Client = name } }
func payload(d Digest) func(*Op)   { return func(op *Op) { op.Payload = d } }
func durable(d string) func(*Op)   { return func(op *Op) { op.Durable = d } }
func key(k string) func(*Op)       { return func(op *Op) { op.Key = k } }
func fails(code morningai.Code) func(*Op) {
	return func(op *Op) {
		*op = Op{Node: op.Node, Client: op.Client, Kind: op.Kind, Task: op.Task, Payload: op.Payload, Queue: op.Queue, Key: op.Key, Outcome: Fail, Code: code}
		if op.Kind == Read {
			op.Payload = 0
		}
	}
}
func unknown(op *Op) {
	*op = Op{Node: op.Node, Client: op.Client, Kind: op.Kind, Task: op.Task, Payload: op.Payload, Queue: op.Queue, Key: op.Key, Outcome: Unknown}
}
func claim(n int64) func(*Op) {
	return func(op *Op) { op.Claim, op.Lease, op.Attempt = n, 1000+n, n }
}
func ended(o morningai.Outcome) func(*Op) { return func(op *Op) { op.Ended = o } }

func fault(kind Kind, node string) Op { return Op{Node: node, Kind: kind} }

// run is one whole attempt: handed out, started, ended and recorded.
func run(node string, n int, claimed int64, o morningai.Outcome, more ...func(*Op)) []Op {
	var out []Op
	for _, kind := range []Kind{Grant, Start, End, Finish} {
		op := by(node, kind, n, claim(claimed))
		if kind == End || kind == Finish {
			op.Ended = o
		}
		for _, f := range more {
			f(&op)
		}
		out = append(out, op)
	}
	return out
}

func succeeded(n int) TaskFinal {
	return TaskFinal{State: morningai.StateSucceeded, Life: 1, Version: 3, Payload: Digest(100 + n), Result: 1,
		Attempts: []AttemptFinal{{Number: 1, Life: 1, Node: "a", Outcome: morningai.OutcomeSucceeded}}}
}

// plain is a task that was accepted by a, ran there and succeeded.
func (s *story) plain(n int) {
	s.do(enqueue("a", n))
	s.do(run("a", n, 1, morningai.OutcomeSucceeded)...)
	s.do(read("a", n, morningai.StateSucceeded, 3))
	s.end(n, succeeded(n))
}

// tale is a story and the invariants that it breaks.
type tale struct {
	name string
	want []int
	tell func(s *story)
}

var everything = Setup{LeaseTime: 15 * sec, BeatInterval: 800 * ms, Starts: true, Grants: true}

func check(t *testing.T, setup Setup, tales []tale) {
	t.Helper()
	for _, tale := range tales {
		t.Run(tale.name, func(t *testing.T) {
			s := newStory(setup, "a", "b")
			tale.tell(s)
			found := s.check()
			var got []int
			for _, v := range found {
				if !slices.Contains(got, v.Invariant) {
					got = append(got, v.Invariant)
				}
				if v.What == "" {
					t.Errorf("a violation has no sentence: %v", v)
				}
			}
			if !slices.Equal(got, tale.want) {
				t.Errorf("breaks %v, want %v", got, tale.want)
				for _, v := range found {
					t.Log(v)
				}
			}
		})
	}
}

package drill

import (
	"iter"
	"sync"
	"time"
)

// Setup says what a history is about: what cannot be seen from its operations.
type Setup struct {
	LeaseTime time.Duration `json:"lease_ns,omitempty"`
	// BeatInterval is how often an observer looks; see [Observe].
	BeatInterval time.Duration `json:"beat_ns,omitempty"`
	NoJournal    []string      `json:"no_journal,omitempty"` // nodes that have none
	// What is recorded completely. A check that concludes from the absence of
	// an operation needs it.
	Starts  bool `json:"starts,omitempty"`  // Start, of every handler
	Grants  bool `json:"grants,omitempty"`  // Grant, of every hand-out
	Durable bool `json:"durable,omitempty"` // Synced and Applied, of every enqueue
}

// History is a record of operations that only grows. Its methods may be called
// from any number of goroutines, but the record is complete only when all calls
// that were begun have ended or never will.
type History struct {
	Setup Setup

	clock func() time.Duration
	mu    sync.Mutex
	last  int64 // place given out last
	parts [][]Op
	n     int
}

// partSize keeps operations where they are while the history grows.
const partSize = 4096

// NewHistory makes an empty history. The clock says how much time has passed
// since the start; nil means the process's monotonic clock from now on. It is
// called with a lock held, so it must not use the history.
func NewHistory(setup Setup, clock func() time.Duration) *History {
	if clock == nil {
		start := time.Now()
		clock = func() time.Duration { return time.Since(start) }
	}
	return &History{Setup: setup, clock: clock}
}

// Call is an operation under way.
type Call struct {
	h  *History
	op *Op
}

// Begin records that an operation is called. Until its return is recorded,
// nothing is known of its outcome.
func (h *History) Begin(op Op) Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	op.Seq, op.End, op.Call, op.Return = h.last, 0, h.clock(), 0
	return Call{h, h.put(op)}
}

// Return records that the operation has returned; fill, if not nil, puts in
// what came of it. An outcome that is still empty then is ok. Fill is called
// with a lock held, so it must not use the history.
func (c Call) Return(fill func(*Op)) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if fill != nil {
		fill(c.op)
	}
	if c.op.Outcome == "" {
		c.op.Outcome = OK
	}
	c.h.last++
	c.op.End, c.op.Return = c.h.last, c.h.clock()
}

// Add records something that took no time. An empty outcome is ok.
func (h *History) Add(op Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if op.Outcome == "" {
		op.Outcome = OK
	}
	now := h.clock()
	h.last++
	op.Seq, op.End, op.Call, op.Return = h.last, h.last, now, now
	h.put(op)
}

// put appends with the lock held.
func (h *History) put(op Op) *Op {
	if h.n%partSize == 0 {
		h.parts = append(h.parts, make([]Op, 0, partSize))
	}
	part := &h.parts[len(h.parts)-1]
	*part = append(*part, op)
	h.n++
	return &(*part)[len(*part)-1]
}

// Len is how many operations were recorded.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// Ops are copies of the operations in the order of their calls.
func (h *History) Ops() iter.Seq[Op] {
	return func(yield func(Op) bool) {
		for i := 0; ; i++ {
			h.mu.Lock()
			if i >= h.n {
				h.mu.Unlock()
				return
			}
			op := h.parts[i/partSize][i%partSize]
			h.mu.Unlock()
			if !yield(op) {
				return
			}
		}
	}
}

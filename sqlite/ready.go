package sqlite

import (
	"slices"

	"github.com/RC918/morningai"
)

// run is the ready tasks of one line and priority, in order of acceptance. It
// holds a bounded part of them: what is missing has sequence numbers above hi
// and is read from the table when the run gets short (refill).
type run struct {
	line *line
	prio int
	fifo []int64 // ascending
	heap []int64 // min-heap of those that came back out of order
	top  int64   // the highest number ever held
	more bool    // the table has queued tasks above hi
	hi   int64
	// asked is set while a refill is under way.
	asked bool
}

func (r *run) len() int { return len(r.fifo) + len(r.heap) }

// head returns the first task; ok is false if none is in memory.
func (r *run) head() (seq int64, ok bool) {
	switch {
	case len(r.fifo) == 0 && len(r.heap) == 0:
		return 0, false
	case len(r.heap) == 0 || len(r.fifo) > 0 && r.fifo[0] < r.heap[0]:
		return r.fifo[0], true
	}
	return r.heap[0], true
}

func (r *run) pop() {
	if len(r.heap) == 0 || len(r.fifo) > 0 && r.fifo[0] < r.heap[0] {
		r.fifo = r.fifo[1:]
		if len(r.fifo) == 0 {
			r.fifo = nil
		}
		return
	}
	last := len(r.heap) - 1
	r.heap[0] = r.heap[last]
	r.heap = r.heap[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			return
		}
		if c+1 < last && r.heap[c+1] < r.heap[c] {
			c++
		}
		if r.heap[i] <= r.heap[c] {
			return
		}
		r.heap[i], r.heap[c] = r.heap[c], r.heap[i]
		i = c
	}
}

// add makes a task ready. What lies above hi is left to the refill. It reports
// whether the task is held in memory.
func (r *run) add(seq int64, limit int) bool {
	if r.more && seq > r.hi {
		return false
	}
	if seq > r.top {
		if len(r.fifo) >= limit {
			r.more, r.hi = true, r.top
			return false
		}
		r.fifo = append(r.fifo, seq)
		r.top = seq
		return true
	}
	r.heap = append(r.heap, seq)
	for i := len(r.heap) - 1; i > 0; {
		p := (i - 1) / 2
		if r.heap[p] <= r.heap[i] {
			break
		}
		r.heap[p], r.heap[i] = r.heap[i], r.heap[p]
		i = p
	}
	if len(r.heap) > 2*limit {
		r.shorten(limit)
	}
	return true
}

// shorten keeps the first limit tasks and leaves the others to the table.
func (r *run) shorten(limit int) {
	all := append(slices.Clone(r.fifo), r.heap...)
	slices.Sort(all)
	all = all[:limit]
	r.fifo, r.heap = slices.Clip(all), nil
	r.more, r.hi = true, all[limit-1]
	r.top = r.hi
}

// remove takes a task out wherever it is.
func (r *run) remove(seq int64) {
	if i, ok := slices.BinarySearch(r.fifo, seq); ok {
		if i == 0 {
			r.fifo = r.fifo[1:]
		} else {
			r.fifo = slices.Delete(r.fifo, i, i+1)
		}
		return
	}
	if i := slices.Index(r.heap, seq); i >= 0 {
		r.heap = slices.Delete(r.heap, i, i+1)
		slices.Sort(r.heap) // a sorted slice is a heap
	}
}

// fill takes what a refill has read: the next queued tasks above hi, all of them
// if done.
func (r *run) fill(seqs []int64, done bool) {
	r.asked = false
	if len(seqs) > 0 {
		r.fifo = append(r.fifo, seqs...)
		r.hi = seqs[len(seqs)-1]
		r.top = max(r.top, r.hi)
	}
	if done {
		r.more = false
	}
}

// queue is what is known of one queue in memory; guarded by Engine.mu.
type queue struct {
	name    string
	config  morningai.QueueConfig
	stored  bool // it has a row in queues
	running int
	bucket  bucket
	runs    [morningai.MaxPriority + 1][]*run // every run that has ever been used
}

// queueFor returns the queue's entry, made if need be. Engine.mu is held.
func (e *Engine) queueFor(name string) *queue {
	q := e.queues[name]
	if q == nil {
		q = &queue{name: name, config: morningai.QueueConfig{Name: name}}
		e.queues[name] = q
	}
	return q
}

// runFor returns the run of a line and priority. Engine.mu is held.
func (e *Engine) runFor(l *line, prio int) *run {
	if r := l.runs[prio]; r != nil {
		return r
	}
	r := &run{line: l, prio: prio}
	l.runs[prio] = r
	q := e.queueFor(l.queue)
	q.runs[prio] = append(q.runs[prio], r)
	return r
}

// makeReady adds a committed, queued row. Engine.mu is held.
func (e *Engine) makeReady(r *row) {
	k := e.runFor(r.line, r.priority)
	if k.add(r.seq, e.cfg.readyMax) {
		e.cache.put(r, e.cfg.cacheMax, cacheBytes)
	}
}

// cache keeps rows that will be claimed soon, to spare reading them. It is
// full at a number of rows or bytes and then takes no more: a long backlog is
// claimed from its other end. Engine.mu guards it.
type cache struct {
	rows  map[int64]*row
	bytes int
}

const cacheBytes = 16 << 20

func rowSize(r *row) int {
	return 512 + len(r.payload) + len(r.metadata) + len(r.result) + len(r.progress)
}

func (c *cache) put(r *row, limit, bytes int) {
	size := rowSize(r)
	if len(c.rows) >= limit || c.bytes+size > bytes {
		return
	}
	if old := c.rows[r.seq]; old != nil {
		c.bytes -= rowSize(old)
	}
	c.rows[r.seq] = r
	c.bytes += size
}

func (c *cache) take(seq int64) *row {
	r := c.rows[seq]
	if r != nil {
		delete(c.rows, seq)
		c.bytes -= rowSize(r)
	}
	return r
}

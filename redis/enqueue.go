package redis

import (
	"context"
	"hash/fnv"
	"runtime"
	"sync"

	"github.com/RC918/morningai"
)

const (
	batchTasks = 128
	batchBytes = 256 << 10
)

// Enqueue accepts tasks; see [morningai.Engine].
func (e *Engine) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	out := make([]morningai.Receipt, len(specs))
	jobs := make(map[*partition]*enqueueJob)
	var spec morningai.TaskSpec
	for i := range specs {
		spec = specs[i]
		if err := e.settle(&spec); err != nil {
			out[i].Err = err
			continue
		}
		p := e.of(spec.ID)
		j := jobs[p]
		if j == nil {
			j = &enqueueJob{out: out, done: make(chan struct{})}
			if len(e.parts) == 1 {
				j.specs, j.at = make([]prepared, 0, len(specs)), make([]int, 0, len(specs))
			}
			jobs[p] = j
		}
		j.specs, j.at = append(j.specs, e.prepare(&spec)), append(j.at, i)
	}
	for p, j := range jobs {
		j.left = len(j.specs)
		p.enqueuer(len(j.specs)).add(j)
	}
	bounded, cancel := e.bounded(ctx)
	defer cancel()
	for _, j := range jobs {
		select {
		case <-j.done:
		case <-bounded.Done():
			for _, j := range jobs {
				j.abandon()
			}
			return nil, e.failed(ctx, "enqueue", bounded.Err())
		}
	}
	for _, j := range jobs {
		if j.err != nil {
			return nil, e.failed(ctx, "enqueue", j.err)
		}
	}
	return out, nil
}

// settle completes a spec. Of several partitions a unique key decides which one
// its tasks live in, because one script has to see them all.
func (e *Engine) settle(s *morningai.TaskSpec) error {
	given := !s.ID.IsZero()
	if err := s.Normalize(); err != nil {
		return err
	}
	n := len(e.parts)
	if n == 1 || s.UniqueKey == "" {
		return nil
	}
	h := fnv.New32a()
	h.Write([]byte(s.UniqueKey))
	home := int(h.Sum32() % uint32(n))
	last := int(s.ID[len(s.ID)-1])
	if last%n == home {
		return nil
	}
	if given {
		return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "enqueue",
			Detail: "on a Redis with several partitions a task with a unique key cannot bring its own id",
			Fields: []morningai.FieldError{{Location: "unique_key", Message: "must come without an id"}}}
	}
	if last += home - last%n; last > 255 {
		last -= n
	}
	traced := s.TraceID == s.ID
	s.ID[len(s.ID)-1] = byte(last)
	if traced {
		s.TraceID = s.ID
	}
	return nil
}

// enqueueJob is one caller's specs for one partition.
type enqueueJob struct {
	specs []prepared
	at    []int // their places in out
	out   []morningai.Receipt
	done  chan struct{}

	mu   sync.Mutex
	left int
	gone bool // the caller has left: out is not to be touched
	err  error
}

func (j *enqueueJob) abandon() {
	j.mu.Lock()
	j.gone = true
	j.mu.Unlock()
}

func (j *enqueueJob) abandoned() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.gone
}

// settle hands in the receipt of one spec.
func (j *enqueueJob) settle(i int, r *morningai.Receipt, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.gone {
		j.out[j.at[i]] = *r
	}
	if err != nil && j.err == nil {
		j.err = err
	}
	if j.left--; j.left == 0 {
		close(j.done)
	}
}

// enqueuers are how many there are: the second is only for what comes in bulk, so
// that Redis works on one batch while the next is packed.
const enqueuers = 2

// enqueuer returns the one for n tasks that a caller brings at once: they stay in
// their order.
func (p *partition) enqueuer(n int) *enqueuer {
	if n >= batchTasks && p.accepts[1].length() < p.accepts[0].length() {
		return p.accepts[1]
	}
	return p.accepts[0]
}

// enqueueLanes is how many calls of one enqueuer may be under way at once.
const enqueueLanes = 2

// enqueuer sends what callers bring in batches, which grow by themselves while a call
// is under way. Another call goes out beside it once about as many tasks wait as are
// in it: callers come back while Redis works for others, and no call is so small that
// it costs more than it saves. What one caller brings at once keeps its order.
type enqueuer struct {
	part  *partition
	lanes [enqueueLanes]*lane

	mu     sync.Mutex
	queue  []enqueueItem
	flying int // tasks in the calls under way
	wake   chan struct{}
}

type enqueueItem struct {
	job *enqueueJob
	i   int
}

func newEnqueuer(p *partition) *enqueuer {
	q := &enqueuer{part: p, wake: make(chan struct{}, 1)}
	for i := range q.lanes {
		q.lanes[i] = newLane(p)
	}
	return q
}

func (q *enqueuer) run() {
	for _, l := range q.lanes {
		q.part.eng.loops.Go(func() { q.loop(l) })
	}
}

func (q *enqueuer) add(j *enqueueJob) {
	q.mu.Lock()
	for i := range j.specs {
		q.queue = append(q.queue, enqueueItem{j, i})
	}
	ready := q.ready()
	q.mu.Unlock()
	if !ready {
		return // whoever has a call under way looks again
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// ready reports whether a call may go out.
func (q *enqueuer) ready() bool {
	if len(q.queue) == 0 || q.flying == 0 {
		return len(q.queue) > 0
	}
	const few = 4
	return len(q.queue) >= max(few, q.flying/2) && q.queue[0].i == 0 // what came with it is not in the other call
}

// landed notes that the call with n tasks is over.
func (q *enqueuer) landed(n int) {
	q.mu.Lock()
	q.flying -= n
	q.mu.Unlock()
}

// gather is take once whoever can run has handed in its tasks: the callers that
// the last answer has set free come back together.
func (q *enqueuer) gather() []enqueueItem {
	runtime.Gosched()
	return q.take()
}

// take returns the next batch, within the limits; a larger task travels alone.
func (q *enqueuer) take() []enqueueItem {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ready() {
		return nil
	}
	bytes, n := 0, 0
	for n < len(q.queue) && n < batchTasks {
		bytes += len(q.queue[n].job.specs[q.queue[n].i].packed) + 64
		if n > 0 && bytes > batchBytes {
			break
		}
		n++
	}
	out := q.queue[:n:n]
	q.queue = q.queue[n:]
	if len(q.queue) == 0 {
		q.queue = nil
	}
	q.flying += n
	return out
}

func (q *enqueuer) loop(l *lane) {
	for {
		for items := q.gather(); len(items) > 0; items = q.gather() {
			n := len(items)
			q.send(l, items, false)
			q.landed(n)
		}
		select {
		case <-q.wake:
		case <-q.part.eng.idle:
			return
		}
	}
}

// send sends a batch. While it hunts for what breaks the connection nothing else is
// sent by the partition's enqueuers: it would be taken for the culprit.
func (q *enqueuer) send(l *lane, items []enqueueItem, hunting bool) {
	kept := items[:0]
	for _, it := range items {
		if it.job.abandoned() {
			it.job.settle(it.i, &morningai.Receipt{}, context.DeadlineExceeded)
		} else {
			kept = append(kept, it)
		}
	}
	if items = kept; len(items) == 0 {
		return
	}
	b := newEnqueueBatch(items)
	if !hunting {
		q.part.hunt.RLock()
	}
	err := q.try(l, b)
	if !hunting {
		q.part.hunt.RUnlock()
	}
	if err != nil && suspicious(err) {
		if !hunting {
			q.part.hunt.Lock()
			defer q.part.hunt.Unlock()
		}
		if q.part.poisoned(err) {
			q.hunt(l, items, hunting)
			return
		}
	}
	if err == nil && q.length() > 0 { // the next call is on its way meanwhile
		q.part.eng.loops.Go(func() { b.deliver() })
		return
	}
	if err == nil {
		b.deliver()
		return
	}
	for _, it := range items {
		it.job.settle(it.i, &morningai.Receipt{}, err)
	}
}

// hunt sends a batch that broke the connection again, and then in halves, until
// the task that does it stands alone.
func (q *enqueuer) hunt(l *lane, items []enqueueItem, again bool) {
	switch {
	case len(items) > 1 && again:
		q.send(l, items[:len(items)/2:len(items)/2], true)
		q.send(l, items[len(items)/2:], true)
	case len(items) > 1:
		q.send(l, items, true)
	default:
		b := newEnqueueBatch(items)
		err := q.part.alone(func() error { return q.try(l, b) })
		switch err {
		case nil:
			b.deliver()
		case errPoison:
			items[0].job.settle(items[0].i, &morningai.Receipt{Err: err}, nil)
		default:
			items[0].job.settle(items[0].i, &morningai.Receipt{}, err)
		}
	}
}

func (q *enqueuer) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue)
}

func (q *enqueuer) try(l *lane, b *enqueueBatch) error {
	ctx, cancel := context.WithTimeout(context.Background(), q.part.eng.opt.timeout)
	defer cancel()
	reply, err := l.call(ctx, scriptEnqueue, b.keys(q.part), b.args())
	b.reply = reply
	return err
}

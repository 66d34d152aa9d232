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

// enqueueLanes is how many calls may be under way at once, the second only for
// what comes in bulk: Redis works on one while the next is packed. Single tasks
// share a call, which costs Redis less than two.
const enqueueLanes = 2

// enqueuer returns the one for n tasks that a caller brings at once: they stay in
// their order.
func (p *partition) enqueuer(n int) *enqueuer {
	if n >= batchTasks && p.accepts[1].length() < p.accepts[0].length() {
		return p.accepts[1]
	}
	return p.accepts[0]
}

// enqueuer sends what callers bring in batches, one call at a time: batches
// grow by themselves while a call is under way, and order is kept.
type enqueuer struct {
	part *partition
	lane *lane

	mu    sync.Mutex
	queue []enqueueItem
	wake  chan struct{}
}

type enqueueItem struct {
	job *enqueueJob
	i   int
}

func newEnqueuer(p *partition) *enqueuer {
	return &enqueuer{part: p, lane: newLane(p), wake: make(chan struct{}, 1)}
}

func (q *enqueuer) run() { q.part.eng.loops.Go(q.loop) }

func (q *enqueuer) add(j *enqueueJob) {
	q.mu.Lock()
	for i := range j.specs {
		q.queue = append(q.queue, enqueueItem{j, i})
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// gather is take once whoever can run has handed in its tasks: the callers that
// the last answer has set free come back together.
func (q *enqueuer) gather() []enqueueItem {
	runtime.Gosched()
	return q.take()
}

// take returns the next batch, within the limits, and no task twice; a larger task
// travels alone.
func (q *enqueuer) take() []enqueueItem {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes, n := 0, 0
	seen := make(map[morningai.ID]struct{}, min(len(q.queue), batchTasks))
	for n < len(q.queue) && n < batchTasks {
		id := q.queue[n].job.specs[q.queue[n].i].spec.ID
		if _, twice := seen[id]; twice {
			break
		}
		seen[id] = struct{}{}
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
	return out
}

func (q *enqueuer) loop() {
	for {
		for items := q.gather(); len(items) > 0; items = q.gather() {
			q.send(items, false)
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
func (q *enqueuer) send(items []enqueueItem, hunting bool) {
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
	err := q.try(b)
	if !hunting {
		q.part.hunt.RUnlock()
	}
	if err != nil && suspicious(err) {
		if !hunting {
			q.part.hunt.Lock()
			defer q.part.hunt.Unlock()
		}
		if q.part.poisoned(err) {
			q.hunt(items, hunting)
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
func (q *enqueuer) hunt(items []enqueueItem, again bool) {
	switch {
	case len(items) > 1 && again:
		q.send(items[:len(items)/2:len(items)/2], true)
		q.send(items[len(items)/2:], true)
	case len(items) > 1:
		q.send(items, true)
	default:
		b := newEnqueueBatch(items)
		err := q.part.alone(func() error { return q.try(b) })
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

func (q *enqueuer) try(b *enqueueBatch) error {
	ctx, cancel := context.WithTimeout(context.Background(), q.part.eng.opt.timeout)
	defer cancel()
	reply, err := q.lane.call(ctx, scriptEnqueue, b.keys(q.part), b.args())
	b.reply = reply
	return err
}

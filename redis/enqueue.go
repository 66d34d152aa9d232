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
		p.accepts.add(j)
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

// take returns the next batch, within the limits; a larger task travels alone.
func (q *enqueuer) take() []enqueueItem {
	q.mu.Lock()
	defer q.mu.Unlock()
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
	return out
}

func (q *enqueuer) loop() {
	for {
		for items := q.gather(); len(items) > 0; items = q.gather() {
			q.send(items)
		}
		select {
		case <-q.wake:
		case <-q.part.eng.idle:
			return
		}
	}
}

func (q *enqueuer) send(items []enqueueItem) {
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
	send := func() error { return q.try(b) }
	var err error
	if len(items) == 1 {
		if err = q.part.alone(send); err == errPoison {
			items[0].job.settle(items[0].i, &morningai.Receipt{Err: err}, nil)
			return
		}
	} else if err = send(); err != nil && q.part.poisoned(err) {
		q.send(items[: len(items)/2 : len(items)/2])
		q.send(items[len(items)/2:])
		return
	}
	if err == nil && q.waiting() { // the next call is on its way meanwhile
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

func (q *enqueuer) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue) > 0
}

func (q *enqueuer) try(b *enqueueBatch) error {
	ctx, cancel := context.WithTimeout(context.Background(), q.part.eng.opt.timeout)
	defer cancel()
	reply, err := q.lane.call(ctx, scriptEnqueue, b.keys(q.part), b.args())
	b.reply = reply
	return err
}

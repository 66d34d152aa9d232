package redis

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
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
	for i := range specs {
		spec := specs[i]
		if err := e.settle(&spec); err != nil {
			out[i].Err = err
			continue
		}
		p := e.of(spec.ID)
		j := jobs[p]
		if j == nil {
			j = &enqueueJob{out: out, done: make(chan struct{})}
			jobs[p] = j
		}
		j.specs, j.at = append(j.specs, spec), append(j.at, i)
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
	specs []morningai.TaskSpec
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
func (j *enqueueJob) settle(i int, r morningai.Receipt, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.gone {
		j.out[j.at[i]] = r
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

// take returns the next batch, within the limits; a larger task travels alone.
func (q *enqueuer) take() []enqueueItem {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes, n := 0, 0
	for n < len(q.queue) && n < batchTasks {
		spec := &q.queue[n].job.specs[q.queue[n].i]
		bytes += len(spec.Payload) + len(spec.UniqueKey) + 256
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
		for items := q.take(); len(items) > 0; items = q.take() {
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
			it.job.settle(it.i, morningai.Receipt{}, context.DeadlineExceeded)
		} else {
			kept = append(kept, it)
		}
	}
	if items = kept; len(items) == 0 {
		return
	}
	var receipts []morningai.Receipt
	send := func() (err error) {
		receipts, err = q.try(items)
		return err
	}
	var err error
	if len(items) == 1 {
		if err = q.part.alone(send); err == errPoison {
			receipts, err = []morningai.Receipt{{Err: err}}, nil
		}
	} else if err = send(); err != nil && q.part.poisoned(err) {
		q.send(items[: len(items)/2 : len(items)/2])
		q.send(items[len(items)/2:])
		return
	}
	for i, it := range items {
		if err != nil {
			it.job.settle(it.i, morningai.Receipt{}, err)
		} else {
			it.job.settle(it.i, receipts[i], nil)
		}
	}
}

func (q *enqueuer) try(items []enqueueItem) ([]morningai.Receipt, error) {
	e := q.part.eng
	ctx, cancel := context.WithTimeout(context.Background(), e.opt.timeout)
	defer cancel()
	b := &enqueueBatch{queues: &index{}, types: &index{}, kinds: &index{}}
	for _, it := range items {
		b.add(&it.job.specs[it.i], e.acceptedAt())
	}
	reply, err := q.lane.call(ctx, scriptEnqueue, b.keys(q.part), b.args())
	if err != nil {
		return nil, err
	}
	return b.receipts(reply)
}

// acceptedAt is the time of acceptance of one task; it grows strictly.
func (e *Engine) acceptedAt() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.created = max(e.created+1, time.Now().UnixMicro())
	return time.UnixMicro(e.created).UTC()
}

// index numbers names from 1 in the order they come.
type index struct {
	names []string
	at    map[string]int
}

func (x *index) of(name string) uint16 {
	if x.at == nil {
		x.at = make(map[string]int)
	}
	n, ok := x.at[name]
	if !ok {
		x.names = append(x.names, name)
		n = len(x.names)
		x.at[name] = n
	}
	return uint16(n)
}

type enqueueBatch struct {
	specs         []*morningai.TaskSpec
	tasks         []morningai.Task
	queues, types *index
	kinds         *index   // what tasks of the batch share
	of            []byte   // the kind of each
	items         []string // id and spec in turn
}

func (b *enqueueBatch) add(s *morningai.TaskSpec, created time.Time) {
	flags, packedSpec := packSpec(s, created)
	t := morningai.Task{
		ID: s.ID, TraceID: s.TraceID, Type: s.Type, Queue: s.Queue, Priority: s.Priority, State: morningai.StateQueued,
		MaxAttempts: s.MaxAttempts, Timeout: s.Timeout, CreatedAt: created, Life: 1, Version: 1, Fresh: morningai.FreshLive,
	}
	if s.RunAt.After(created) {
		flags |= flagRunAt
		t.State, t.RunAt = morningai.StateScheduled, time.UnixMicro(ceilMicro(s.RunAt)).UTC()
	}
	var room [16]byte
	a := binary.BigEndian.AppendUint16(room[:0], b.queues.of(s.Queue))
	a = binary.BigEndian.AppendUint16(a, b.types.of(s.Type))
	a = append(a, byte(s.Priority))
	a = binary.BigEndian.AppendUint16(a, flags)
	if flags&flagRunAt != 0 {
		a = binary.BigEndian.AppendUint64(a, uint64(ceilMicro(s.RunAt)))
	}
	b.of = append(b.of, byte(b.kinds.of(string(a))))
	b.items = append(b.items, string(s.ID[:]), packedSpec)
	b.specs, b.tasks = append(b.specs, s), append(b.tasks, t)
}

// ceilMicro rounds up: nothing runs before it is due.
func ceilMicro(t time.Time) int64 { return t.Add(time.Microsecond - 1).UnixMicro() }

func (b *enqueueBatch) keys(p *partition) []string {
	var out []string
	for _, name := range b.types.names {
		out = append(out, p.wakeKey(name))
	}
	return out
}

func (b *enqueueBatch) args() []string {
	args := make([]string, 0, 4+len(b.queues.names)+len(b.types.names)+len(b.kinds.names)+len(b.items))
	args = append(args, strconv.Itoa(len(b.queues.names)), strconv.Itoa(len(b.types.names)), strconv.Itoa(len(b.kinds.names)))
	args = append(args, b.queues.names...)
	args = append(args, b.types.names...)
	args = append(args, b.kinds.names...)
	args = append(args, string(b.of))
	return append(args, b.items...)
}

func (b *enqueueBatch) receipts(reply []rueidis.RedisMessage) ([]morningai.Receipt, error) {
	compact, err := reply[0].ToString()
	if err != nil {
		return nil, err
	}
	found, err := readStored(reply[1], reply[2], reply[3])
	if err != nil {
		return nil, err
	}
	byID := make(map[morningai.ID]*stored, len(found))
	for _, s := range found {
		byID[s.id] = s
	}
	now := time.Now().UTC()
	out := make([]morningai.Receipt, len(b.specs))
	for i, spec := range b.specs {
		if compact == "" {
			return nil, errCorrupt
		}
		letter := compact[0]
		compact = compact[1:]
		switch letter {
		case 'a':
			t := b.tasks[i]
			t.Payload, t.Metadata = cloneBytes(spec.Payload), cloneMap(spec.Metadata)
			out[i].Task = t
		case 'e':
			out[i] = repeated(spec, byID[spec.ID], now)
		case 'd':
			if len(compact) < 16 {
				return nil, errCorrupt
			}
			holder := byID[morningai.ID([]byte(compact[:16]))]
			compact = compact[16:]
			if holder == nil {
				return nil, errCorrupt
			}
			out[i].Existing = true
			out[i].Task, out[i].Err = holder.task(now)
			out[i].Task.Duplicate = true
		}
		if out[i].Err == nil {
			t := &out[i].Task
			t.AsOf, t.Durable, t.Runs = now, "redis", "here"
		}
	}
	return out, nil
}

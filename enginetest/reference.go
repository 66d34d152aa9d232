package enginetest

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// Reference is the contract in its simplest form: one lock, maps, and scans
// where a real engine keeps indexes and counters. The model check compares
// other engines with it, the suite's own tests plant bugs in it, and
// simulations take it for the engines of their nodes: what it does depends on
// nothing but its calls and its setup, as long as no call waits.
type Reference struct {
	setup    Setup
	mu       sync.Mutex
	tasks    map[morningai.ID]*entry
	order    []*entry // what sorted has found last; nil: to be made anew
	sessions map[morningai.SessionID]*member
	lines    map[string]*line
	fleet    map[morningai.ID]morningai.Member
	notes    notes
	events   []morningai.Event
	thru     []counted
	last     time.Time     // of the newest task: acceptance times grow strictly
	changed  chan struct{} // closed and replaced by every change
	closed   bool
}

// entry is a record with what only a living engine knows of it.
type entry struct {
	morningai.Record
	grantSeq   int64 // the claim reply that carried the grant
	cancelTold bool
	orphaned   time.Time // since when it runs without a session that answers for it
}

type member struct {
	morningai.Session
	seq int64
}

// line is a queue's settings and its bucket of starts.
type line struct {
	config morningai.QueueConfig
	tokens float64
	filled time.Time
}

// counted is one event for the throughput of the last minute.
type counted struct {
	at      time.Time
	outcome morningai.Outcome // "" for an enqueue
}

func newReference(now func() time.Time) *Reference {
	journal, err := morningai.NewID()
	if err != nil {
		panic(err) // the system has no source of randomness
	}
	return NewReference(Setup{Name: "reference", Durable: "memory", Now: now, Random: rand.Uint64, Journal: journal})
}

func (e *Reference) Capabilities() morningai.Capabilities {
	return morningai.Capabilities{Name: e.setup.Name, Durable: e.setup.Durable}
}

// enter takes the lock, unless the engine is closed or the context has ended.
func (e *Reference) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return morningai.ErrClosed
	}
	return nil
}

func (e *Reference) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *Reference) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		e.notify()
	}
	return nil
}

func (e *Reference) Probe(ctx context.Context) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	return nil
}

// touch records a visible change and the event that tells of it.
func (e *Reference) touch(t *entry, kind morningai.EventKind) {
	t.Task.Version++
	e.events = append(e.events, morningai.Event{
		Cursor: cursorOf(len(e.events) + 1), Kind: kind, ID: t.Task.ID, Type: t.Task.Type, Queue: t.Task.Queue,
		State: t.Task.State, Attempt: t.Task.Attempt, Version: t.Task.Version, At: e.setup.Now().UTC(),
	})
	e.notify()
}

func (e *Reference) count(o morningai.Outcome) { e.thru = append(e.thru, counted{e.setup.Now(), o}) }

func (e *Reference) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	out := make([]morningai.Receipt, len(specs))
	for i := range specs {
		out[i] = e.accept(specs[i])
	}
	return out, nil
}

func (e *Reference) accept(spec morningai.TaskSpec) morningai.Receipt {
	if err := spec.Normalize(); err != nil {
		return morningai.Receipt{Err: err}
	}
	if t := e.tasks[spec.ID]; t != nil && e.forgotten(t) {
		delete(e.tasks, spec.ID)
	}
	if t := e.tasks[spec.ID]; t != nil {
		if had := t.Record.Spec(); t.Deleted || !had.SameRequest(&spec) {
			return morningai.Receipt{Err: morningai.ErrConflict}
		}
		return morningai.Receipt{Task: e.receipt(t), Existing: true}
	}
	if holder := e.holder(spec.UniqueKey); holder != nil {
		task := e.receipt(holder)
		task.Duplicate = true
		return morningai.Receipt{Task: task, Existing: true}
	}
	now := e.setup.Now().UTC().Truncate(time.Microsecond)
	if !now.After(e.last) {
		now = e.last.Add(time.Microsecond)
	}
	e.last = now
	t := &entry{Record: morningai.Record{UniqueKey: spec.UniqueKey, Retention: spec.Retention, Fingerprint: spec.Fingerprint, Task: morningai.Task{
		ID: spec.ID, TraceID: spec.TraceID, Type: spec.Type, Queue: spec.Queue, Priority: spec.Priority,
		State: morningai.StateQueued, MaxAttempts: spec.MaxAttempts, Exclusive: spec.Exclusive, Timeout: spec.Timeout,
		Payload: slices.Clone(spec.Payload), Metadata: cloneMap(spec.Metadata), CreatedAt: now, Life: 1,
	}}}
	kind := morningai.EventQueued
	if spec.RunAt.After(now) {
		t.Task.State, t.Task.RunAt, kind = morningai.StateScheduled, spec.RunAt.UTC(), morningai.EventScheduled
	}
	e.insert(t)
	e.line(spec.Queue)
	e.touch(t, kind)
	e.count("")
	return morningai.Receipt{Task: e.receipt(t)}
}

// insert adds an entry. Most are the newest, which come last.
func (e *Reference) insert(t *entry) {
	if n := len(e.order); n == 0 || n != len(e.tasks) || !t.Task.CreatedAt.After(e.order[n-1].Task.CreatedAt) {
		e.order = nil
	} else {
		e.order = append(e.order, t)
	}
	e.tasks[t.Task.ID] = t
}

func (e *Reference) receipt(t *entry) morningai.Task {
	task := e.snapshot(t)
	task.Durable, task.Runs = e.Capabilities().Durable, "here"
	return task
}

// holder is the live task that holds the key.
func (e *Reference) holder(key string) *entry {
	for _, t := range e.sorted() {
		if key != "" && t.UniqueKey == key && !t.Deleted && !t.Task.State.Terminal() {
			return t
		}
	}
	return nil
}

func (e *Reference) line(name string) *line {
	l := e.lines[name]
	if l == nil {
		l = &line{config: morningai.QueueConfig{Name: name}}
		e.lines[name] = l
	}
	return l
}

func (e *Reference) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	deadline := time.Now().Add(req.Wait)
	for {
		reply, changed, err := e.claimOnce(ctx, req)
		left := time.Until(deadline)
		if err != nil || len(reply.Grants)+len(reply.Cancels) > 0 || left <= 0 {
			return reply, err
		}
		// Due times and refilled buckets change nothing that notifies: look often.
		timer := time.NewTimer(min(left, 5*time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return morningai.ClaimReply{}, ctx.Err()
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (e *Reference) claimOnce(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, <-chan struct{}, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.ClaimReply{}, nil, err
	}
	defer e.mu.Unlock()
	m := e.sessions[req.Session]
	if m == nil {
		return morningai.ClaimReply{}, nil, morningai.ErrNotFound
	}
	m.seq++
	reply := morningai.ClaimReply{Seq: m.seq}
	for _, t := range e.sorted() {
		if t.Task.State == morningai.StateRunning && t.Session == req.Session && t.Task.CancelRequested && !t.cancelTold {
			t.cancelTold = true
			reply.Cancels = append(reply.Cancels, t.Task.ID)
		}
	}
	take := func(queue string, most int) {
		for _, t := range e.ready(queue, req.Types) {
			if most == 0 || len(reply.Grants) == req.N {
				return
			}
			if e.mayStart(t.Task.Queue) {
				reply.Grants = append(reply.Grants, e.grant(t, m))
				most--
			}
		}
	}
	for _, q := range req.Queues {
		take(q.Name, q.Share)
	}
	for _, q := range req.Queues {
		take(q.Name, -1)
	}
	if len(req.Queues) == 0 {
		take("", -1)
	}
	return reply, e.changed, nil
}

// sorted returns all entries in order of acceptance. Whoever adds one clears
// e.order.
func (e *Reference) sorted() []*entry {
	if len(e.order) == len(e.tasks) && e.order != nil {
		return e.order
	}
	e.order = make([]*entry, 0, len(e.tasks))
	for _, t := range e.tasks {
		e.order = append(e.order, t)
	}
	slices.SortFunc(e.order, func(a, b *entry) int {
		return cmp.Or(a.Task.CreatedAt.Compare(b.Task.CreatedAt), slices.Compare(a.Task.ID[:], b.Task.ID[:]))
	})
	return e.order
}

// ready returns what may be handed out, due tasks promoted, in the order of
// priority and acceptance.
func (e *Reference) ready(queue string, types []string) []*entry {
	now := e.setup.Now()
	var out []*entry
	for _, t := range e.sorted() {
		if !t.orphaned.IsZero() && now.Sub(t.orphaned) > orphanGrace {
			e.settle(t, t.attempt(t.Task.Attempt, t.Task.StartedAt, now), morningai.OutcomeLost, time.Time{})
		}
		if t.Task.State == morningai.StateScheduled && !t.Deleted && !t.Task.RunAt.After(now) {
			t.Task.State, t.Task.RunAt = morningai.StateQueued, time.Time{}
			e.touch(t, morningai.EventQueued)
		}
		if t.Task.State == morningai.StateQueued && !t.Deleted && (queue == "" || t.Task.Queue == queue) && slices.Contains(types, t.Task.Type) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b *entry) int { return cmp.Compare(a.Task.Priority, b.Task.Priority) })
	return out
}

// mayStart takes a start from the queue's limits if they allow one.
func (e *Reference) mayStart(queue string) bool {
	l := e.line(queue)
	running := 0
	for _, t := range e.tasks {
		if t.Task.Queue == queue && t.Task.State == morningai.StateRunning {
			running++
		}
	}
	if l.config.Paused || l.config.Concurrency > 0 && running >= l.config.Concurrency {
		return false
	}
	if l.config.Rate.IsZero() {
		return true
	}
	now := e.setup.Now()
	per := float64(l.config.Rate.Count) / float64(l.config.Rate.Per)
	l.tokens = min(float64(l.config.Rate.Count), l.tokens+per*float64(now.Sub(l.filled)))
	l.filled = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

func (e *Reference) grant(t *entry, m *member) morningai.Grant {
	now := e.setup.Now().UTC()
	t.Claim, t.Lease, t.Settled = t.Claim+1, int64(e.setup.Random()>>1)|1, ""
	t.Node, t.Session, t.grantSeq, t.cancelTold, t.orphaned = m.Node, m.ID, m.seq, false, time.Time{}
	t.Task.State, t.Task.RunAt, t.Task.StartedAt = morningai.StateRunning, time.Time{}, now
	t.Task.Attempt++
	t.Attempts = append(t.Attempts, morningai.Attempt{Number: t.Task.Attempt, Life: t.Task.Life, Node: m.Node, StartedAt: now})
	e.touch(t, morningai.EventStarted)
	return morningai.Grant{
		Task:  e.snapshot(t),
		Lease: morningai.Lease{ID: t.Task.ID, Claim: t.Claim, Lease: t.Lease},
		Steps: cloneMap(t.Steps), UniqueKey: t.UniqueKey, Retention: t.Retention, Fingerprint: t.Fingerprint,
	}
}

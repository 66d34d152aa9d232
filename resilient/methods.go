package resilient

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// answer is what an operation hands back.
type answer[T any] struct {
	value T
	err   error
}

// ask runs an operation of the core and waits for its answer, or for ctx.
// abandon, if not nil, tells the core that nobody waits any more.
func ask[T any](ctx context.Context, e *Engine, begin func(done func(T, error)), abandon func()) (T, error) {
	got := make(chan answer[T], 1)
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	if err := e.inbox.put(func() { begin(func(value T, err error) { got <- answer[T]{value, err} }) }); err != nil {
		return zero, err
	}
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		if abandon != nil {
			_ = e.inbox.put(abandon) // closed: nobody waits anyway
		}
		late := time.NewTimer(lastWords)
		defer late.Stop()
		select {
		case a := <-got: // it came meanwhile, or is what abandon has left
			if a.err != nil && ctx.Err() != nil {
				a.err = ctx.Err()
			}
			return a.value, a.err
		case <-late.C:
			return zero, ctx.Err()
		}
	case <-e.ctx.Done():
		select {
		case a := <-got:
			return a.value, a.err
		default:
			return zero, morningai.ErrClosed
		}
	}
}

// lastWords is how long a caller that leaves waits for what is under way.
const lastWords = 50 * time.Millisecond

// Capabilities implements [morningai.Engine].
func (e *Engine) Capabilities() morningai.Capabilities {
	c := e.remote.Capabilities()
	c.Durable = string(e.cfg.durability)
	return c
}

// idle is what a call says that has nothing to do.
func (e *Engine) idle(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.inbox.put(func() {})
}

// Enqueue implements [morningai.Engine]. A task is acknowledged when it is where
// its durability wants it; one that the shared engine did not take in time is
// acknowledged from the journal. If neither could confirm a task the error is an
// [morningai.ErrAcceptUnknown] that carries its id.
func (e *Engine) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	b := &batch{e: e, receipts: make([]morningai.Receipt, len(specs)), specs: make([]morningai.TaskSpec, len(specs)), fresh: make([]bool, len(specs))}
	var todo []int
	for i, s := range specs {
		b.fresh[i] = s.ID.IsZero() || s.FreshID()
		err := s.Normalize()
		if err == nil && e.cfg.prepare != nil {
			err = e.cfg.prepare(&s)
		}
		if b.specs[i] = s; err != nil {
			b.receipts[i].Err = err
			continue
		}
		todo = append(todo, i)
	}
	if len(todo) == 0 {
		if err := e.idle(ctx); err != nil {
			return nil, err
		}
	}
	b.sendAll(ctx, todo)
	if b.failed != nil && !b.accepted {
		return nil, b.failed
	}
	return b.receipts, nil
}

// Claim implements [morningai.Engine]: from the shared engine, or in an outage
// from what the journal owns.
func (e *Engine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	op := &claimOp{req: req, here: morningai.IsOnlyHere(ctx)}
	return ask(ctx, e, func(done func(morningai.ClaimReply, error)) {
		op.done = done
		e.core.claim(op)
	}, func() { e.core.abandonClaim(op) })
}

// Finish implements [morningai.Engine]. An outcome that the shared engine does
// not take is in the journal when Finish returns, and is delivered later.
func (e *Engine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if len(reports) == 0 {
		return nil, e.idle(ctx)
	}
	here := morningai.IsOnlyHere(ctx)
	return ask(ctx, e, func(done func([]morningai.Verdict, error)) {
		e.core.finish(&finishOp{here: here, reports: slices.Clone(reports), parts: parts[morningai.Verdict]{done: done}})
	}, nil)
}

// Checkpoint implements [morningai.Engine].
func (e *Engine) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if len(points) == 0 {
		return nil, e.idle(ctx)
	}
	here := morningai.IsOnlyHere(ctx)
	return ask(ctx, e, func(done func([]error, error)) {
		e.core.checkpoint(&checkpointOp{here: here, points: slices.Clone(points), parts: parts[error]{done: done}})
	}, nil)
}

// Beat implements [morningai.Engine]. In an outage it keeps the session alive
// in the journal alone.
func (e *Engine) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	here := morningai.IsOnlyHere(ctx)
	return ask(ctx, e, func(done func(morningai.BeatReply, error)) {
		e.core.beat(&beatOp{req: req, done: done}, here)
	}, nil)
}

// Reap implements [morningai.Engine].
func (e *Engine) Reap(ctx context.Context, observed []morningai.Observation) ([]morningai.SessionID, error) {
	if len(observed) == 0 {
		return nil, e.idle(ctx)
	}
	return ask(ctx, e, func(done func([]morningai.SessionID, error)) {
		e.core.reap(&reapOp{done: done}, slices.Clone(observed))
	}, nil)
}

// Command implements [morningai.Engine]. The task in the result is marked
// Pending if the shared engine has still to be told.
func (e *Engine) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	if len(cmds) == 0 {
		return nil, e.idle(ctx)
	}
	return ask(ctx, e, func(done func([]morningai.CommandResult, error)) {
		e.core.command(&commandOp{cmds: slices.Clone(cmds), done: done})
	}, nil)
}

// Get implements [morningai.Engine]. A task is missing only if no node can have
// it; if that cannot be known the error is a [morningai.ErrStatusUnknown].
func (e *Engine) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	if len(req.IDs) == 0 {
		return nil, e.idle(ctx)
	}
	here := morningai.IsOnlyHere(ctx)
	req.IDs = slices.Clone(req.IDs)
	return ask(ctx, e, func(done func([]morningai.Task, error)) {
		e.core.get(&getOp{req: req, here: here, done: done})
	}, nil)
}

// History implements [morningai.Engine].
func (e *Engine) History(ctx context.Context, id morningai.ID) (morningai.History, error) {
	here := morningai.IsOnlyHere(ctx)
	return ask(ctx, e, func(done func(morningai.History, error)) { e.core.history(&historyOp{id: id, done: done}, here) }, nil)
}

// List implements [morningai.Engine]. In an outage it answers with the page as
// it was last shown and what this node owns, or with an
// [morningai.ErrStatusUnknown].
func (e *Engine) List(ctx context.Context, filter morningai.Filter) (morningai.Page, error) {
	return ask(ctx, e, func(done func(morningai.Page, error)) { e.core.list(&listOp{filter: filter, done: done}) }, nil)
}

// Stats implements [morningai.Engine]. In an outage it answers with the counts as
// they were last known, or with an [morningai.ErrStatusUnknown].
func (e *Engine) Stats(ctx context.Context) (morningai.Stats, error) {
	return ask(ctx, e, func(done func(morningai.Stats, error)) { e.core.stats(&statsOp{done: done}) }, nil)
}

// Events implements [morningai.Engine]: those of the shared engine and of what
// the journal owns.
func (e *Engine) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	op := &eventsOp{req: req}
	return ask(ctx, e, func(done func(morningai.EventsPage, error)) {
		op.done = done
		e.core.events(op)
	}, func() { op.abandon() })
}

// SetQueue implements [morningai.Engine]. In an outage the change holds on this
// node, and the result is marked Pending.
func (e *Engine) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	return ask(ctx, e, func(done func(morningai.QueueConfig, error)) {
		e.core.setQueue(&setQueueOp{name: name, change: change, done: done})
	}, nil)
}

// Export implements [morningai.Engine]: the records of the shared engine.
func (e *Engine) Export(ctx context.Context, cursor string, limit int) (morningai.ExportPage, error) {
	return e.remote.Export(ctx, cursor, limit)
}

// Import implements [morningai.Engine]: into the shared engine.
func (e *Engine) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	results, err := e.remote.Import(ctx, records)
	if err != nil {
		return nil, err
	}
	var gone []morningai.NoteKey
	for i := range results {
		if id := records[i].Task.ID; records[i].Deleted && results[i].Err == nil {
			gone = append(gone, keyOf(noteTask, id), keyOf(noteOwn, id), keyOf(noteOutcome, id))
		}
	}
	if len(gone) > 0 {
		err = e.journal.Erase(ctx, gone)
	}
	return results, err
}

// Probe implements [morningai.Engine]: it tells whether a task would be accepted
// now, which it is in an outage too as long as the journal takes it.
func (e *Engine) Probe(ctx context.Context) error {
	_, err := ask(ctx, e, func(done func(struct{}, error)) {
		c := e.core
		if err := c.refusing(); err != nil {
			c.reply(func() { done(struct{}{}, err) })
			return
		}
		c.write("probe the journal", c.journal.Probe, func(err error) { c.reply(func() { done(struct{}{}, err) }) })
	}, nil)
	return err
}

// Forget implements [morningai.Fleet].
func (e *Engine) Forget(ctx context.Context, journal morningai.ID) error {
	_, err := ask(ctx, e, func(done func(struct{}, error)) { e.core.forgetMember(&forgetOp{id: journal, done: done}) }, nil)
	return err
}

// Status implements [morningai.Fleet].
func (e *Engine) Status(context.Context) (morningai.FleetStatus, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.core
	s := morningai.FleetStatus{Contact: c.contact.state, Since: c.contact.since.UTC(), Backlog: c.backlog.undelivered(),
		Journal: c.disk.info, JournalLimit: c.cfg.limit, TombstonesSince: c.tombstonesSince(), Refusing: c.refusing(), Unprotected: slices.Clone(c.alone)}
	s.Journal.ID = c.cfg.member
	s.Cause, s.Hint = reason(c.cause())
	if c.partly() {
		s.Away, s.Since = slices.Clone(c.apart.away), c.apart.began.UTC()
	}
	return s, nil
}

// SetLimits replaces what [WithLimits] has set. A journal that is full by the old
// ones, or by the new ones, is looked at again within a second.
func (e *Engine) SetLimits(size, free int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.core.cfg.limit, e.core.cfg.minFree = size, free
}

// ProbeShared implements [morningai.Fleet].
func (e *Engine) ProbeShared(ctx context.Context) error {
	if err := e.remote.Probe(ctx); err != nil {
		return err
	}
	now := e.remote.Capabilities()
	return (&partsAway{of: now.Parts, away: now.Away}).cause()
}

// Incidents implements [morningai.Fleet].
func (e *Engine) Incidents(ctx context.Context) ([]morningai.Incident, error) {
	return ask(ctx, e, func(done func([]morningai.Incident, error)) {
		c := e.core
		onJournal(c, "incidents", c.readIncidents, func(all []morningai.Incident, err error) {
			all = c.incidents.with(all, c.backlog.undelivered())
			c.reply(func() { done(all, err) })
		})
	}, nil)
}

func (c *core) readIncidents(ctx context.Context) ([]morningai.Incident, error) {
	return Incidents(ctx, c.journal)
}

// with puts the report that still changes in its place.
func (i *incidents) with(all []morningai.Incident, backlog int64) []morningai.Incident {
	if i.current.ID.IsZero() {
		return all
	}
	now := i.current
	now.RepeatedIDs, now.SetAsideIDs, now.LostIDs = slices.Clone(now.RepeatedIDs), slices.Clone(now.SetAsideIDs), slices.Clone(now.LostIDs)
	now.Backlog = backlog
	for k := range all {
		if all[k].ID == now.ID {
			all[k] = now
			return all
		}
	}
	return append([]morningai.Incident{now}, all...)
}

// Members implements [morningai.Fleet].
func (e *Engine) Members(context.Context) ([]morningai.Member, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.core
	members := slices.Clone(c.members)
	if !slices.ContainsFunc(members, func(m morningai.Member) bool { return m.Journal == c.cfg.member }) {
		members = append(members, *c.member(morningai.SessionID{}))
	}
	for i := range members {
		if members[i].Journal == c.cfg.member {
			members[i].Backlog, members[i].Connected = c.backlog.undelivered(), !c.contact.open()
		}
	}
	return members, nil
}

// Undelivered implements [morningai.Fleet].
func (e *Engine) Undelivered(context.Context) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.backlog.undelivered(), nil
}

package sim

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
	"github.com/RC918/morningai/internal/drill"
)

// Shared is a model of the engine that nodes share: the reference engine, which
// can lose data. Like the real one it judges no session by a clock.
type Shared struct {
	setup  enginetest.Setup
	ref    *enginetest.Reference
	random *rand.Rand
	set    dataSet
}

// NewShared makes an empty one whose clock and randomness come from outside.
func NewShared(now func() time.Time, random *rand.Rand) *Shared {
	s := &Shared{random: random, setup: enginetest.Setup{Name: "redis", Durable: "redis", Now: now, Random: random.Uint64}}
	s.ref = enginetest.NewReference(s.setup)
	return s
}

// Link is the shared engine as one node reaches it. Its calls never wait: one
// that would have to is marked, so that whoever made it tries again.
type Link struct {
	*enginetest.Reference // Events, Export, History
	node                  string
	rec                   *recorder
	shared                *Shared
	now                   func() time.Time // by the node's clock
	known                 morningai.DataSet
	acked                 int64 // number of the last write that was answered
	last                  int64 // number of the last write, and of which lineage
	lineage               uint64
	refuse                error          // what writes are answered with
	waiting               time.Duration  // the last call would have waited for so long
	changed               bool           // the last call has changed something
	taken                 []morningai.ID // what the last call has put into the shared engine that was not there
}

// Link makes the way of one node to the shared engine.
func (s *Shared) Link(node string) *Link {
	return &Link{Reference: s.ref, node: node, shared: s, now: s.setup.Now}
}

// Refuse lets all writes be answered with an error; nil ends it.
func (l *Link) Refuse(err error) { l.refuse = err }

// write is called first by all that writes.
func (l *Link) write() error {
	l.changed = l.refuse == nil
	if l.refuse == nil {
		l.compare()
		l.number()
	}
	return l.refuse
}

func (l *Link) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	out, err := l.Reference.Enqueue(ctx, specs)
	for i := range out {
		r := &out[i]
		l.rec.tell(l.node, "enqueue of %v: %v %s existing %v duplicate %v%s", specs[i].ID, r.Task.ID, r.Task.State, r.Existing, r.Task.Duplicate, failure(r.Err))
		if r.Err == nil && !r.Task.Duplicate {
			l.rec.applied(l.node, r.Task.ID)
		}
	}
	return out, err
}

func (l *Link) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	if l.refuse == nil && (l.compare() || !req.Known.ID.IsZero() && !req.Known.Same(l.known)) {
		return morningai.ClaimReply{}, errDataLost // nothing is handed out before it is repaired
	}
	if err := l.write(); err != nil {
		return morningai.ClaimReply{}, err
	}
	wait := req.Wait
	req.Wait = 0
	out, err := l.Reference.Claim(ctx, req)
	if err == nil && len(out.Grants)+len(out.Cancels) == 0 {
		l.waiting = wait
	}
	l.changed = len(out.Grants) > 0
	l.rec.granted(l.node, out.Grants)
	return out, err
}

func (l *Link) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	out, err := l.Reference.Finish(ctx, reports)
	for i := range out {
		l.rec.finished(l.node, &reports[i], out[i])
	}
	return out, err
}

func (l *Link) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	return l.Reference.Checkpoint(ctx, points)
}

func (l *Link) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if err := l.write(); err != nil {
		return morningai.BeatReply{}, err
	}
	l.rec.joined(l.node, req.Session, req.LeaseTime)
	return l.Reference.Beat(ctx, req)
}

func (l *Link) Reap(ctx context.Context, observed []morningai.Observation) ([]morningai.SessionID, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	out, err := l.Reference.Reap(ctx, observed)
	l.rec.reaped(l.node, out)
	return out, err
}

func (l *Link) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	return l.Reference.Command(ctx, cmds)
}

func (l *Link) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	if err := l.write(); err != nil {
		return morningai.QueueConfig{}, err
	}
	q, err := l.Reference.SetQueue(ctx, name, change)
	l.rec.tell(l.node, "queue %s is now paused %v concurrency %d version %d", name, q.Paused, q.Concurrency, q.Version)
	return q, err
}

func (l *Link) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	out, err := l.Reference.Import(ctx, records)
	for i := range out {
		l.rec.tell(l.node, "import of %v as %s: %s, %s%s", records[i].Task.ID, records[i].Task.State, out[i].Status, out[i].Task.State, failure(out[i].Err))
		if out[i].Err == nil {
			l.rec.applied(l.node, records[i].Task.ID)
		}
		if out[i].Status == morningai.ImportAdded {
			l.taken = append(l.taken, records[i].Task.ID)
		}
	}
	return out, err
}

// Get looks, like the real one, whether data were lost if a task is not there. So do
// List and Stats.
func (l *Link) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	out, err := l.Reference.Get(ctx, req)
	if err == nil && slices.ContainsFunc(out, func(t morningai.Task) bool { return t.ID.IsZero() }) {
		l.compare()
	}
	return out, err
}

func (l *Link) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	l.compare()
	return l.Reference.List(ctx, f)
}

func (l *Link) Stats(ctx context.Context) (morningai.Stats, error) {
	l.compare()
	return l.Reference.Stats(ctx)
}

func (l *Link) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	wait := req.Wait
	req.Wait = 0
	out, err := l.Reference.Events(ctx, req)
	if err == nil && len(out.Events) == 0 {
		l.waiting = wait
	}
	return out, err
}

func (l *Link) Probe(ctx context.Context) error {
	if err := l.write(); err != nil {
		return err
	}
	return l.Reference.Probe(ctx)
}

// Close ends the node's use of the shared engine, which goes on.
func (l *Link) Close() error { return nil }

// recorder puts what the stores decide into the history. Its methods do nothing
// if there is none.
type recorder struct {
	h        *drill.History
	sessions map[morningai.SessionID]sessionOf
	trace    func(who, format string, args ...any)
}

type sessionOf struct {
	node  string
	lease time.Duration
}

func (r *recorder) tell(node, format string, args ...any) {
	if r != nil {
		r.trace(node, format, args...)
	}
}

func (r *recorder) applied(node string, id morningai.ID) {
	if r != nil {
		r.h.Add(drill.Op{Node: node, Kind: drill.Applied, Task: id})
	}
}

func (r *recorder) synced(node string, id morningai.ID) {
	if r != nil {
		r.h.Add(drill.Op{Node: node, Kind: drill.Synced, Task: id})
	}
}

func (r *recorder) granted(node string, grants []morningai.Grant) {
	if r == nil {
		return
	}
	for i := range grants {
		g := &grants[i]
		r.h.Add(drill.Op{Node: node, Kind: drill.Grant, Task: g.Task.ID, Life: g.Task.Life, Claim: g.Lease.Claim, Lease: g.Lease.Lease, Attempt: int64(g.Task.Attempt)})
		r.trace(node, "is granted %v claim %d attempt %d", g.Task.ID, g.Lease.Claim, g.Task.Attempt)
	}
}

func (r *recorder) finished(node string, report *morningai.Report, v morningai.Verdict) {
	if r == nil {
		return
	}
	r.trace(node, "outcome %s of %v claim %d: %s %v", report.Outcome, report.Lease.ID, report.Lease.Claim, v.State, v.Err)
	op := drill.Op{Node: node, Kind: drill.Finish, Task: report.Lease.ID, Claim: report.Lease.Claim, Lease: report.Lease.Lease,
		Attempt: int64(report.Attempt), Ended: report.Outcome}
	op.Outcome, op.Code = drill.Judge(v.Err)
	if op.Code == morningai.CodeNotFound {
		return // that one store does not know a task says nothing of the fleet
	}
	r.h.Add(op)
}

func (r *recorder) joined(node string, id morningai.SessionID, lease time.Duration) {
	if r == nil {
		return
	}
	r.sessions[id] = sessionOf{node, lease}
}

func (r *recorder) reaped(by string, sessions []morningai.SessionID) {
	if r == nil {
		return
	}
	for _, id := range sessions {
		s := r.sessions[id]
		r.h.Add(drill.Op{Node: s.node, Client: by, Kind: drill.Reap, Key: sessionKey(id), Span: s.lease})
		r.trace(by, "declares the session %s of %s dead", sessionKey(id), s.node)
	}
}

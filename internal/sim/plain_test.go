package sim

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// plain is a node without any resilience: each of its calls is one of the
// shared engine's, and what that says is the answer.
type plain struct {
	shared morningai.Engine
	out    []Effect
	waits  int64
}

func openPlain(env Env) Node { return &plain{shared: env.Shared} }

func (p *plain) Step(_ time.Time, event func()) []Effect {
	event()
	out := p.out
	p.out = nil
	return out
}

func (p *plain) Wake() time.Time { return time.Time{} }
func (p *plain) Open() bool      { return false }

func pass[T any](p *plain, name string, waits bool, run func(context.Context) (T, error), done func(T, error)) {
	e := Effect{To: ToShared, Name: name, Run: func(ctx context.Context) (any, error) { return run(ctx) },
		Then: func(result any, err error) {
			value, _ := result.(T)
			p.out = append(p.out, Effect{To: ToReply, Run: func(context.Context) (any, error) {
				done(value, err)
				return nil, nil
			}})
		}}
	if waits {
		p.waits++
		e.Waits = p.waits
	} else {
		e.Limit = 900 * time.Millisecond
	}
	p.out = append(p.out, e)
}

func (p *plain) Enqueue(specs []morningai.TaskSpec, done func([]morningai.Receipt, error)) {
	pass(p, "enqueue", false, func(ctx context.Context) ([]morningai.Receipt, error) { return p.shared.Enqueue(ctx, specs) }, done)
}

func (p *plain) Claim(req morningai.ClaimRequest, done func(morningai.ClaimReply, error)) {
	pass(p, "claim", req.Wait > 0, func(ctx context.Context) (morningai.ClaimReply, error) { return p.shared.Claim(ctx, req) }, done)
}

func (p *plain) Finish(reports []morningai.Report, done func([]morningai.Verdict, error)) {
	pass(p, "finish", false, func(ctx context.Context) ([]morningai.Verdict, error) { return p.shared.Finish(ctx, reports) }, done)
}

func (p *plain) Checkpoint(points []morningai.Checkpoint, done func([]error, error)) {
	pass(p, "checkpoint", false, func(ctx context.Context) ([]error, error) { return p.shared.Checkpoint(ctx, points) }, done)
}

func (p *plain) Beat(req morningai.BeatRequest, done func(morningai.BeatReply, error)) {
	pass(p, "beat", false, func(ctx context.Context) (morningai.BeatReply, error) { return p.shared.Beat(ctx, req) }, done)
}

func (p *plain) Reap(observed []morningai.Observation, done func([]morningai.SessionID, error)) {
	pass(p, "reap", false, func(ctx context.Context) ([]morningai.SessionID, error) { return p.shared.Reap(ctx, observed) }, done)
}

func (p *plain) Command(cmds []morningai.Command, done func([]morningai.CommandResult, error)) {
	pass(p, "command", false, func(ctx context.Context) ([]morningai.CommandResult, error) { return p.shared.Command(ctx, cmds) }, done)
}

func (p *plain) Get(req morningai.GetRequest, _ bool, done func([]morningai.Task, error)) {
	pass(p, "get", false, func(ctx context.Context) ([]morningai.Task, error) { return p.shared.Get(ctx, req) }, done)
}

func (p *plain) List(filter morningai.Filter, done func(morningai.Page, error)) {
	pass(p, "list", false, func(ctx context.Context) (morningai.Page, error) { return p.shared.List(ctx, filter) }, done)
}

func (p *plain) Stats(done func(morningai.Stats, error)) {
	pass(p, "stats", false, p.shared.Stats, done)
}

func (p *plain) SetQueue(name string, change morningai.QueueChange, done func(morningai.QueueConfig, error)) {
	pass(p, "set queue", false, func(ctx context.Context) (morningai.QueueConfig, error) { return p.shared.SetQueue(ctx, name, change) }, done)
}

func (p *plain) Status(done func(morningai.FleetStatus, error)) {
	done(morningai.FleetStatus{Contact: morningai.ContactUp}, nil)
}

func (p *plain) Incidents(done func([]morningai.Incident, error)) { done(nil, nil) }

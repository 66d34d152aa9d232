package morningaitest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// gatedEngine hands out tasks only while work is called, knows when nothing is
// left to run, and translates times into the kit's.
type gatedEngine struct {
	morningai.Engine
	clock *clock

	mu      sync.Mutex
	idle    chan struct{} // closed when the present work is through; nil: the gate is closed
	running map[morningai.Lease]struct{}
	grants  int
	moves   int           // calls that may have made a task ready
	moved   chan struct{} // closed by the next of them
}

func newGatedEngine(inner morningai.Engine, c *clock) *gatedEngine {
	return &gatedEngine{Engine: inner, clock: c, running: map[morningai.Lease]struct{}{}, moved: make(chan struct{})}
}

// work opens the gate until nothing is ready or running, or ctx ends.
func (e *gatedEngine) work(ctx context.Context) (attempts int, err error) {
	idle := make(chan struct{})
	e.mu.Lock()
	before := e.grants
	e.idle = idle
	e.mu.Unlock()
	e.changed()
	select {
	case <-idle:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.idle == idle {
		e.idle = nil
	}
	return e.grants - before, err
}

// changed wakes a claim that waits.
func (e *gatedEngine) changed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.moves++
	close(e.moved)
	e.moved = make(chan struct{})
}

// lookAgain is how often a claim looks for what no call announces: a task that
// the engine makes ready because its time has come.
const lookAgain = 5 * time.Millisecond

// Claim asks the engine without waiting there, so that it can tell when nothing
// is left.
func (e *gatedEngine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	over := time.NewTimer(req.Wait)
	defer over.Stop()
	quiet := -1 // moves when last no time had come that the engine had yet to notice
	for {
		e.mu.Lock()
		open, moves, moved := e.idle != nil, e.moves, e.moved
		e.mu.Unlock()
		var again <-chan time.Time
		if open {
			now := req
			now.Wait = 0
			reply, err := e.Engine.Claim(ctx, now)
			if err != nil || len(reply.Grants) > 0 || len(reply.Cancels) > 0 {
				e.granted(reply.Grants)
				return reply, err
			}
			if req.N > 0 && quiet == moves {
				e.closeIfIdle(moves)
			} else if req.N > 0 {
				settled, err := e.settled(ctx)
				if err != nil {
					return morningai.ClaimReply{}, err
				}
				if settled {
					quiet = moves
					continue // what became ready meanwhile is seen by another claim
				}
			}
			again = time.After(lookAgain)
		}
		select {
		case <-moved:
		case <-again:
		case <-over.C:
			return morningai.ClaimReply{}, nil
		case <-ctx.Done():
			return morningai.ClaimReply{}, ctx.Err()
		}
	}
}

func (e *gatedEngine) granted(grants []morningai.Grant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range grants {
		e.running[g.Lease] = struct{}{}
	}
	e.grants += len(grants)
}

// closeIfIdle ends the present work if nothing runs and nothing has happened
// since moves was read; the caller's claim has found nothing since.
func (e *gatedEngine) closeIfIdle(moves int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.idle != nil && e.moves == moves && len(e.running) == 0 {
		close(e.idle)
		e.idle = nil
	}
}

// settled reports whether the engine has noticed every time that has come: no
// scheduled task is due, and those that were can be claimed.
func (e *gatedEngine) settled(ctx context.Context) (bool, error) {
	filter := morningai.Filter{State: morningai.StateScheduled, Limit: morningai.MaxBatch}
	for {
		page, err := e.List(ctx, filter)
		if err != nil {
			return false, err
		}
		now := e.clock.read()
		if slices.ContainsFunc(page.Tasks, func(t morningai.Task) bool { return !t.RunAt.After(now) }) {
			return false, nil
		}
		if page.Next == "" {
			// The list may show a write that claims do not see yet; another
			// write goes through behind it.
			return true, e.Probe(ctx)
		}
		filter.Cursor = page.Next
	}
}

// Enqueue counts due times from the moment of the call.
func (e *gatedEngine) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	defer e.changed()
	specs = slices.Clone(specs)
	for i := range specs {
		specs[i].RunAt = e.clock.translate(specs[i].RunAt)
	}
	return e.Engine.Enqueue(ctx, specs)
}

// Finish counts due times from the moment of the call; an attempt takes no time
// by the kit's clock.
func (e *gatedEngine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	defer e.changed()
	mapped := slices.Clone(reports)
	for i := range mapped {
		r := &mapped[i]
		r.RunAt = e.clock.translate(r.RunAt)
		r.StartedAt, r.FinishedAt = e.clock.read(), e.clock.read()
	}
	verdicts, err := e.Engine.Finish(ctx, mapped)
	if err != nil {
		return verdicts, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range reports {
		delete(e.running, r.Lease)
	}
	return verdicts, nil
}

func (e *gatedEngine) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	points = slices.Clone(points)
	for i := range points {
		if points[i].Kind == morningai.CheckpointLog {
			points[i].Line.At = e.clock.read()
		}
	}
	return e.Engine.Checkpoint(ctx, points)
}

func (e *gatedEngine) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	defer e.changed()
	return e.Engine.Command(ctx, cmds)
}

func (e *gatedEngine) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	defer e.changed()
	return e.Engine.SetQueue(ctx, name, change)
}

func (e *gatedEngine) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	defer e.changed()
	return e.Engine.Import(ctx, records)
}

package enginetest

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// mutant is a bug that an engine could have, and the checks that must notice it.
type mutant struct {
	plant     func(e *Reference) morningai.Engine
	noticedBy []string
	hangs     bool // a call does not come back
}

// twisted is the reference with some methods replaced.
type twisted struct {
	*Reference
	enqueue    func(context.Context, []morningai.TaskSpec) ([]morningai.Receipt, error)
	claim      func(context.Context, morningai.ClaimRequest) (morningai.ClaimReply, error)
	finish     func(context.Context, []morningai.Report) ([]morningai.Verdict, error)
	checkpoint func(context.Context, []morningai.Checkpoint) ([]error, error)
	beat       func(context.Context, morningai.BeatRequest) (morningai.BeatReply, error)
	reap       func(context.Context, []morningai.Observation) ([]morningai.SessionID, error)
	command    func(context.Context, []morningai.Command) ([]morningai.CommandResult, error)
	get        func(context.Context, morningai.GetRequest) ([]morningai.Task, error)
	list       func(context.Context, morningai.Filter) (morningai.Page, error)
	stats      func(context.Context) (morningai.Stats, error)
	events     func(context.Context, morningai.EventsRequest) (morningai.EventsPage, error)
	setQueue   func(context.Context, string, morningai.QueueChange) (morningai.QueueConfig, error)
	imports    func(context.Context, []morningai.Record) ([]morningai.ImportResult, error)
	close      func() error
}

func twist(e *Reference, change func(t *twisted)) morningai.Engine {
	t := &twisted{
		Reference: e, enqueue: e.Enqueue, claim: e.Claim, finish: e.Finish, checkpoint: e.Checkpoint, beat: e.Beat, reap: e.Reap,
		command: e.Command, get: e.Get, list: e.List, stats: e.Stats, events: e.Events, setQueue: e.SetQueue, imports: e.Import, close: e.Close,
	}
	change(t)
	return t
}

func (t *twisted) Enqueue(ctx context.Context, s []morningai.TaskSpec) ([]morningai.Receipt, error) {
	return t.enqueue(ctx, s)
}
func (t *twisted) Claim(ctx context.Context, r morningai.ClaimRequest) (morningai.ClaimReply, error) {
	return t.claim(ctx, r)
}
func (t *twisted) Finish(ctx context.Context, r []morningai.Report) ([]morningai.Verdict, error) {
	return t.finish(ctx, r)
}
func (t *twisted) Checkpoint(ctx context.Context, p []morningai.Checkpoint) ([]error, error) {
	return t.checkpoint(ctx, p)
}
func (t *twisted) Beat(ctx context.Context, r morningai.BeatRequest) (morningai.BeatReply, error) {
	return t.beat(ctx, r)
}
func (t *twisted) Reap(ctx context.Context, o []morningai.Observation) ([]morningai.SessionID, error) {
	return t.reap(ctx, o)
}
func (t *twisted) Command(ctx context.Context, c []morningai.Command) ([]morningai.CommandResult, error) {
	return t.command(ctx, c)
}
func (t *twisted) Get(ctx context.Context, r morningai.GetRequest) ([]morningai.Task, error) {
	return t.get(ctx, r)
}
func (t *twisted) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	return t.list(ctx, f)
}
func (t *twisted) Stats(ctx context.Context) (morningai.Stats, error) { return t.stats(ctx) }
func (t *twisted) Events(ctx context.Context, r morningai.EventsRequest) (morningai.EventsPage, error) {
	return t.events(ctx, r)
}
func (t *twisted) SetQueue(ctx context.Context, n string, c morningai.QueueChange) (morningai.QueueConfig, error) {
	return t.setQueue(ctx, n, c)
}
func (t *twisted) Import(ctx context.Context, r []morningai.Record) ([]morningai.ImportResult, error) {
	return t.imports(ctx, r)
}
func (t *twisted) Close() error { return t.close() }

const (
	model  = "Model/random sequences of operations do what the reference does"
	stormy = "Stress/the history of many clients at once keeps the invariants"
)

var hanging = map[string]bool{"nothing wakes a waiting claim": true, "close does not end a wait": true}

func mutants() map[string]mutant {
	out := map[string]mutant{}
	add := func(name string, change func(e *Reference, t *twisted), noticedBy ...string) {
		out[name] = mutant{func(e *Reference) morningai.Engine { return twist(e, func(t *twisted) { change(e, t) }) }, noticedBy, hanging[name]}
	}
	add("finish ignores the fence", func(e *Reference, t *twisted) {
		t.finish = func(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
			reports = slices.Clone(reports)
			e.mu.Lock()
			for i := range reports {
				if task := e.tasks[reports[i].Lease.ID]; task != nil && task.Task.State == morningai.StateRunning {
					reports[i].Lease.Claim, reports[i].Lease.Lease = task.Claim, task.Lease
				}
			}
			e.mu.Unlock()
			return e.Finish(ctx, reports)
		}
	}, "Fence/an outcome of a superseded claim is stale, whatever came after", "Fence/the right claim with the wrong lease is stale", model)
	add("an old claim is accepted after the session was reaped", func(e *Reference, t *twisted) {
		t.reap = func(ctx context.Context, o []morningai.Observation) ([]morningai.SessionID, error) {
			got, err := e.Reap(ctx, o)
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, task := range e.tasks {
				if task.Settled == morningai.OutcomeLost {
					task.Settled = ""
				}
			}
			return got, err
		}
	}, "Fence/an outcome after the session was reaped is stale")
	add("repeats of an outcome are refused", func(e *Reference, t *twisted) {
		seen := map[morningai.Lease]bool{}
		var mu sync.Mutex
		t.finish = func(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
			got, err := e.Finish(ctx, reports)
			mu.Lock()
			defer mu.Unlock()
			for i := range got {
				if seen[reports[i].Lease] {
					got[i] = morningai.Verdict{Err: morningai.ErrStale}
				}
				seen[reports[i].Lease] = true
			}
			return got, err
		}
	}, "Finish/outcome succeeded", "Finish/outcome retry", model)
	add("a larger claim is refused", func(e *Reference, t *twisted) {
		t.finish = func(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
			for _, r := range reports {
				e.mu.Lock()
				task := e.tasks[r.Lease.ID]
				ahead := task != nil && task.Claim < r.Lease.Claim
				e.mu.Unlock()
				if ahead {
					return slices.Repeat([]morningai.Verdict{{Err: morningai.ErrStale}}, len(reports)), nil
				}
			}
			return e.Finish(ctx, reports)
		}
	}, "Fence/a larger claim is accepted while the task has not ended")
	add("a requested cancel is forgotten", func(e *Reference, t *twisted) {
		t.finish = func(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
			e.mu.Lock()
			for _, r := range reports {
				if task := e.tasks[r.Lease.ID]; task != nil {
					task.Task.CancelRequested = false
				}
			}
			e.mu.Unlock()
			return e.Finish(ctx, reports)
		}
	}, "Finish/cancel requested, then succeeded: canceled, the result kept", model)
	add("enqueue is not idempotent", func(e *Reference, t *twisted) {
		t.enqueue = func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			specs = slices.Clone(specs)
			for i := range specs {
				e.mu.Lock()
				if e.tasks[specs[i].ID] != nil {
					specs[i].ID = morningai.ID{}
				}
				e.mu.Unlock()
			}
			return e.Enqueue(ctx, specs)
		}
	}, "Enqueue/a known id and the same request returns the stored task", "Enqueue/one id sent by many at once becomes one task", model)
	add("unique keys are ignored", func(e *Reference, t *twisted) {
		t.enqueue = func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			specs = slices.Clone(specs)
			for i := range specs {
				specs[i].UniqueKey = ""
			}
			return e.Enqueue(ctx, specs)
		}
	}, "UniqueKey/a live key returns its holder, marked duplicate", "UniqueKey/of many at once exactly one takes the key", model)
	add("numbers pass through floating point", func(e *Reference, t *twisted) {
		t.enqueue = func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			specs = slices.Clone(specs)
			for i := range specs {
				var v any
				if json.Unmarshal(specs[i].Payload, &v) == nil {
					if round, err := json.Marshal(v); err == nil {
						specs[i].Payload = round
					}
				}
			}
			return e.Enqueue(ctx, specs)
		}
	}, "Enqueue/payload comes back digit for digit")
	add("the last task before a close is lost", func(e *Reference, t *twisted) {
		t.close = func() error {
			err := e.Close()
			e.mu.Lock()
			defer e.mu.Unlock()
			if all := e.sorted(); len(all) > 0 {
				delete(e.tasks, all[len(all)-1].Task.ID)
			}
			return err
		}
	}, "Lifecycle/close finishes the writes under way or refuses them", "Enqueue/a repeat after a reopen is a repeat")
	claimMutants(add)
	readMutants(add)
	memberMutants(add)
	return out
}

type adder func(name string, change func(e *Reference, t *twisted), noticedBy ...string)

func claimMutants(add adder) {
	add("a task is handed out twice", func(e *Reference, t *twisted) {
		var mu sync.Mutex
		var last []morningai.Grant
		t.claim = func(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
			reply, err := e.Claim(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if len(last) > 0 && req.N > 0 {
				reply.Grants = append(reply.Grants, last[0])
				last = nil
			} else if len(reply.Grants) > 0 {
				last = reply.Grants[:1]
			}
			return reply, err
		}
	}, "Claim/concurrent claimers get every task once", "Claim/a grant carries the running task and its lease", model, stormy)
	add("grants come newest first", func(e *Reference, t *twisted) {
		t.claim = func(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
			reply, err := e.Claim(ctx, req)
			slices.Reverse(reply.Grants)
			return reply, err
		}
	}, "Claim/lowest priority number first, then order of acceptance", model)
	add("nothing wakes a waiting claim", func(e *Reference, t *twisted) {
		t.claim = func(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
			wait := req.Wait
			req.Wait = 0
			reply, err := e.Claim(ctx, req)
			if err != nil || wait == 0 || len(reply.Grants)+len(reply.Cancels) > 0 {
				return reply, err
			}
			select {
			case <-ctx.Done():
				return reply, ctx.Err()
			case <-time.After(wait):
			}
			return e.Claim(ctx, req)
		}
	}, "Wait/an enqueue wakes a waiting claim", "Wait/a cancel command reaches a waiting session at once")
	add("pause and limits are ignored", func(e *Reference, t *twisted) {
		t.claim = func(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
			e.mu.Lock()
			kept := map[string]morningai.QueueConfig{}
			for name, l := range e.lines {
				kept[name], l.config = l.config, morningai.QueueConfig{Name: name}
			}
			e.mu.Unlock()
			req.Wait = 0
			reply, err := e.Claim(ctx, req)
			e.mu.Lock()
			defer e.mu.Unlock()
			for name, c := range kept {
				e.lines[name].config = c
			}
			return reply, err
		}
	}, "Limits/a paused queue is passed over, the others are not", "Limits/concurrency bounds what runs at once, over all sessions",
		"Limits/a rate lets a burst of its count through, and no more", model)
	add("grants of lost replies never come back", func(e *Reference, t *twisted) {
		t.beat = func(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
			req.Through = 0
			return e.Beat(ctx, req)
		}
	}, "Claim/a grant whose reply was lost is recovered by the beat", "Beat/grants of replies not yet seen are left alone", model)
	add("a beat takes back grants that are still on their way", func(e *Reference, t *twisted) {
		t.beat = func(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
			req.Through = 1 << 40
			return e.Beat(ctx, req)
		}
	}, "Claim/a grant whose reply was lost is recovered by the beat", "Beat/a beat repeated is a beat")
	add("an alive session is reaped", func(e *Reference, t *twisted) {
		t.reap = func(ctx context.Context, o []morningai.Observation) ([]morningai.SessionID, error) {
			o = slices.Clone(o)
			e.mu.Lock()
			for i := range o {
				if m := e.sessions[o[i].Session]; m != nil {
					o[i].Counter = m.Counter
				}
			}
			e.mu.Unlock()
			return e.Reap(ctx, o)
		}
	}, "Reap/a session whose counter has moved is not reaped")
	add("the last result of a step wins", func(e *Reference, t *twisted) {
		t.checkpoint = func(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
			e.mu.Lock()
			for _, p := range points {
				if task := e.tasks[p.Lease.ID]; task != nil && p.Kind == morningai.CheckpointStep {
					delete(task.Steps, p.Name)
				}
			}
			e.mu.Unlock()
			return e.Checkpoint(ctx, points)
		}
	}, "Checkpoint/the first result of a step stays", model)
}

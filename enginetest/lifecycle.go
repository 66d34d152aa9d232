package enginetest

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

func lifecycleChecks() []check {
	return []check{
		{"probe writes", lifecycleProbe},
		{"after close every method says so", lifecycleClosed},
		{"close may be called more than once, and at once", lifecycleCloseTwice},
		{"close finishes the writes under way or refuses them", lifecycleCloseBusy},
		{"a cancelled context is the answer of every method, and harms nothing", lifecycleCancelled},
		{"every write repeated as it was leads to the same state", lifecycleRepeat},
	}
}

// calls is every method, with arguments that it would act on.
func calls(r *rig, g morningai.Grant) map[string]func(ctx context.Context, e morningai.Engine) error {
	s := spec(7)
	s.ID = r.id()
	session := newSession()
	return map[string]func(ctx context.Context, e morningai.Engine) error{
		"Enqueue": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Enqueue(ctx, []morningai.TaskSpec{s})
			return err
		},
		"Claim": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"nothing"}, N: 1, Wait: time.Hour})
			return err
		},
		"Finish": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Finish(ctx, []morningai.Report{report(g, morningai.OutcomeSucceeded)})
			return err
		},
		"Checkpoint": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Checkpoint(ctx, []morningai.Checkpoint{{Lease: g.Lease, Kind: morningai.CheckpointProgress, Data: json.RawMessage(`1`)}})
			return err
		},
		"Beat": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Beat(ctx, morningai.BeatRequest{Session: session, Node: "n", LeaseTime: time.Second})
			return err
		},
		"Reap": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Reap(ctx, []morningai.Observation{{Session: newSession(), Counter: 1}})
			return err
		},
		"Command": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Command(ctx, []morningai.Command{{Kind: morningai.CommandRun, ID: g.Task.ID}})
			return err
		},
		"Get": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{g.Task.ID}})
			return err
		},
		"History": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.History(ctx, g.Task.ID)
			return err
		},
		"List": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.List(ctx, morningai.Filter{})
			return err
		},
		"Stats": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Stats(ctx)
			return err
		},
		"Events": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Events(ctx, morningai.EventsRequest{Wait: time.Hour})
			return err
		},
		"SetQueue": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.SetQueue(ctx, "q", morningai.QueueChange{Concurrency: new(3)})
			return err
		},
		"Export": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Export(ctx, "", 10)
			return err
		},
		"Import": func(ctx context.Context, e morningai.Engine) error {
			_, err := e.Import(ctx, []morningai.Record{queuedRecord(s.ID)})
			return err
		},
		"Probe": func(ctx context.Context, e morningai.Engine) error { return e.Probe(ctx) },
	}
}

func lifecycleProbe(r *rig) {
	r.enqueue(spec(1))
	for range 3 {
		r.noError(r.eng.Probe(r.ctx), "probe")
	}
	c := r.eng.Capabilities()
	r.want(c.Name != "" && c.Durable != "", "capabilities %+v", c)
	r.want(len(r.listAll(morningai.Filter{})) == 1 && len(r.exportAll()) == 1, "a probe leaves tasks behind")
}

func lifecycleClosed(r *rig) {
	_, g := r.start(spec(1))
	all := calls(r, g)
	r.noError(r.eng.Close(), "close")
	for name, call := range all {
		r.wantError(call(r.ctx, r.eng), morningai.ErrClosed, "%s after close", name)
	}
	r.want(r.eng.Capabilities().Name != "", "capabilities after close")
}

func lifecycleCloseTwice(r *rig) {
	r.enqueue(spec(1))
	r.together(4, func(int) error { return r.eng.Close() })
	r.noError(r.eng.Close(), "another close")
	r.open()
	r.claim(r.join(), 1)
}

func lifecycleCloseBusy(r *rig) {
	for range 5 {
		eng := r.eng
		var mu sync.Mutex
		var accepted []morningai.ID
		enough := make(chan struct{})
		r.together(5, func(i int) error {
			if i == 4 {
				<-enough
				return eng.Close()
			}
			for n := 0; ; n++ {
				got, err := eng.Enqueue(r.ctx, []morningai.TaskSpec{spec(n)})
				if morningai.CodeOf(err) == morningai.CodeClosed {
					return nil
				}
				if err != nil {
					return err
				}
				mu.Lock()
				accepted = append(accepted, got[0].Task.ID)
				if len(accepted) == 20 {
					close(enough)
				}
				mu.Unlock()
			}
		})
		r.open()
		for i, t := range r.getAll(accepted...) {
			r.want(t.ID == accepted[i], "a task accepted before the close is gone")
		}
		r.countsMatch()
	}
}

func lifecycleCancelled(r *rig) {
	_, g := r.start(r.specs(1)[0])
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	all := calls(r, g)
	for name, call := range all {
		r.wantError(call(ctx, r.eng), context.Canceled, "%s with a cancelled context", name)
	}
	late, stop := context.WithDeadline(r.ctx, time.Now().Add(-time.Second))
	defer stop()
	for name, call := range all {
		r.wantError(call(late, r.eng), context.DeadlineExceeded, "%s after its deadline", name)
	}
	r.wantState(g.Task.ID, morningai.StateRunning) // nothing of it was begun
	r.noError(all["Finish"](r.ctx, r.eng), "finish after a cancelled one")
	r.noError(all["Enqueue"](r.ctx, r.eng), "enqueue after a cancelled one")
	r.wantState(g.Task.ID, morningai.StateSucceeded)
	r.countsMatch()
}

func lifecycleRepeat(r *rig) {
	_, g := r.start(r.specs(1)[0])
	all := calls(r, g)
	for _, name := range []string{"Enqueue", "Checkpoint", "Beat", "Command", "SetQueue", "Import", "Finish"} {
		r.noError(all[name](r.ctx, r.eng), "%s", name)
		before := r.listAll(morningai.Filter{})
		r.noError(all[name](r.ctx, r.eng), "%s again", name)
		after := r.listAll(morningai.Filter{})
		r.want(len(before) == len(after), "%s again: %d tasks, were %d", name, len(after), len(before))
		for i := range after {
			after[i].Version = before[i].Version
			r.want(sameTask(after[i], before[i]), "%s again changed a task: %+v, was %+v", name, after[i], before[i])
		}
	}
	r.countsMatch()
}

package enginetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// What makes a task ready, or ends a wait, does so at once: each of these
// checks waits for an hour, and is told so by its own patience if that is what
// the engine makes of it.
func waitChecks() []check {
	checks := []check{
		{"an answer with nothing comes when the wait is over", waitOver},
		{"a cancelled context ends the wait", waitCancelled},
		{"closing ends the wait", waitClosed},
		{"a cancel command reaches a waiting session at once", waitCancelCommand},
		{"a session without free places is only told of cancels", waitNoPlaces},
		{"many waiting sessions share what comes", waitMany},
		{"a task that becomes due ends the wait", waitDue},
	}
	for _, name := range slices.Sorted(maps.Keys(wakers())) {
		checks = append(checks, check{name + " wakes a waiting claim", func(r *rig) { waitWoken(r, wakers()[name]) }})
	}
	return checks
}

// waker is something that makes a task ready for a session that waits.
type waker struct {
	before func(r *rig) morningai.ID
	wake   func(r *rig, id morningai.ID) error
}

func commandWaker(kind morningai.CommandKind, before func(r *rig) morningai.ID) waker {
	return waker{before, func(r *rig, id morningai.ID) error {
		got, err := r.eng.Command(r.ctx, []morningai.Command{{Kind: kind, ID: id}})
		if err == nil {
			err = got[0].Err
		}
		return err
	}}
}

// queueWaker holds up a task behind others that run, then lets it go.
func queueWaker(running int, hold, free morningai.QueueChange) waker {
	return waker{
		func(r *rig) morningai.ID {
			r.setQueue(morningai.DefaultQueue, hold)
			tasks := r.enqueue(r.specs(running + 1)...)
			r.claim(r.join(), running)
			return tasks[running].ID
		},
		func(r *rig, _ morningai.ID) error {
			_, err := r.eng.SetQueue(r.ctx, morningai.DefaultQueue, free)
			return err
		},
	}
}

// held starts one task for another session and returns its grant.
func held(r *rig) morningai.Grant {
	_, g := r.start(r.specs(1)[0])
	return g
}

func outcomeWaker(o morningai.Outcome, narrow bool) waker {
	var g morningai.Grant
	return waker{
		func(r *rig) morningai.ID {
			g = held(r)
			if !narrow {
				return g.Task.ID
			}
			r.setQueue(morningai.DefaultQueue, morningai.QueueChange{Concurrency: new(1)})
			return r.enqueue(r.specs(1)...)[0].ID
		},
		func(r *rig, _ morningai.ID) error {
			rep := report(g, o)
			rep.RunAt = time.Time{}
			got, err := r.eng.Finish(r.ctx, []morningai.Report{rep})
			if err == nil {
				err = got[0].Err
			}
			return err
		},
	}
}

func wakers() map[string]waker {
	return map[string]waker{
		"an enqueue": {
			func(r *rig) morningai.ID { return r.id() },
			func(r *rig, id morningai.ID) error {
				s := spec(1)
				s.ID = id
				_, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{s})
				return err
			},
		},
		"the run command": commandWaker(morningai.CommandRun, func(r *rig) morningai.ID {
			return r.enqueue(r.specs(1, later)...)[0].ID
		}),
		"the retry of an ended task": commandWaker(morningai.CommandRetry, func(r *rig) morningai.ID {
			g := held(r)
			r.finish(report(g, morningai.OutcomeFailed))
			return g.Task.ID
		}),
		"the retry of one that waits": commandWaker(morningai.CommandRetry, func(r *rig) morningai.ID {
			g := held(r)
			r.finish(report(g, morningai.OutcomeRetry))
			return g.Task.ID
		}),
		"a retry at once":           outcomeWaker(morningai.OutcomeRetry, false),
		"a release":                 outcomeWaker(morningai.OutcomeReleased, false),
		"an end that frees a place": outcomeWaker(morningai.OutcomeSucceeded, true),
		"the end of a pause":        queueWaker(0, morningai.QueueChange{Paused: new(true)}, morningai.QueueChange{Paused: new(false)}),
		"a raised limit":            queueWaker(1, morningai.QueueChange{Concurrency: new(1)}, morningai.QueueChange{Concurrency: new(2)}),
		"a reaped session": {
			func(r *rig) morningai.ID { return held(r).Task.ID },
			func(r *rig, _ morningai.ID) error { return reapAll(r, "node") },
		},
		"an import": {
			func(r *rig) morningai.ID { return r.id() },
			func(r *rig, id morningai.ID) error {
				rec := queuedRecord(id)
				got, err := r.eng.Import(r.ctx, []morningai.Record{rec})
				if err == nil {
					err = got[0].Err
				}
				return err
			},
		},
	}
}

func later(_ int, s *morningai.TaskSpec) { s.RunAt = time.Now().Add(time.Hour) }

// reapAll declares every session of a node dead.
func reapAll(r *rig, node string) error {
	s, err := r.eng.Stats(r.ctx)
	if err != nil {
		return err
	}
	var seen []morningai.Observation
	for _, m := range s.Sessions {
		if m.Node == node {
			seen = append(seen, morningai.Observation{Session: m.ID, Counter: m.Counter})
		}
	}
	_, err = r.eng.Reap(r.ctx, seen)
	return err
}

// watched tells when somebody asks for the end of its context, which is the
// last thing that a call does before it waits.
type watched struct {
	context.Context
	once  sync.Once
	asked chan struct{}
}

func (w *watched) Done() <-chan struct{} {
	w.once.Do(func() { close(w.asked) })
	return w.Context.Done()
}

// waiting runs a call that waits, returns once it most likely does, and lets
// the check collect its answer. No verdict depends on "most likely": it only
// decides which of two right ways an engine takes.
func waiting[T any](r *rig, ctx context.Context, call func(context.Context) (T, error)) func() (T, error) {
	r.Helper()
	var reply T
	var err error
	w := &watched{Context: ctx, asked: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		reply, err = call(w)
	}()
	select {
	case <-w.asked:
	case <-done:
	}
	for range 3 { // whatever stands between the caller and its wait takes turns with these
		r.noError(r.eng.Probe(r.ctx), "probe")
	}
	return func() (T, error) {
		<-done
		return reply, err
	}
}

// waitClaim is a claim that waits for an hour.
func (r *rig) waitClaim(ctx context.Context, s morningai.SessionID, n int) func() (morningai.ClaimReply, error) {
	r.Helper()
	return waiting(r, ctx, func(ctx context.Context) (morningai.ClaimReply, error) {
		return r.eng.Claim(ctx, morningai.ClaimRequest{Session: s, Types: []string{"work"}, N: n, Wait: time.Hour})
	})
}

// waitEvents waits an hour for events.
func (r *rig) waitEvents(ctx context.Context, cursor string) func() (morningai.EventsPage, error) {
	r.Helper()
	return waiting(r, ctx, func(ctx context.Context) (morningai.EventsPage, error) {
		return r.eng.Events(ctx, morningai.EventsRequest{Cursor: cursor, Wait: time.Hour})
	})
}

func waitWoken(r *rig, w waker) {
	id := w.before(r)
	session := newSession()
	r.beat(morningai.BeatRequest{Session: session, Node: "waiter"})
	wait := r.waitClaim(r.ctx, session, 1)
	wakeErr := w.wake(r, id)
	reply, err := wait()
	r.noError(wakeErr, "wake")
	r.noError(err, "the waiting claim")
	r.want(len(reply.Grants) == 1 && reply.Grants[0].Task.ID == id, "the claim brought %v, want %v", grantIDs(reply.Grants), id)
}

func waitOver(r *rig) {
	session := r.join()
	start := time.Now()
	reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1, Wait: 50 * time.Millisecond})
	r.noError(err, "claim")
	r.want(len(reply.Grants)+len(reply.Cancels) == 0, "an empty engine brought %+v", reply)
	r.want(time.Since(start) >= 50*time.Millisecond, "the answer came before the wait was over")
}

func waitCancelled(r *rig) {
	session := r.join()
	ctx, cancel := context.WithCancel(r.ctx)
	wait := r.waitClaim(ctx, session, 1)
	cancel()
	_, err := wait()
	r.wantError(err, context.Canceled, "claim with a cancelled context")
	r.enqueue(spec(1))
	r.claim(session, 1) // the ended wait took nothing
}

func waitClosed(r *rig) {
	session := r.join()
	claim, events := r.waitClaim(r.ctx, session, 1), r.waitEvents(r.ctx, "")
	r.noError(r.eng.Close(), "close")
	_, err := claim()
	r.wantError(err, morningai.ErrClosed, "a claim that waits while the engine is closed")
	_, err = events()
	r.wantError(err, morningai.ErrClosed, "a wait for events while the engine is closed")
}

func waitCancelCommand(r *rig) {
	r.enqueue(r.specs(2)...)
	session := r.join()
	g := r.claim(session, 2)
	for i, n := range []int{0, 3} {
		wait := r.waitClaim(r.ctx, session, n)
		r.command(morningai.CommandCancel, g[i].Task.ID)
		reply, err := wait()
		r.noError(err, "the waiting claim")
		r.want(len(reply.Cancels) == 1 && reply.Cancels[0] == g[i].Task.ID && len(reply.Grants) == 0, "the claim brought %+v, want the cancel", reply)
	}
}

func waitNoPlaces(r *rig) {
	r.enqueue(r.specs(2)...)
	session := r.join()
	reply := r.ask(session, 0)
	r.want(len(reply.Grants) == 0, "a claim of 0 brought %d grants", len(reply.Grants))
	r.want(r.stats().States[morningai.StateQueued] == 2, "a claim of 0 took something")
	// Cancels of another session's tasks are not for this one.
	g := r.claim(r.join(), 1)[0]
	r.command(morningai.CommandCancel, g.Task.ID)
	r.want(len(r.ask(session, 0).Cancels) == 0, "a session is told of another's cancel")
}

func waitMany(r *rig) {
	const sessions, rounds = 6, 10
	var mu sync.Mutex
	seen := map[morningai.ID]int{}
	ids := make([]morningai.SessionID, sessions)
	for i := range ids {
		ids[i] = r.join()
	}
	r.together(sessions+1, func(i int) error {
		if i == sessions {
			for n := range sessions * rounds {
				if _, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{spec(n)}); err != nil {
					return err
				}
			}
			return nil
		}
		for range rounds { // each session takes its part, however they are dealt out
			reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: ids[i], Types: []string{"work"}, N: 1, Wait: time.Hour})
			if err != nil {
				return err
			}
			if len(reply.Grants) != 1 {
				return fmt.Errorf("a wait of an hour ended with %d grants", len(reply.Grants))
			}
			mu.Lock()
			seen[reply.Grants[0].Task.ID]++
			mu.Unlock()
		}
		return nil
	})
	r.want(len(seen) == sessions*rounds, "%d different tasks in %d grants", len(seen), sessions*rounds)
}

func waitDue(r *rig) {
	session := r.join()
	due := time.Now().Add(80 * time.Millisecond)
	specs := r.specs(3, func(i int, s *morningai.TaskSpec) {
		s.RunAt = []time.Time{time.Now().Add(time.Hour), due, due.Add(40 * time.Millisecond)}[i]
	})
	r.enqueue(specs...)
	for _, s := range specs[1:] {
		g := r.await(session, 1)[0]
		r.want(g.Task.ID == s.ID, "another task came first")
		r.want(!time.Now().Before(s.RunAt), "a task was handed out before it was due")
		r.want(g.Task.RunAt.IsZero(), "a running task is due at %v", g.Task.RunAt)
	}
}

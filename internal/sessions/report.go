package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/RC918/morningai"
)

// Beat says that a worker still works on a claim, and reports progress if there
// is any. It returns whether the task is to be canceled. A claim that has ended
// is an ErrStale.
func (k *Keeper) Beat(ctx context.Context, id string, progress json.RawMessage) (bool, error) {
	var points []morningai.Checkpoint
	if progress != nil {
		points = []morningai.Checkpoint{{Kind: morningai.CheckpointProgress, Data: progress}}
	}
	return k.Checkpoint(ctx, id, points)
}

// Checkpoint records what a worker has reached. It keeps the claim as Beat does.
func (k *Keeper) Checkpoint(ctx context.Context, id string, points []morningai.Checkpoint) (bool, error) {
	c, err := k.find(ctx, id)
	if err != nil {
		return false, err
	}
	if len(points) > 0 {
		for i := range points {
			points[i].Lease = c.lease
			points[i].Line.Attempt = c.task.Attempt
		}
		errs, err := k.engine.Checkpoint(c.w.context(ctx), points)
		for _, one := range errs {
			if err == nil && one != nil {
				err = one
			}
		}
		if err != nil {
			return false, k.refused(c.lease, err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return c.cancel, nil
}

// End is what became of a claim.
type End struct {
	// Outcome is any but OutcomeLost. OutcomeRetry becomes OutcomeFailed if the
	// task has no attempt left.
	Outcome morningai.Outcome
	Result  json.RawMessage
	Error   *morningai.TaskError
	Stack   string
	After   *time.Duration // of OutcomeRetry and OutcomeSnoozed; nil: as long as usual
}

// Finish records what became of a claim and returns the state of the task.
// Repeating it is acknowledged; a claim that has ended otherwise is an ErrStale.
func (k *Keeper) Finish(ctx context.Context, id string, end End) (morningai.State, error) {
	t, ok := readTicket(id)
	if !ok {
		return "", &morningai.Error{Code: morningai.CodeNotFound, Op: "finish", Detail: "there is no such claim"}
	}
	if t.here {
		ctx = morningai.OnlyHere(ctx)
	}
	rep := morningai.Report{Lease: t.lease, Node: t.node, Attempt: t.attempt}
	k.mu.Lock()
	c := k.claims[t.lease]
	task := morningai.Task{}
	if c != nil {
		rep.StartedAt, task = c.at, c.task
		c.heard, c.w.heard = time.Now(), time.Now()
	}
	k.mu.Unlock()
	if c == nil || c.w.adopted {
		// The claim is of an earlier run, or this is a repeat: the engine knows
		// how the task stands, and whether the claim counts.
		found, err := k.engine.Get(ctx, morningai.GetRequest{IDs: []morningai.ID{t.lease.ID}, Lingering: true})
		if err != nil {
			return "", err
		}
		if len(found) == 0 || found[0].ID.IsZero() {
			return "", errStale()
		}
		task, rep.StartedAt = found[0], time.Time{}
	}
	end.judge(&task, time.Now(), &rep)
	return k.record(ctx, rep)
}

// record has the engine take an outcome.
func (k *Keeper) record(ctx context.Context, rep morningai.Report) (morningai.State, error) {
	verdicts, err := k.engine.Finish(ctx, []morningai.Report{rep})
	if err != nil {
		return "", err
	}
	if err := verdicts[0].Err; err != nil {
		return "", k.refused(rep.Lease, err)
	}
	k.mu.Lock()
	c := k.claims[rep.Lease]
	if c != nil { // not a repeat
		k.ended[rep.Outcome]++
		k.drop(c)
	}
	k.mu.Unlock()
	if c != nil && !c.w.adopted {
		for _, f := range k.watch {
			f(morningai.Attempted{Task: &c.task, Report: &rep, State: verdicts[0].State})
		}
	}
	return verdicts[0].State, nil
}

// Attempts counts the claims that were handed out here and have ended, by the
// outcome that was recorded.
func (k *Keeper) Attempts() map[morningai.Outcome]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.ended)
}

// refused forgets a claim that the engine has nothing to do with any more.
func (k *Keeper) refused(l morningai.Lease, err error) error {
	if !errors.Is(err, morningai.ErrStale) && !errors.Is(err, morningai.ErrNotFound) {
		return err
	}
	k.forget(l)
	return errStale()
}

func (k *Keeper) forget(l morningai.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.claims[l]; c != nil {
		k.drop(c)
	}
}

// judge completes a report as the library does for its own handlers.
func (end *End) judge(task *morningai.Task, now time.Time, rep *morningai.Report) {
	rep.Outcome, rep.Result, rep.Error, rep.Stack, rep.FinishedAt = end.Outcome, end.Result, end.Error, end.Stack, now
	wait := time.Duration(0)
	switch end.Outcome {
	case morningai.OutcomeRetry:
		failures := task.Failures + 1
		if failures >= task.MaxAttempts && task.State == morningai.StateRunning || task.State == morningai.StateFailed {
			rep.Outcome = morningai.OutcomeFailed
			return
		}
		wait = morningai.Backoff(failures)
	case morningai.OutcomeSnoozed:
	default:
		return
	}
	if end.After != nil {
		wait = *end.After
	}
	rep.RunAt = now.Add(wait)
}

// giveUp takes back a claim of which nothing was heard, and fails the attempt of
// one that is far over its timeout.
func (k *Keeper) giveUp(c *claim) {
	k.mu.Lock()
	late := c.late(time.Now())
	k.mu.Unlock()
	if !late {
		k.log.Warn("nothing was heard of a claim for its lease, its task goes back to its queue", "worker", c.w.key.Name, "task_id", c.lease.ID, "trace_id", c.task.TraceID, "type", c.task.Type)
		k.release(c.lease)
		return
	}
	k.log.Warn("a worker ignores a task's timeout, its attempt is failed", "worker", c.w.key.Name, "task_id", c.lease.ID, "trace_id", c.task.TraceID, "type", c.task.Type)
	end := End{Outcome: morningai.OutcomeRetry, Error: &morningai.TaskError{Code: morningai.ErrorCodeTimeout,
		Message: fmt.Sprintf("the worker did not finish within the task's timeout of %v", c.task.Timeout)}}
	k.conclude(c.lease, end)
}

// release hands a task back to its queue, which is not a failure.
func (k *Keeper) release(l morningai.Lease) { k.conclude(l, End{Outcome: morningai.OutcomeReleased}) }

// conclude ends a claim for its worker. What the engine does not take now stays
// on the books and is tried again.
func (k *Keeper) conclude(l morningai.Lease, end End) {
	k.mu.Lock()
	c := k.claims[l]
	if c == nil {
		k.mu.Unlock()
		return
	}
	rep := morningai.Report{Lease: l, Node: c.w.node, Attempt: c.task.Attempt, StartedAt: c.at}
	k.mu.Unlock()
	end.judge(&c.task, time.Now(), &rep)
	ctx, cancel := context.WithTimeout(c.w.context(context.Background()), k.lease)
	defer cancel()
	if _, err := k.record(ctx, rep); err != nil && !errors.Is(err, morningai.ErrStale) {
		k.log.Debug("a claim cannot be taken back now", "task_id", l.ID, "error", err)
	}
}

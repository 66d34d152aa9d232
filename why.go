package morningai

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Explanation says why a task is where it is.
type Explanation struct {
	ID      ID       `json:"id"`
	State   State    `json:"state"`
	Reasons []Reason `json:"reasons"`
}

// Reason is one thing that holds a task back, or that is happening to it.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// The codes of reasons.
const (
	ReasonQueuePaused      = "queue_paused"
	ReasonNoLiveHandler    = "no_live_handler"
	ReasonWaitingUntil     = "waiting_until"
	ReasonConcurrencyLimit = "concurrency_limit"
	ReasonRateLimit        = "rate_limit"
	ReasonBehindOthers     = "behind_others"
	ReasonNoFreeSlot       = "no_free_slot"
	ReasonRedisAway        = "redis_away"
	ReasonReady            = "ready" // nothing holds it back
	ReasonRunning          = "running"
	ReasonCancelRequested  = "cancel_requested"
	ReasonEnded            = "ended"
)

// Why explains why a task is not running, or what it is doing, from what the
// engine knows at this moment.
func (c *Client) Why(ctx context.Context, id ID) (Explanation, error) {
	stats, err := c.engine.Stats(ctx)
	if err != nil {
		return Explanation{}, err
	}
	// Read after the counts, so that a task that has moved on meanwhile is
	// explained as it is now.
	task, err := c.Get(ctx, id)
	if err != nil {
		return Explanation{}, err
	}
	return Explanation{ID: task.ID, State: task.State, Reasons: reasons(task, &stats)}, nil
}

func reasons(task *Task, stats *Stats) []Reason {
	switch {
	case task.State.Terminal():
		return []Reason{endedReason(task)}
	case task.State == StateRunning:
		return runningReasons(task)
	case task.Runs == RunsLater:
		return []Reason{{Code: ReasonRedisAway, Message: "Redis is away, and the task runs when it is back",
			Hint: "bring Redis back; what waits there cannot be handed out before"}}
	case task.State == StateScheduled:
		at := task.RunAt.UTC().Format(time.RFC3339)
		r := Reason{Code: ReasonWaitingUntil, Message: "the task is due at " + at, Hint: "run it now with the run command"}
		if task.Failures > 0 {
			r.Message = fmt.Sprintf("the task has failed %d of %d times and is tried again at %s", task.Failures, task.MaxAttempts, at)
		}
		return append([]Reason{r}, obstacles(task, stats)...)
	}
	out := append(obstacles(task, stats), limits(task, stats)...)
	if len(out) == 0 {
		out = append(out, Reason{Code: ReasonReady, Message: "nothing holds the task back, a worker is about to take it"})
	}
	return out
}

func endedReason(task *Task) Reason {
	r := Reason{Code: ReasonEnded, Message: fmt.Sprintf("the task %s at %s", endedWord(task.State), task.FinishedAt.UTC().Format(time.RFC3339))}
	if task.State != StateSucceeded {
		r.Hint = "the retry command runs it again"
		if task.Error != nil {
			r.Message += " with " + task.Error.Error()
		}
	}
	return r
}

func endedWord(s State) string {
	if s == StateCanceled {
		return "was canceled"
	}
	return string(s)
}

func runningReasons(task *Task) []Reason {
	r := Reason{Code: ReasonRunning, Message: fmt.Sprintf("attempt %d is running", task.Attempt)}
	if !task.StartedAt.IsZero() {
		r.Message += " since " + task.StartedAt.UTC().Format(time.RFC3339)
	}
	out := []Reason{r}
	if task.CancelRequested {
		out = append(out, Reason{Code: ReasonCancelRequested, Message: "a cancel was requested and takes effect when the handler returns"})
	}
	return out
}

// obstacles are what keeps the task from running until somebody acts.
func obstacles(task *Task, stats *Stats) []Reason {
	var out []Reason
	if q := findQueue(stats.Queues, task.Queue); q != nil && q.Paused {
		out = append(out, Reason{Code: ReasonQueuePaused, Message: "the queue " + task.Queue + " is paused", Hint: "resume the queue"})
	}
	if len(handling(task, stats.Sessions)) == 0 {
		out = append(out, Reason{Code: ReasonNoLiveHandler,
			Message: fmt.Sprintf("no live worker handles type %s on queue %s", task.Type, task.Queue),
			Hint:    "start a worker that has a handler for this type and serves this queue"})
	}
	return out
}

// limits are what will pass by itself.
func limits(task *Task, stats *Stats) []Reason {
	var out []Reason
	if q := findQueue(stats.Queues, task.Queue); q != nil {
		if running := q.Counts[StateRunning]; q.Concurrency > 0 && running >= int64(q.Concurrency) {
			out = append(out, Reason{Code: ReasonConcurrencyLimit,
				Message: fmt.Sprintf("the queue runs %d tasks at once and %d are running", q.Concurrency, running),
				Hint:    "raise the queue's concurrency, or wait for one to end"})
		}
		if !q.Rate.IsZero() {
			out = append(out, Reason{Code: ReasonRateLimit,
				Message: fmt.Sprintf("the queue starts at most %s", q.Rate), Hint: "raise the queue's rate"})
		}
		if others := q.Counts[StateQueued] - 1; others > 0 {
			out = append(out, Reason{Code: ReasonBehindOthers,
				Message: fmt.Sprintf("other tasks are queued in this queue: %d; lower priority numbers go first, then the earlier ones", others)})
		}
	}
	sessions := handling(task, stats.Sessions)
	full := !slices.ContainsFunc(sessions, func(s Session) bool { return s.Running < s.Concurrency })
	if len(sessions) > 0 && full {
		out = append(out, Reason{Code: ReasonNoFreeSlot,
			Message: fmt.Sprintf("every slot of the %d workers that handle this type is taken", len(sessions)),
			Hint:    "raise the workers' concurrency or start another worker"})
	}
	return out
}

// handling returns the sessions that can run the task.
func handling(task *Task, sessions []Session) []Session {
	var out []Session
	for _, s := range sessions {
		if slices.Contains(s.Types, task.Type) && (len(s.Queues) == 0 || slices.Contains(s.Queues, task.Queue)) {
			out = append(out, s)
		}
	}
	return out
}

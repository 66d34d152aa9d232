package wire

import (
	"time"

	"github.com/RC918/morningai"
)

// Queue is a queue's settings and what it holds.
type Queue struct {
	Name           string     `json:"name"`
	Paused         bool       `json:"paused"`
	Queued         int64      `json:"queued"`
	Running        int64      `json:"running"`
	Scheduled      int64      `json:"scheduled" doc:"retries included"`
	Retrying       int64      `json:"retrying" doc:"the scheduled ones that failed before"`
	Succeeded      int64      `json:"succeeded"`
	Failed         int64      `json:"failed"`
	Canceled       int64      `json:"canceled"`
	OldestQueuedAt *time.Time `json:"oldest_queued_at" doc:"when the oldest queued task was accepted"`
	Concurrency    *int       `json:"concurrency" doc:"tasks running at once over all nodes; null: no limit"`
	Rate           *Rate      `json:"rate" doc:"starts per second, minute or hour over all nodes; null: no limit"`
	Pending        bool       `json:"pending,omitempty" doc:"the change holds on this server, and Redis has still to be told"`
}

// NewQueue is the JSON form of a queue.
func NewQueue(q morningai.QueueInfo) Queue {
	out := Queue{
		Name: q.Name, Paused: q.Paused, Pending: q.Pending, OldestQueuedAt: timeOrNil(q.OldestQueuedAt),
		Queued: q.Counts[morningai.StateQueued], Running: q.Counts[morningai.StateRunning],
		Scheduled: q.Counts[morningai.StateScheduled], Retrying: q.Counts[morningai.StateRetrying],
		Succeeded: q.Counts[morningai.StateSucceeded], Failed: q.Counts[morningai.StateFailed],
		Canceled: q.Counts[morningai.StateCanceled],
	}
	if q.Concurrency > 0 {
		out.Concurrency = &q.Concurrency
	}
	if !q.Rate.IsZero() {
		rate := Rate(q.Rate)
		out.Rate = &rate
	}
	return out
}

// Model is the way back.
func (q Queue) Model() morningai.QueueInfo {
	out := morningai.QueueInfo{
		QueueConfig: morningai.QueueConfig{Name: q.Name, Paused: q.Paused, Pending: q.Pending},
		Counts: map[morningai.State]int64{
			morningai.StateBlocked: 0, morningai.StateQueued: q.Queued, morningai.StateRunning: q.Running,
			morningai.StateScheduled: q.Scheduled, morningai.StateRetrying: q.Retrying,
			morningai.StateSucceeded: q.Succeeded, morningai.StateFailed: q.Failed, morningai.StateCanceled: q.Canceled,
		},
		OldestQueuedAt: timeOrZero(q.OldestQueuedAt),
	}
	set(&out.Concurrency, q.Concurrency)
	set(&out.Rate, (*morningai.Rate)(q.Rate))
	return out
}

// Queues answers GET /v1/queues, by name.
type Queues struct {
	Queues []Queue `json:"queues"`
}

// NewQueues is the JSON form of queues.
func NewQueues(queues []morningai.QueueInfo) Queues {
	out := make([]Queue, len(queues))
	for i, q := range queues {
		out[i] = NewQueue(q)
	}
	return Queues{out}
}

// QueueChange is the body of PATCH /v1/queues/{name}. What is left out stays as
// it is. The limits are pointers to pointers: nil leaves a limit alone, a
// pointer to nil (null in JSON) clears it.
type QueueChange struct {
	Paused      *bool  `json:"paused,omitempty" doc:"a paused queue starts no task"`
	Concurrency **int  `json:"concurrency,omitempty" minimum:"1" maximum:"100000" nullable:"true" doc:"tasks running at once over all nodes; null: no limit"`
	Rate        **Rate `json:"rate,omitempty" nullable:"true" doc:"starts per second, minute or hour over all nodes; null: no limit" example:"10/s"`
}

// NewQueueChange is the JSON form of a change.
func NewQueueChange(c morningai.QueueChange) QueueChange {
	out := QueueChange{Paused: c.Paused}
	if c.Concurrency != nil {
		out.Concurrency = new(*int)
		if *c.Concurrency != 0 {
			*out.Concurrency = c.Concurrency
		}
	}
	if c.Rate != nil {
		out.Rate = new(*Rate)
		if !c.Rate.IsZero() {
			*out.Rate = (*Rate)(c.Rate)
		}
	}
	return out
}

// Model is the way back. A concurrency of 0 is an [morningai.ErrInvalidInput]:
// whoever writes it more likely means to stop the queue than to free it.
func (c QueueChange) Model() (morningai.QueueChange, error) {
	out := morningai.QueueChange{Paused: c.Paused}
	if c.Concurrency != nil {
		out.Concurrency = new(int)
		set(out.Concurrency, *c.Concurrency)
		if *c.Concurrency != nil && *out.Concurrency == 0 {
			return out, morningai.InvalidInput("set queue", morningai.FieldError{Location: "concurrency",
				Message: "must be 1 to 100000, or null for no limit; pause the queue to stop it"})
		}
	}
	if c.Rate != nil {
		out.Rate = new(morningai.Rate)
		set(out.Rate, (*morningai.Rate)(*c.Rate))
	}
	return out, nil
}

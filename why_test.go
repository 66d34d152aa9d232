package morningai

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReasons(t *testing.T) {
	worker := Session{Types: []string{"mail"}, Queues: []string{"default"}, Concurrency: 2, Running: 1}
	queue := func(change func(*QueueInfo)) []QueueInfo {
		q := QueueInfo{QueueConfig: QueueConfig{Name: "default"}, Counts: map[State]int64{StateQueued: 1}}
		if change != nil {
			change(&q)
		}
		return []QueueInfo{{QueueConfig: QueueConfig{Name: "other", Paused: true}}, q}
	}
	elsewhere := worker
	elsewhere.Queues = []string{"other"}
	full := worker
	full.Running = 2
	now := time.Now()
	for _, c := range []struct {
		name  string
		task  Task
		stats Stats
		want  []string
	}{
		{"ready", Task{State: StateQueued}, Stats{Queues: queue(nil), Sessions: []Session{worker}}, []string{ReasonReady}},
		{"paused", Task{State: StateQueued}, Stats{Queues: queue(func(q *QueueInfo) { q.Paused = true }), Sessions: []Session{worker}}, []string{ReasonQueuePaused}},
		{"nobody", Task{State: StateQueued}, Stats{Queues: queue(nil)}, []string{ReasonNoLiveHandler}},
		{"served elsewhere", Task{State: StateQueued}, Stats{Queues: queue(nil), Sessions: []Session{elsewhere}}, []string{ReasonNoLiveHandler}},
		{"limit", Task{State: StateQueued}, Stats{Queues: queue(func(q *QueueInfo) { q.Concurrency = 3; q.Counts[StateRunning] = 3 }), Sessions: []Session{worker}}, []string{ReasonConcurrencyLimit}},
		{"below the limit", Task{State: StateQueued}, Stats{Queues: queue(func(q *QueueInfo) { q.Concurrency = 3; q.Counts[StateRunning] = 2 }), Sessions: []Session{worker}}, []string{ReasonReady}},
		{"rate", Task{State: StateQueued}, Stats{Queues: queue(func(q *QueueInfo) { q.Rate = Rate{1, time.Hour} }), Sessions: []Session{worker}}, []string{ReasonRateLimit}},
		{"others", Task{State: StateQueued}, Stats{Queues: queue(func(q *QueueInfo) { q.Counts[StateQueued] = 5 }), Sessions: []Session{worker}}, []string{ReasonBehindOthers}},
		{"no slot", Task{State: StateQueued}, Stats{Queues: queue(nil), Sessions: []Session{full, elsewhere}}, []string{ReasonNoFreeSlot}},
		{"one slot", Task{State: StateQueued}, Stats{Queues: queue(nil), Sessions: []Session{full, worker}}, []string{ReasonReady}},
		{"paused, nobody and others", Task{State: StateQueued}, Stats{Queues: queue(func(q *QueueInfo) { q.Paused = true; q.Counts[StateQueued] = 2 })},
			[]string{ReasonQueuePaused, ReasonNoLiveHandler, ReasonBehindOthers}},
		{"later", Task{State: StateScheduled, RunAt: now}, Stats{Queues: queue(nil), Sessions: []Session{worker}}, []string{ReasonWaitingUntil}},
		{"later and nobody", Task{State: StateScheduled, RunAt: now}, Stats{Queues: queue(nil)}, []string{ReasonWaitingUntil, ReasonNoLiveHandler}},
		{"running", Task{State: StateRunning, StartedAt: now}, Stats{}, []string{ReasonRunning}},
		{"cancel", Task{State: StateRunning, CancelRequested: true}, Stats{}, []string{ReasonRunning, ReasonCancelRequested}},
		{"ended", Task{State: StateFailed, Error: &TaskError{"boom", "text"}}, Stats{}, []string{ReasonEnded}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.task.Type, c.task.Queue = "mail", "default"
			var got []string
			for _, r := range reasons(&c.task, &c.stats) {
				got = append(got, r.Code)
				if r.Message == "" {
					t.Errorf("%s has no message", r.Code)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("reasons %v, want %v", got, c.want)
			}
		})
	}
	failed := reasons(&Task{State: StateScheduled, Failures: 2, MaxAttempts: 5, RunAt: now}, &Stats{})[0]
	if !strings.Contains(failed.Message, "2 of 5") {
		t.Errorf("a retry is explained as %q", failed.Message)
	}
}

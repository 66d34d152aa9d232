package morningai

import (
	"slices"
	"sync/atomic"
	"time"
)

// reported lists the outcomes that workers report.
var reported = []Outcome{OutcomeSucceeded, OutcomeRetry, OutcomeFailed, OutcomeSnoozed, OutcomeCanceled, OutcomeReleased}

// tally counts attempts by their outcome, in the order of reported.
type tally [6]atomic.Int64

func (t *tally) add(o Outcome) {
	if i := slices.Index(reported, o); i >= 0 {
		t[i].Add(1)
	}
}

// Attempts counts the attempts that this app has run since it was made, by the
// outcome that was recorded. Those that were refused, because the task had been
// handed to another worker or removed, do not count; every outcome but
// [OutcomeLost] has an entry.
func (a *App) Attempts() map[Outcome]int64 {
	out := make(map[Outcome]int64, len(reported))
	for i, o := range reported {
		out[o] = a.ended[i].Load()
	}
	return out
}

// Attempted is an attempt whose outcome was recorded.
type Attempted struct {
	Task   *Task   // as it was handed out
	Report *Report // what was recorded
	State  State   // of the task then, which a cancel request may have decided
}

// Waited returns how long a task that was due when it was accepted waited for its
// first attempt, by the clocks of those who accepted it and ran it. It is false
// for every other attempt: from when those were due is not kept.
func (a *Attempted) Waited() (time.Duration, bool) {
	const started = 2 // the version of a task that nothing has happened to before
	if a.Task.Attempt != 1 || a.Task.Version != started || a.Report.StartedAt.IsZero() {
		return 0, false
	}
	return max(0, a.Report.StartedAt.Sub(a.Task.CreatedAt)), true
}

// OnAttempt has f called for every attempt that this app has run, once its
// outcome was recorded. f must return soon, may be called by several goroutines
// at once, and neither changes nor keeps what it is given. It has no effect once
// the app is started.
func (a *App) OnAttempt(f func(Attempted)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseNew {
		a.watchers = append(a.watchers, f)
	}
}

package morningai

import (
	"slices"
	"sync/atomic"
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

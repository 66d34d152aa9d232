package crashtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RC918/morningai"
)

// account is what the children have said of one task.
type account struct {
	payload   string
	acked     bool
	succeeded bool // acknowledged
	failed    bool // acknowledged, for good
	ran       int
	round     int // in which it was last spoken of
}

// ledger is what all children have said.
type ledger struct {
	tasks  map[morningai.ID]*account
	broken []string // promises broken by what was said alone
	lines  int
	round  int
}

func newLedger() *ledger { return &ledger{tasks: map[morningai.ID]*account{}} }

func (l *ledger) breaks(format string, args ...any) {
	l.broken = append(l.broken, fmt.Sprintf("round %d: ", l.round)+fmt.Sprintf(format, args...))
}

// take notes one line. It reports whether the line could be read.
func (l *ledger) take(line string) bool {
	l.lines++
	word, rest, _ := strings.Cut(line, " ")
	if word == "up" {
		return true
	}
	text, rest, _ := strings.Cut(rest, " ")
	id, err := morningai.ParseID(text)
	if err != nil {
		return false
	}
	a := l.tasks[id]
	if a == nil {
		if word != "tried" {
			l.breaks("%s is spoken of, but nobody tried to enqueue it", id)
		}
		a = &account{}
		l.tasks[id] = a
	}
	a.round = l.round
	switch word {
	case "tried":
		a.payload = rest
	case "acked":
		a.acked = true
	case "ran":
		_, payload, _ := strings.Cut(rest, " ")
		a.ran++
		if payload != a.payload {
			l.breaks("%s ran with another payload than it was given", id)
		}
		if a.succeeded || a.failed {
			l.breaks("%s ran again after its end was acknowledged", id)
		}
	case "done":
		switch morningai.Outcome(rest) {
		case morningai.OutcomeSucceeded:
			a.succeeded = true
		case morningai.OutcomeFailed:
			a.failed = true
		}
	default:
		return false
	}
	return true
}

// since returns the ids spoken of in the given round or later.
func (l *ledger) since(round int) []morningai.ID {
	var out []morningai.ID
	for id, a := range l.tasks {
		if a.round >= round {
			out = append(out, id)
		}
	}
	return out
}

// compare holds stored tasks, as read for ids, against what was said of them.
func (l *ledger) compare(ids []morningai.ID, stored []morningai.Task) []string {
	var out []string
	for i, id := range ids {
		a, t := l.tasks[id], stored[i]
		switch {
		case t.ID.IsZero() && a.acked:
			out = append(out, fmt.Sprintf("%s was acknowledged and is lost", id))
		case t.ID.IsZero():
		case string(t.Payload) != a.payload:
			out = append(out, fmt.Sprintf("%s has another payload than it was given", id))
		case a.succeeded && t.State != morningai.StateSucceeded:
			out = append(out, fmt.Sprintf("%s has an acknowledged success and is %s", id, t.State))
		case a.failed && t.State != morningai.StateFailed:
			out = append(out, fmt.Sprintf("%s has an acknowledged failure and is %s", id, t.State))
		case t.State == morningai.StateSucceeded && a.ran == 0:
			out = append(out, fmt.Sprintf("%s succeeded and never ran", id))
		}
	}
	return out
}

// strangers are listed tasks that nobody tried to enqueue; drift is where the
// counts differ from the list.
func (l *ledger) strangers(listed []morningai.Task, stats morningai.Stats) []string {
	var out []string
	scan := map[morningai.State]int64{}
	for _, s := range morningai.States() {
		scan[s] = 0
	}
	seen := map[morningai.ID]bool{}
	for _, t := range listed {
		if l.tasks[t.ID] == nil {
			out = append(out, fmt.Sprintf("%s is there, but nobody enqueued it", t.ID))
		}
		if seen[t.ID] {
			out = append(out, fmt.Sprintf("%s is listed twice", t.ID))
		}
		seen[t.ID] = true
		scan[t.State]++
	}
	if !maps.Equal(scan, stats.States) {
		out = append(out, fmt.Sprintf("counted %v, a scan has %v", stats.States, scan))
	}
	for id, a := range l.tasks {
		if a.acked && !seen[id] {
			out = append(out, fmt.Sprintf("%s was acknowledged and is not listed", id))
		}
	}
	slices.Sort(out)
	return out
}

package drill

import (
	"time"

	"github.com/RC918/morningai"
)

// checkSessions: whoever declared a session dead had seen its counter stand
// still for its whole lease time, during contact of its own (8). It is checked
// for observers whose looks are on record.
//
// Two looks are contact if the later was sent within two beat intervals of the
// earlier; what is over one interval between them does not count.
func (c *checker) checkSessions() {
	type pair struct{ observer, session string }
	type sighting struct {
		first, last *Op // with this counter: answered first, sent last
		still       time.Duration
		process     int
		before      time.Duration // what an earlier process had seen: its call may still be on its way
	}
	process := map[string]int{} // of an observer: one that is gone has seen nothing
	looks := map[string]bool{}
	seen := map[pair]sighting{}
	interval := c.h.Setup.BeatInterval
	for _, op := range c.ops {
		p := pair{op.Client, op.Key}
		switch {
		case op.Kind == Crash:
			process[op.Node]++
		case op.Kind == Observe && op.ok() && interval > 0:
			s := seen[p]
			if s.last == nil || s.last.Version != op.Version || op.Call-s.last.Call > 2*interval || s.process != process[op.Client] {
				before := time.Duration(0)
				if s.process != process[op.Client] {
					before = s.still
				}
				s = sighting{first: op, process: process[op.Client], before: before}
			} else {
				if op.Return < s.first.Return { // looks may overlap: the one sent later was answered first
					s.first = op
				}
				// The counter was first seen at some moment before that answer came.
				s.still += min(max(op.Call-max(s.last.Call, s.first.Return), 0), interval)
			}
			s.last = op
			seen[p] = s
			looks[op.Client] = true
		case op.Kind == Reap && op.ok() && op.Key != "" && looks[op.Client]:
			lease := op.Span
			if lease == 0 {
				lease = c.h.Setup.LeaseTime
			}
			s := seen[p]
			if max(s.still, s.before) < lease {
				c.tell(8, morningai.ID{}, []*Op{s.first, s.last, op}, "%s declares the session of %s dead after %v of contact in which its counter stood still, not %v",
					op.Client, op.Node, s.still, lease)
			}
		}
	}
}

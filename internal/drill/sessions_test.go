package drill

import (
	"testing"
	"time"
)

func TestSessionsAreDeclaredDeadByTheRules(t *testing.T) {
	const lease, beat = 4 * sec, sec
	// looks lets an observer look at the counter of a session of b, each look so
	// long after the one before.
	looks := func(counter int64, gaps ...time.Duration) func(*story) {
		return func(s *story) {
			for _, gap := range gaps {
				s.wait(gap - ms)
				s.do(Op{Node: "b", Client: "a", Kind: Observe, Key: "session", Version: counter})
			}
		}
	}
	reap := func(s *story) {
		s.do(Op{Node: "b", Client: "a", Kind: Reap, Key: "session", Span: lease})
	}
	all := func(parts ...func(*story)) func(*story) {
		return func(s *story) {
			for _, p := range parts {
				p(s)
			}
		}
	}
	check(t, Setup{LeaseTime: lease, BeatInterval: beat}, []tale{
		{"a whole lease of contact", nil, all(looks(7, beat, beat, beat, beat, beat), reap)},
		{"one look less", []int{8}, all(looks(7, beat, beat, beat, beat), reap)},
		{"no look at all", []int{8}, all(looks(7, beat), looks(8, beat), reap)},
		{"a counter that moved", []int{8}, all(looks(7, beat, beat, beat), looks(8, beat, beat, beat), reap)},
		{"a counter that moved long before", nil, all(looks(7, beat), looks(8, beat, beat, beat, beat, beat), reap)},
		{"a hole that counts for one interval", []int{8}, all(looks(7, beat, beat, 2*beat, beat), reap)},
		{"a hole that counts for one interval, and time enough", nil, all(looks(7, beat, beat, 2*beat, beat, beat), reap)},
		{"a longer hole starts over", []int{8}, all(looks(7, beat, beat, beat, 2*beat+ms, beat, beat, beat), reap)},
		{"one long silence", []int{8}, all(looks(7, beat, 100*beat), reap)},
		{"the observer is another process", []int{8}, all(looks(7, beat, beat, beat), func(s *story) { s.do(fault(Crash, "a")) }, looks(7, beat, beat, beat), reap)},
		{"a refused reaping", nil, all(looks(7, beat), func(s *story) {
			s.do(Op{Node: "b", Client: "a", Kind: Reap, Key: "session", Span: lease, Outcome: Fail})
		})},
		{"an observer whose looks are not on record", nil, reap},
		{"answers that come late do not count from before they came", []int{8}, func(s *story) {
			for range 5 {
				s.now += ms
				c := s.h.Begin(Op{Node: "b", Client: "a", Kind: Observe, Key: "session", Version: 7})
				s.wait(beat - ms)
				c.Return(nil)
			}
			reap(s)
		}},
	})
	check(t, Setup{LeaseTime: lease, BeatInterval: beat}, []tale{
		{"a look that overlaps an earlier one, and was answered first", nil, func(s *story) {
			s.wait(beat)
			c := s.h.Begin(Op{Node: "b", Client: "a", Kind: Observe, Key: "session", Version: 7})
			looks(7, 2*ms)(s)
			s.wait(beat / 2)
			c.Return(nil)
			looks(7, beat/2, beat, beat, beat)(s)
			reap(s)
		}},
		{"the setup's lease time", []int{8}, all(looks(7, beat, beat), func(s *story) { s.do(Op{Node: "b", Client: "a", Kind: Reap, Key: "session"}) })},
	})
}

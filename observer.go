package morningai

import "time"

// Observer decides which sessions are dead. It never looks at a wall clock or
// at what a session says of the time: a session is dead once its counter has
// stood still for its whole lease time, counted only while this observer itself
// was in unbroken contact with the engine.
//
// Contact is a row of successful observations. Between two of them at most one
// interval counts. If the second comes later than that, by up to one more
// interval, the rest of the gap does not count; after a longer gap all counts
// start over, because then this process, or the way to the engine, stood still
// and so may have the others. Gaps are measured from the sending of a request.
//
// An Observer holds no clock: times come from the caller, and only their
// monotonic differences matter. Its methods are called by one goroutine at a
// time. Workers of an [App] have one; whoever drives an [Engine] alone, without
// an App, needs it for sessions that die.
type Observer struct {
	self     SessionID
	interval time.Duration
	last     time.Time // when the last successful observation was sent
	seen     map[SessionID]sighting
}

// sighting is a counter value and for how long it has been seen unchanged.
type sighting struct {
	counter int64
	since   time.Time // when the answer that first showed it came
	still   time.Duration
}

// NewObserver makes an observer that has seen nothing. It never calls its own
// session dead; interval is how often it means to look.
func NewObserver(self SessionID, interval time.Duration) *Observer {
	return &Observer{self: self, interval: interval, seen: map[SessionID]sighting{}}
}

// Observe takes what one request, sent and answered at these times, has shown,
// and returns the sessions to be declared dead. The engine has the last word.
func (o *Observer) Observe(sent, answered time.Time, sessions []Session) []Observation {
	gap := sent.Sub(o.last)
	unbroken := !o.last.IsZero() && gap <= 2*o.interval
	prev := o.last
	o.last = sent
	next := make(map[SessionID]sighting, len(sessions))
	var dead []Observation
	for i := range sessions {
		s := &sessions[i]
		if s.ID == o.self {
			continue
		}
		was, known := o.seen[s.ID]
		if !known || !unbroken || was.counter != s.Counter {
			next[s.ID] = sighting{counter: s.Counter, since: answered}
			continue
		}
		// The counter was first seen at some moment before its answer came, so
		// the time until then does not count.
		from := prev
		if was.since.After(from) {
			from = was.since
		}
		was.still += min(max(sent.Sub(from), 0), o.interval)
		next[s.ID] = was
		if was.still >= s.LeaseTime {
			dead = append(dead, Observation{Session: s.ID, Counter: s.Counter})
		}
	}
	o.seen = next
	return dead
}

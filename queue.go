package morningai

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// QueueConfig is how a queue is set up. A queue that nobody configured has the
// zero settings: not paused, no limits.
type QueueConfig struct {
	Name        string
	Paused      bool
	Concurrency int  // tasks running at once over all nodes; 0: no limit
	Rate        Rate // starts per period over all nodes; zero: no limit
	Version     int64
	// Changed says when each setting was changed last: of two changes that do not
	// know of each other the later one holds.
	Changed QueueTimes
	// Pending: the change holds on this node and is journaled; the shared
	// engine has still to be told. Engines do not store it.
	Pending bool
}

// QueueTimes are times of the settings of a queue, to the millisecond; zero for a
// setting that was never changed.
type QueueTimes struct{ Paused, Concurrency, Rate time.Time }

// QueueChange changes settings; nil leaves a setting as it is, a zero value
// clears a limit.
type QueueChange struct {
	Paused      *bool
	Concurrency *int
	Rate        *Rate
	// At, if set, is when the change was given, to an engine that could not tell
	// this one at once or that has to tell it again. A setting that was changed
	// later stays as it is; of two changes of one moment a pause holds.
	At time.Time
}

// Apply returns what a change that comes at a time makes of settings. Without an
// At of its own it is later than all that is there.
func (c QueueChange) Apply(q QueueConfig, now time.Time) QueueConfig {
	was := q
	if c.Paused != nil && c.follows(&q.Changed.Paused, now, *c.Paused) {
		q.Paused = *c.Paused
	}
	if c.Concurrency != nil && c.follows(&q.Changed.Concurrency, now, false) {
		q.Concurrency = *c.Concurrency
	}
	if c.Rate != nil && c.follows(&q.Changed.Rate, now, false) {
		q.Rate = *c.Rate
	}
	if q != was {
		q.Version++
	}
	return q
}

// follows reports whether the change takes effect on a setting with this time of
// change, and sets it.
func (c QueueChange) follows(changed *time.Time, now time.Time, safe bool) bool {
	at := c.At.UTC().Truncate(time.Millisecond)
	switch next := changed.Add(time.Millisecond); {
	case !c.At.IsZero():
		if at.Before(*changed) || at.Equal(*changed) && !safe {
			return false
		}
	default:
		if at = now.UTC().Truncate(time.Millisecond); at.Before(next) {
			at = next
		}
	}
	*changed = at
	return true
}

// Validate returns an [ErrInvalidInput] that names what is wrong with a change
// to the queue called name.
func (c QueueChange) Validate(name string) error {
	var bad []FieldError
	if !ValidName(name) {
		bad = append(bad, FieldError{"name", NameRule})
	}
	if c.Concurrency != nil && (*c.Concurrency < 0 || *c.Concurrency > MaxConcurrency) {
		bad = append(bad, FieldError{"concurrency", fmt.Sprintf("must be 1 to %d", MaxConcurrency)})
	}
	if c.Rate != nil && !c.Rate.valid() {
		bad = append(bad, FieldError{"rate", rateRule})
	}
	if len(bad) > 0 {
		return InvalidInput("set queue", bad...)
	}
	return nil
}

// MaxConcurrency bounds a queue's concurrency limit and a worker's slots.
const MaxConcurrency = 100_000

// QueueInfo is a queue's settings and what it holds.
type QueueInfo struct {
	QueueConfig
	Counts         map[State]int64 // every state has an entry, and StateRetrying
	OldestQueuedAt time.Time       // when the oldest queued task was accepted; zero if there is none
}

// Rate is a number of starts per period. A bucket of that many tokens refills
// evenly, so a burst after a rest is at most Count.
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
}

const (
	maxRate  = 1_000_000
	rateRule = "must be a number of starts per second, minute or hour, such as 10/s, 100/m or 5000/h"
)

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r == Rate{} }

func (r Rate) valid() bool {
	return r.IsZero() || r.Count >= 1 && r.Count <= maxRate &&
		(r.Per == time.Second || r.Per == time.Minute || r.Per == time.Hour)
}

// String returns the form that [ParseRate] reads, or "" for no limit.
func (r Rate) String() string {
	switch r.Per {
	case time.Second:
		return strconv.Itoa(r.Count) + "/s"
	case time.Minute:
		return strconv.Itoa(r.Count) + "/m"
	case time.Hour:
		return strconv.Itoa(r.Count) + "/h"
	}
	return ""
}

// ParseRate reads a rate such as 10/s, 100/m or 5000/h.
func ParseRate(s string) (Rate, error) {
	count, unit, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	ok = ok && !strings.HasPrefix(count, "+")
	r := Rate{Count: n}
	switch unit {
	case "s":
		r.Per = time.Second
	case "m":
		r.Per = time.Minute
	case "h":
		r.Per = time.Hour
	default:
		ok = false
	}
	if !ok || err != nil || r.IsZero() || !r.valid() {
		return Rate{}, InvalidInput("parse rate", FieldError{"rate", rateRule})
	}
	return r, nil
}

package morningai

import (
	"testing"
	"time"
)

// A part of the engine that has not seen the last beats counts from the last that it
// has seen, the others from the last of all.
func TestContactWithParts(t *testing.T) {
	const good = time.Hour
	var c contact
	began := time.Now()
	first, second, third := began.Add(-30*time.Minute), began.Add(-20*time.Minute), began.Add(-10*time.Minute)
	about := func(what string, left, want time.Duration) {
		t.Helper()
		if late := want - left; late < 0 || late > time.Minute {
			t.Errorf("%s: %v are left, not %v", what, left, want)
		}
	}
	c.heard(first, &BeatReply{})
	c.heard(second, &BeatReply{Missed: []int{3}})
	c.heard(third, &BeatReply{Missed: []int{3, 4}})
	about("a part that has missed two beats", c.leftIn(3, good), 30*time.Minute)
	about("a part that has missed one", c.leftIn(4, good), 40*time.Minute)
	about("any other", c.leftIn(5, good), 50*time.Minute)
	about("the first that is over", c.soonest(good), 30*time.Minute)
	c.heard(began, &BeatReply{Missed: []int{4}})
	about("a part that is back", c.leftIn(3, good), good)
	about("one that still misses beats", c.leftIn(4, good), 40*time.Minute)
	c.heard(began, &BeatReply{Alone: true})
	about("nobody has seen the last one", c.leftIn(4, good), 40*time.Minute)
}

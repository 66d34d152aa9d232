package morningai

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const beatEvery = 800 * time.Millisecond

// watch makes one observation of a session at the given offset.
func watch(o *Observer, base time.Time, at time.Duration, counter int64) bool {
	return watchSlowly(o, base, at, at+10*time.Millisecond, counter)
}

func watchSlowly(o *Observer, base time.Time, sent, answered time.Duration, counter int64) bool {
	dead := o.Observe(base.Add(sent), base.Add(answered), []Session{
		{ID: SessionID{1}, Counter: 99, LeaseTime: 1},
		{ID: SessionID{2}, Counter: counter, LeaseTime: 4 * time.Second},
	})
	for _, d := range dead {
		if d.Session == (SessionID{1}) {
			panic("the observer judged itself")
		}
		if d.Counter != counter {
			panic("the observer reports another counter than it saw")
		}
	}
	return len(dead) > 0
}

func TestObserverWaitsForTheWholeLease(t *testing.T) {
	o, base := NewObserver(SessionID{1}, beatEvery), time.Now()
	var died time.Duration
	for at := time.Duration(0); died == 0 && at < time.Minute; at += beatEvery {
		if watch(o, base, at, 7) {
			died = at
		}
	}
	if died < 4*time.Second || died > 4*time.Second+2*beatEvery {
		t.Errorf("declared dead after %v, the lease is 4s", died)
	}
}

func TestObserverSparesWhoMoves(t *testing.T) {
	o, base := NewObserver(SessionID{1}, beatEvery), time.Now()
	for i := range 100 {
		if watch(o, base, time.Duration(i)*beatEvery, int64(i/4)) {
			t.Fatal("a session that beats now and then was declared dead")
		}
	}
}

func TestObserverStartsOverAfterALongHole(t *testing.T) {
	o, base := NewObserver(SessionID{1}, beatEvery), time.Now()
	at := time.Duration(0)
	for range 5 {
		watch(o, base, at, 7)
		at += beatEvery
	}
	at += time.Hour // this process, or the engine, was away
	if watch(o, base, at, 7) {
		t.Fatal("declared dead by time that nobody watched")
	}
	start := at
	for !watch(o, base, at, 7) {
		at += beatEvery
	}
	if at-start < 4*time.Second {
		t.Errorf("declared dead %v after the hole, the lease is 4s", at-start)
	}
}

func TestObserverPausesInAShortHole(t *testing.T) {
	o, base := NewObserver(SessionID{1}, beatEvery), time.Now()
	at, seen := time.Duration(0), 0
	for ; !watch(o, base, at, 7); at += 2 * beatEvery {
		seen++
	}
	// Each gap is two intervals, of which one counts.
	if at < 8*time.Second {
		t.Errorf("declared dead after %v with every second beat missing, the lease is 4s", at)
	}
}

// Whatever the gaps between observations and however slow the answers, nobody
// is declared dead before its lease time has passed since its counter last
// moved, which may have been just before the answer that showed it.
func TestObserverNeverJudgesEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, base := NewObserver(SessionID{1}, beatEvery), time.Now()
		var sent, answered, moved time.Duration
		counter := int64(0)
		draw := func(most time.Duration, name string) time.Duration {
			return time.Duration(rapid.Int64Range(1, int64(most)).Draw(t, name))
		}
		for range 60 {
			sent = answered + draw(2*beatEvery, "gap")
			answered = sent + draw(beatEvery, "slowness")
			if rapid.IntRange(0, 9).Draw(t, "moves") == 0 {
				counter++
				moved = answered
			}
			if watchSlowly(o, base, sent, answered, counter) && sent-moved < 4*time.Second {
				t.Fatalf("declared dead %v after it moved", sent-moved)
			}
		}
	})
}

func TestObserverCountsFromTheAnswerOn(t *testing.T) {
	o, base := NewObserver(SessionID{1}, beatEvery), time.Now()
	const slow = 700 * time.Millisecond
	for at := time.Duration(0); ; at += beatEvery {
		if watchSlowly(o, base, at, at+slow, 7) {
			if at-slow < 4*time.Second {
				t.Errorf("declared dead %v after it was first seen, the lease is 4s", at-slow)
			}
			return
		}
	}
}

package redis_test

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// An engine that is opened with the marks of an earlier one notices that Redis has
// come back older than what that had been acknowledged, and only that.
func TestAnEarlierEngineIsWitness(t *testing.T) {
	server := redistest.Start(t, "--save", "", "--appendonly", "no")
	reopen := func(marks []morningai.Mark, at time.Time) *redis.Engine {
		t.Helper()
		e, err := redis.Open(t.Context(), server.URL(), redis.WithTimeout(20*time.Second), redis.WithMarks(marks, at))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	leave := func(e *redis.Engine) []morningai.Mark {
		t.Helper()
		marks := e.Marks()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if len(marks) == 0 {
			t.Fatal("nothing was acknowledged")
		}
		return marks
	}
	lost := func(what string, marks []morningai.Mark, at time.Time, want int64) *redis.Engine {
		t.Helper()
		e := reopen(marks, at)
		if got := e.Losses(); got != want {
			t.Errorf("%s: %d losses are noticed, not %d", what, got, want)
		}
		return e
	}

	e := reopen(nil, time.Time{})
	enqueue(t, e, specs(3))
	marks := leave(e)
	e = lost("nothing was lost", marks, time.Now(), 0)
	enqueue(t, e, specs(2))
	marks = leave(e)
	server.Do("SAVE")
	e = lost("a second time", marks, time.Now(), 0)
	enqueue(t, e, specs(1))
	newest := leave(e)
	server.Kill() // it comes back as it was saved
	server.Restart()
	old := reopen(newest, time.Now().Add(-8*24*time.Hour))
	if got := old.Losses(); got != 0 {
		t.Errorf("marks that Redis may have forgotten since are taken for a loss, %d times", got)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	e = lost("a task less", newest, time.Now(), 1)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = lost("it was noticed before", newest, time.Now(), 0)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

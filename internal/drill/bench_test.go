package drill

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// large is a history of about n operations of a fleet that keeps its promises.
func large(n int) *story {
	s := newStory(everything, "a", "b")
	s.do(fault(RedisDown, ""), fault(RedisUp, ""))
	for id := 1; s.h.Len() < n; id++ {
		s.do(enqueue("a", id))
		if id%10 == 0 {
			s.do(run("a", id, 1, morningai.OutcomeRetry)...)
			s.do(run("b", id, 2, morningai.OutcomeSucceeded)...)
		} else {
			s.do(run("a", id, 1, morningai.OutcomeSucceeded)...)
		}
		s.do(read("a", id, morningai.StateSucceeded, 5), read("b", id, morningai.StateSucceeded, 5))
		f := succeeded(id)
		f.Version, f.Attempts = 5, nil
		s.end(id, f)
		if id%1000 == 0 {
			s.do(fault(Crash, "b"), fault(Restart, "b"))
		}
	}
	return s
}

func BenchmarkCheckAMillion(b *testing.B) {
	s := large(1_000_000)
	for b.Loop() {
		if found := s.check(); len(found) > 0 {
			b.Fatal(found[0])
		}
	}
}

// One task with a very long history is no worse than many with short ones.
func BenchmarkCheckOneTask(b *testing.B) {
	s := newStory(everything, "a", "b")
	s.do(enqueue("a", 1))
	for n := range int64(25_000) {
		s.do(run("a", 1, n+1, morningai.OutcomeRetry)...)
		s.do(read("a", 1, morningai.StateScheduled, 3*n+4))
		s.wait(time.Second)
	}
	s.end(1, TaskFinal{State: morningai.StateScheduled, Life: 1, Payload: 101})
	for b.Loop() {
		if found := s.check(); len(found) > 0 {
			b.Fatal(found[0])
		}
	}
}

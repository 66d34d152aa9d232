package redis_test

import (
	"testing"
	"time"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// Each trip of a call counts as a reply of Redis, and none of a Redis that stands
// still.
func TestLastReply(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL(), redis.WithTimeout(200*time.Millisecond))
	before := e.LastReply()
	if before.IsZero() || before.After(time.Now()) {
		t.Fatalf("after the start the last reply came at %v", before)
	}
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !e.LastReply().After(before) {
		t.Error("a probe is no reply")
	}
	server.Freeze()
	last := time.Time{}
	for range 2 { // the first may meet replies that were on their way
		last = e.LastReply()
		if err := e.Probe(t.Context()); err == nil {
			t.Error("a frozen server replies")
		}
	}
	if !e.LastReply().Equal(last) {
		t.Error("a frozen server counts as one that has replied")
	}
	server.Thaw()
}

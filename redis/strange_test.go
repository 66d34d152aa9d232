package redis_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// A key that somebody writes over with a value of another kind is named, and
// nothing is mended around it. When it is gone everything is as it was, although
// some calls had written half of what they had to.
func TestAKeyOfAnotherKind(t *testing.T) {
	t.Parallel()
	for _, key := range redis.KeyNames() {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			p := people(t)
			list, counts := p.all(), p.states()
			name := "mai:{0}:" + key
			p.server.Do("SET", name, "something")
			err := p.e.Probe(t.Context())
			if !errors.Is(err, redis.ErrUnavailable) || !strings.Contains(err.Error(), "the key "+name+" in Redis holds something of another kind") ||
				hintOf(err) == "" || !strings.Contains(hintOf(err), "DEL "+name) {
				t.Errorf("a probe says %v; %s", err, hintOf(err))
			}
			p.ahead.Add(int64(time.Second)) // one of all sessions looks every half second; a probe names what it cannot
			if _, err := p.e.Beat(t.Context(), morningai.BeatRequest{Session: p.session, Node: "n", LeaseTime: time.Minute}); err == nil || key != "sessions" && key != "lanes" && !strings.Contains(err.Error(), name) {
				t.Errorf("a beat says %v", err)
			}
			// Calls fail, or do all that they have to: some before they have written, some after.
			more := specs(40)
			half := func() error { _, err := p.e.Enqueue(t.Context(), more); return err }
			accepted := half() == nil
			if !accepted {
				_, _ = p.e.Finish(t.Context(), []morningai.Report{{Lease: p.running[0].Lease, Node: "n", Attempt: p.running[0].Task.Attempt, Outcome: morningai.OutcomeSucceeded,
					StartedAt: p.running[0].Task.StartedAt, FinishedAt: time.Now(), Result: []byte("1")}}) // is reported again below
				if half() == nil { // by whoever does not know
					t.Error("what failed is accepted now")
				}
			}
			if err := p.e.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("a second probe says %v", err)
			}
			p.server.Do("DEL", name)
			if err := p.e.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if key == "tasks" || key == "specs" { // what they held comes from journals
				return
			}
			if err := half(); err != nil {
				t.Fatal(err)
			}
			var holding []morningai.Lease
			for _, g := range p.running {
				holding = append(holding, g.Lease)
			}
			if reply := beat(t, p.e, morningai.BeatRequest{Session: p.session, Holding: holding, Through: 1 << 40}); len(reply.Lost) > 1 || len(reply.Lost) == 1 && accepted {
				t.Errorf("%d leases are not held any more", len(reply.Lost))
			}
			counts[morningai.StateQueued] += int64(len(more))
			now := p.states()
			for _, s := range []morningai.State{morningai.StateRunning, morningai.StateSucceeded} { // one of them may have ended
				counts[s], now[s] = 0, 0
			}
			if !maps.Equal(now, counts) {
				t.Errorf("%v, and before it was %v", now, counts)
			}
			there := p.all()
			for _, line := range list {
				id, state, _ := strings.Cut(line, " ")
				if !slices.Contains(there, line) && !(state == "running" && slices.Contains(there, id+" succeeded")) {
					t.Errorf("%s is not there", line)
				}
			}
			p.goesOn()
		})
	}
}

func hintOf(err error) string {
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		return e.Hint
	}
	return ""
}

// Tokens that wake a worker come through although somebody has written over the
// list that they are in.
func TestAWakeListOfAnotherKind(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	server.Do("SET", "mai:{0}:w:work", "something")
	list := specs(3)
	enqueue(t, e, list)
	if got := claim(t, e, session, 10, 0); len(got) != len(list) {
		t.Errorf("%d of %d tasks are handed out", len(got), len(list))
	}
	if kind := server.Do("TYPE", "mai:{0}:w:work"); kind != "list" {
		t.Errorf("the list is a %s", kind)
	}
}

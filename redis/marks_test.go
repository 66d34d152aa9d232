package redis_test

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// What Redis has lost while no process of a node ran is noticed by the next one, and
// a Redis that has everything, or has forgotten a lane for its age, is not blamed.
func TestALossWhileNobodyRan(t *testing.T) {
	t.Parallel()
	const gone = "for _, l in ipairs(redis.call('HKEYS', KEYS[1])) do if l ~= '*' then redis.call('HDEL', KEYS[1], l) end end return 1"
	const save = "redis.call('COPY', KEYS[1], KEYS[1] .. 'was') return 1"
	const back = "redis.call('COPY', KEYS[1] .. 'was', KEYS[1], 'REPLACE') return 1"
	for name, c := range map[string]struct {
		script string        // what is done meanwhile
		ago    time.Duration // the marks were written
		lost   bool
	}{
		"nothing":           {"return 1", 0, false},
		"a rollback":        {back, 0, true},
		"lanes gone":        {gone, 0, true},
		"lanes of long ago": {gone, 8 * 24 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			first, err := redis.Open(t.Context(), server.URL(), redis.WithAcknowledged(nil, time.Time{}))
			if err != nil {
				t.Fatal(err)
			}
			enqueue(t, first, specs(1))
			server.Do("EVAL", save, "1", "mai:{0}:lanes")
			enqueue(t, first, specs(2))
			data, marks := first.Capabilities().Data, first.Acknowledged()
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			server.Do("EVAL", c.script, "1", "mai:{0}:lanes")
			second := open(t, server.URL(), redis.WithDataSet(data), redis.WithAcknowledged(marks, time.Now().Add(-c.ago)))
			if lost := second.Losses() > 0; lost != c.lost || lost == second.Capabilities().Data.Same(data) {
				t.Errorf("%d losses are noticed, and the data are %+v", second.Losses(), second.Capabilities().Data)
			}
			enqueue(t, second, specs(3))
			third := open(t, server.URL(), redis.WithDataSet(second.Capabilities().Data), redis.WithAcknowledged(second.Acknowledged(), time.Now()))
			if third.Losses() > 0 {
				t.Error("a loss that was noticed is noticed again")
			}
		})
	}
}

// What is on record of a journal is known to the next process of its node, also if the
// last one has left.
func TestEditionOfAJournal(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	journal, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	session := join(t, e, 1)
	on := func() int64 {
		t.Helper()
		return open(t, server.URL(), redis.WithMember(journal)).Capabilities().Edition
	}
	if n := on(); n != 0 {
		t.Errorf("a journal that nobody knows has come to %d", n)
	}
	m := &morningai.Member{Journal: journal, Node: "n", Edition: 5, ContactAt: time.Now()}
	beat(t, e, morningai.BeatRequest{Session: session, Member: m})
	if n := on(); n != 5 {
		t.Errorf("on record is %d", n)
	}
	m.Edition = 7
	beat(t, e, morningai.BeatRequest{Session: session, Member: m, Leaving: true})
	if n := on(); n != 7 {
		t.Errorf("of one that has left %d is on record", n)
	}
}

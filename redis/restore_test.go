package redis_test

import (
	"errors"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// A restore that begins, and one that ends, is a new generation of the data to every
// engine that works on them: a claim that is made then brings nothing, so that a node
// can tell first what it knows.
func TestRestoreBeginsAGeneration(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 3} {
		server := redistest.Start(t)
		worker := open(t, server.URL(), redis.WithPartitions(partitions))
		other := open(t, server.URL(), redis.WithPartitions(partitions))
		session := join(t, worker, 1)
		claim(t, worker, session, 1, 0)
		before := worker.Capabilities().Data
		for _, state := range []morningai.RestoreState{{Unfinished: 5}, {Generation: 9}} {
			for range 2 { // an order that is repeated is one
				if err := other.SetRestoreState(t.Context(), state); err != nil {
					t.Fatal(err)
				}
			}
			enqueue(t, other, specs(1))
			req := morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1}
			if reply, err := worker.Claim(t.Context(), req); !errors.Is(err, redis.ErrUnavailable) || len(reply.Grants) > 0 {
				t.Errorf("%d partitions, %+v: a claim brings %+v, %v", partitions, state, reply.Grants, err)
			}
			redistest.Until(t, "all partitions to be looked at", func() bool {
				reply, err := worker.Claim(t.Context(), req)
				if err == nil && len(reply.Grants) == 1 {
					finish(t, worker, reply.Grants[0])
					return true
				}
				return false
			})
			after, theirs := worker.Capabilities().Data, other.Capabilities().Data
			if after.ID != before.ID || after.Generation < before.Generation+1 || after.Generation < state.Generation || after.Lineage == before.Lineage || after.LostAt.IsZero() ||
				partitions == 1 && !after.Same(theirs) {
				t.Errorf("%d partitions, %+v: %+v after %+v, %+v", partitions, state, after, before, theirs)
			}
			before = after
		}
		if got, err := worker.RestoreState(t.Context()); err != nil || got != (morningai.RestoreState{Generation: 9}) {
			t.Errorf("%+v %v", got, err)
		}
	}
}

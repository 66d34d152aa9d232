package redis_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// TestSeatsAfterAllHaveLeft: tasks that come after a block of ids has left in
// its midst are found by id, listed, exported and handed out in order, across
// blocks and chunks; what was only queued has no record beside its spec.
func TestSeatsAfterAllHaveLeft(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var offset atomic.Int64
	e := open(t, server.URL(), redis.WithClock(func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }), redis.WithSweep(time.Hour))
	session := join(t, e, 1)
	for _, n := range []int{5, 37, 250, 600} {
		list := specs(n)
		ids := make([]morningai.ID, n)
		for i := range list {
			ids[i] = list[i].ID
		}
		for part := range slices.Chunk(list, 7) { // several calls fill a block
			enqueue(t, e, part)
		}
		if records := server.Do("HLEN", "mai:{0}:tasks"); records != "1" {
			t.Fatalf("%s records of %d tasks that were only queued", records, n)
		}
		got, err := e.Get(t.Context(), morningai.GetRequest{IDs: ids})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range got {
			if r.ID != ids[i] || r.State != morningai.StateQueued || string(r.Payload) != string(list[i].Payload) {
				t.Fatalf("task %d of %d: %+v", i, n, r)
			}
		}
		page, err := e.Export(t.Context(), "", n)
		for err == nil && page.Next != "" {
			var more morningai.ExportPage
			more, err = e.Export(t.Context(), page.Next, n)
			page.Records, page.Next = append(page.Records, more.Records...), more.Next
		}
		if err != nil || len(page.Records) != n {
			t.Fatalf("%d records of %d, %v", len(page.Records), n, err)
		}
		for i, r := range page.Records {
			if r.Task.ID != ids[i] {
				t.Fatalf("record %d of %d is not in order", i, n)
			}
		}
		for done := 0; done < n; {
			grants := claim(t, e, session, 100, 0)
			if len(grants) == 0 {
				t.Fatalf("nothing to claim after %d of %d", done, n)
			}
			for i, g := range grants {
				if g.Task.ID != ids[done+i] {
					t.Fatalf("grant %d of %d is not in order", done+i, n)
				}
			}
			for _, v := range finish(t, e, grants...) {
				if v.Err != nil {
					t.Fatal(v.Err)
				}
			}
			done += len(grants)
		}
		for range 2 {
			offset.Add(int64(25 * time.Hour))
			if err := e.SweepAll(); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range []string{"tasks", "specs", "chunks"} {
			if left := server.Do("HLEN", "mai:{0}:"+key); left != "1" {
				t.Fatalf("%s of %d tasks are left in %s", left, n, key)
			}
		}
	}
}

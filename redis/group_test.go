package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// contract runs the suite of all engines, a prefix for each check.
func contract(t *testing.T, url string, opts ...redis.Option) {
	var n atomic.Int64
	h := enginetest.Harness{New: func(tb testing.TB) enginetest.Storage {
		address := fmt.Sprintf("%s?prefix=t%d", url, n.Add(1))
		return func(tb testing.TB) morningai.Engine {
			tb.Helper()
			opts := append([]redis.Option{redis.WithOrphanGrace(200 * time.Millisecond), redis.WithTimeout(20 * time.Second)}, opts...)
			e, err := redis.Open(context.Background(), address, opts...)
			if err != nil {
				tb.Fatal(err)
			}
			return e
		}
	}}
	enginetest.Run(t, h)
	enginetest.RunRestorer(t, h)
}

func TestContractOnSentinel(t *testing.T) {
	t.Parallel()
	contract(t, redistest.StartGroup(t).URL())
}

func TestContractOnCluster(t *testing.T) {
	t.Parallel()
	contract(t, redistest.StartCluster(t, 3).URL())
}

// TestContractOnValkey runs where Valkey is installed. Where there is a package
// and it is not, that is an error; .ci/deps installs it.
func TestContractOnValkey(t *testing.T) {
	t.Parallel()
	v := redistest.Valkey
	if !v.Installed() {
		if v.Packaged() {
			t.Fatal("Valkey has a package here that is not installed: apt-get install valkey-server")
		}
		t.Log("this system has no package of Valkey: nothing was tried on it")
		return
	}
	t.Run("single", func(t *testing.T) {
		s := v.Start(t)
		if !strings.Contains(s.Do("INFO", "server"), "valkey") {
			t.Fatal("valkey-server is not Valkey")
		}
		contract(t, s.URL())
	})
	t.Run("sentinel", func(t *testing.T) { contract(t, v.StartGroup(t).URL()) })
	t.Run("cluster", func(t *testing.T) { contract(t, v.StartCluster(t, 3).URL()) })
}

// TestFailover kills the primary of a group: the engine finds the new one, and
// what had reached it is there.
func TestFailover(t *testing.T) {
	t.Parallel()
	g := redistest.StartGroup(t)
	e := open(t, g.URL(), redis.WithTimeout(time.Second))
	session := join(t, e, 1)
	list := specs(50)
	enqueue(t, e, list)
	g.Primary.Do("WAIT", "2", "10000") // replicated; what is not is a matter of later
	g.Primary.Kill()
	redistest.Until(t, "the engine to write to the new primary", func() bool { return e.Probe(t.Context()) == nil })
	beat(t, e, morningai.BeatRequest{Session: session})
	grants := claim(t, e, session, 50, 0)
	if len(grants) != 50 {
		t.Fatalf("%d grants after the failover, want 50", len(grants))
	}
	for _, v := range finish(t, e, grants...) {
		if v.Err != nil {
			t.Fatal(v.Err)
		}
	}
}

// TestResharding moves the slot of the engine's keys to another node while it
// works.
func TestResharding(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	e := open(t, c.URL())
	session := join(t, e, 1)
	key := "mai:{0}:meta"
	done := make(chan int)
	stop := make(chan struct{})
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			got, err := e.Enqueue(context.Background(), specs(5))
			if err != nil { // while a slot moves nothing is applied: the engine waits
				t.Errorf("enqueue while the slot moves: %v", err)
				continue
			}
			for _, r := range got {
				if r.Err == nil {
					n++
				}
			}
		}
	}()
	for i := range 3 {
		c.Move(key, c.Nodes[(i+1)%3])
	}
	close(stop)
	want := <-done
	if want == 0 {
		t.Fatal("nothing was accepted: the test has not tested")
	}
	got := 0
	for {
		grants := claim(t, e, session, 500, 0)
		if len(grants) == 0 {
			break
		}
		got += len(grants)
		finish(t, e, grants...)
	}
	if got < want || e.Losses() != 0 {
		t.Fatalf("%d of %d accepted tasks are there after the move, losses %d", got, want, e.Losses())
	}
}

// TestPartitions spreads work over the nodes of a Cluster: nothing is lost or
// handed out twice, and reads see all of it.
func TestPartitions(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	e := open(t, c.URL()+"?partitions=16")
	list := specs(400)
	enqueue(t, e, list)
	for i, s := range c.Nodes {
		if s.Do("DBSIZE") == "0" {
			t.Errorf("node %d holds nothing", i)
		}
	}
	page, err := e.Events(t.Context(), morningai.EventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cursor := page.Cursor
	listed, last := map[morningai.ID]bool{}, time.Now().Add(time.Hour)
	for f := (morningai.Filter{Limit: 70}); ; {
		page, err := e.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range page.Tasks {
			if !task.CreatedAt.Before(last) {
				t.Fatal("the list is not newest first")
			}
			listed[task.ID], last = true, task.CreatedAt
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	if len(listed) != len(list) {
		t.Fatalf("%d of %d tasks are listed", len(listed), len(list))
	}
	session, seen := join(t, e, 1), map[morningai.ID]bool{}
	for len(seen) < len(list) {
		grants := claim(t, e, session, 50, 10*time.Second)
		for _, g := range grants {
			if seen[g.Task.ID] {
				t.Fatal("a task was handed out twice")
			}
			seen[g.Task.ID] = true
		}
		for _, v := range finish(t, e, grants...) {
			if v.Err != nil {
				t.Fatal(v.Err)
			}
		}
	}
	stats, err := e.Stats(t.Context())
	if err != nil || stats.States[morningai.StateSucceeded] != int64(len(list)) || len(stats.Sessions) != 1 {
		t.Fatalf("stats %+v, %v", stats, err)
	}
	events := 0
	for events < 2*len(list) {
		page, err := e.Events(t.Context(), morningai.EventsRequest{Cursor: cursor, Wait: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		events, cursor = events+len(page.Events), page.Cursor
	}
	keyed := morningai.NewTaskSpec("work", nil)
	keyed.UniqueKey = "k"
	first, err := e.Enqueue(t.Context(), []morningai.TaskSpec{keyed, keyed})
	if err != nil || first[0].Err != nil || !first[1].Task.Duplicate || first[1].Task.ID != first[0].Task.ID {
		t.Fatalf("receipts %+v, %v", first, err)
	}
	if _, err := e.SetQueue(t.Context(), "q", morningai.QueueChange{Concurrency: new(3)}); err == nil {
		t.Fatal("a limit that cannot hold is accepted")
	}
}

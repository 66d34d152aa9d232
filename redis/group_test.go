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
func contract(t *testing.T, url string) {
	var n atomic.Int64
	enginetest.Run(t, enginetest.Harness{New: func(tb testing.TB) enginetest.Storage {
		address := fmt.Sprintf("%s?prefix=t%d", url, n.Add(1))
		return func(tb testing.TB) morningai.Engine {
			tb.Helper()
			e, err := redis.Open(context.Background(), address, redis.WithOrphanGrace(200*time.Millisecond), redis.WithTimeout(20*time.Second))
			if err != nil {
				tb.Fatal(err)
			}
			return e
		}
	}})
}

func TestContract(t *testing.T) { contract(t, redistest.Start(t).URL()) }

func TestContractOnSentinel(t *testing.T) { contract(t, redistest.StartGroup(t).URL()) }

func TestContractOnCluster(t *testing.T) { contract(t, redistest.StartCluster(t, 3).URL()) }

// TestFailover kills the primary of a group: the engine finds the new one, and
// what had reached it is there.
func TestFailover(t *testing.T) {
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
			if err != nil {
				if !strings.Contains(err.Error(), "moved") {
					t.Errorf("enqueue while the slot moves: %v", err)
				}
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

package outagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// The acknowledgement of a write is lost after Redis has applied it: there is
// one task, it runs once, and the caller has its id. How often the reply is lost
// decides whether the server learns of it at once or later.
func TestAcknowledgementLost(t *testing.T) {
	t.Parallel()
	f := startFleet(t).behindProxy()
	f.history.Setup.Starts = true
	a, b := f.startNode("a"), f.startNode("b")
	var made []receipt
	for _, times := range []int{1, 2, 3, 20} {
		mark := fmt.Sprintf("victim-%d", times)
		f.history.Add(drill.Op{Kind: drill.RedisDown}) // for whoever asks while replies are lost
		f.proxy.DropReplies(times, mark)
		r := f.must(a, f.counted(f.callee.atOnce()).with("metadata", map[string]string{"mark": mark}))
		if f.proxy.Lost() == 0 {
			t.Fatalf("no reply was lost: the test does not test what it says")
		}
		made = append(made, r)
		f.heal()
		f.history.Add(drill.Op{Kind: drill.RedisUp})
		if r.task.ID.IsZero() {
			continue
		}
		// Whoever repeats the request learns that it is the same task.
		again := f.enqueue(a, r.spec)
		if again.status != 202 || again.task.ID != r.id {
			t.Errorf("the request again is answered with %s", again)
		}
		f.waitFor(b, r.id, morningai.StateSucceeded)
	}
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), made)
}

// A write arrives at Redis long after its server has given up on it.
func TestWriteArrivesLate(t *testing.T) {
	t.Parallel()
	f := startFleet(t).behindProxy()
	f.history.Setup.Starts = true
	a := f.startNode("a")
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	f.proxy.HoldAll()
	var made []receipt
	for range 20 {
		made = append(made, f.must(a, f.counted(f.callee.atOnce())))
	}
	f.degraded(a)
	for range 20 {
		made = append(made, f.must(a, f.counted(f.callee.atOnce())))
	}
	f.proxy.Release() // all that was held arrives now, on connections old and new
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	f.settle()
	f.allAccepted(made)
	f.succeededOnce(f.everyStatusAgrees(), made)
}

// On a network that resets connections all the time, half of them after the
// write has been applied, nobody is told that Redis is unavailable, and every
// task runs once.
func TestResetsAllTheTime(t *testing.T) {
	t.Parallel()
	f := startFleet(t).behindProxy()
	f.history.Setup.Starts = true
	a, b := f.startNode("a"), f.startNode("b")
	tr := f.traffic(100, f.allCounted, a, b)
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	f.proxy.ResetAtRandom(0.05, 1)
	rest(5 * time.Second)
	f.heal()
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	rest(time.Second)
	made := tr.stop()
	f.settle()
	f.allAccepted(made)
	f.succeededOnce(f.everyStatusAgrees(), made)
}

// A slow link is not an outage that loses anything: answers come in time.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	f := startFleet(t).behindProxy()
	f.history.Setup.Starts = true
	a := f.startNode("a")
	tr := f.traffic(100, f.allCounted, a)
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	from := time.Now()
	for _, d := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		f.proxy.Delay(d)
		rest(2 * time.Second)
	}
	to := time.Now()
	f.heal()
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	made := tr.stop()
	e := yard.since(t, from)
	f.settle()
	f.allAccepted(made)
	f.timely("on a slow link", e, during(made, from, to), 0, time.Second)
	f.succeededOnce(f.everyStatusAgrees(), made)
}

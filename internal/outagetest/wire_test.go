package outagetest

import (
	"fmt"
	"net/http"
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
	made := []receipt{f.familiar(a)}
	for _, times := range []int{1, 2, 3, 5} {
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

// familiar has Redis learn the script of a write, so that the next write is one
// call: else the reply that is lost says only that the script is unknown.
func (f *fleet) familiar(n *node) receipt {
	f.t.Helper()
	r := f.must(n, f.counted(f.callee.atOnce()))
	f.waitFor(n, r.id, morningai.StateSucceeded)
	return r
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

// A caller that got no answer repeats its request at another server, in the
// middle of an outage: the key makes it the same task everywhere, and once Redis
// is back there is one, which runs once.
func TestRequestRepeatedElsewhere(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	f.away(killed)
	f.degraded(a, b)
	request := f.counted(f.callee.atOnce()).with("during_outage", "hold")
	key := http.Header{"Idempotency-Key": {"order 7"}}
	var first view
	for i, n := range []*node{a, a, b} {
		r := n.callAs("POST", "/v1/tasks", request, key)
		var got view
		if r.status == 202 {
			r.into(t, &got)
		}
		if i == 0 {
			first = got
		}
		if r.status != 202 || got.ID != first.ID || (r.header.Get("Idempotent-Replayed") == "true") != (i == 1) && n == a {
			t.Errorf("request %d, on %s, is answered with %d %s; replayed: %q", i, n.name, r.status, r, r.header.Get("Idempotent-Replayed"))
		}
	}
	if r := a.callAs("POST", "/v1/tasks", request.with("priority", 1), key); r.status != 409 || r.code() != "idempotency_conflict" {
		t.Errorf("another request under the key is answered with %s", r)
	}
	f.back(killed)
	f.settle()
	for _, n := range f.nodes {
		tasks := f.everything(n)
		if v := tasks[first.ID]; len(tasks) != 1 || v.State != morningai.StateSucceeded || v.Attempt != 1 {
			t.Errorf("%s has %d tasks; that of the key is %s after %d executions", n.name, len(tasks), v.State, v.Attempt)
		}
	}
	if ran := f.callee.of(first.ID); len(ran) != 1 {
		t.Errorf("the task has run %d times", len(ran))
	}
}

// The reply to one write is lost again and again, while all others arrive. That
// looks like a write that breaks its connections; but Redis has applied it, so
// that nobody may be told that it was refused.
func TestAcknowledgementAlwaysLost(t *testing.T) {
	t.Parallel()
	f := startFleet(t).behindProxy()
	f.history.Setup.Starts = true
	a := f.startNode("a")
	f.familiar(a)
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	f.proxy.DropReplies(30, "victim")
	r := f.must(a, f.counted(f.callee.atOnce()).with("metadata", map[string]string{"mark": "victim"}))
	rest(time.Second)
	f.heal()
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), []receipt{r})
}

// Redis has applied a write, one server never hears of it, and another one runs
// the task meanwhile: the caller has its id, and the server that is in doubt does
// not run it too.
func TestInDoubtWhileAnotherRuns(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.apart = true
	f.history.Setup.Starts = true
	a, b := f.startNode("a"), f.startNode("b")
	f.familiar(a)
	f.history.Add(drill.Op{Kind: drill.Cut, Node: "a"})
	a.proxy.DropReplies(1000, "victim")
	doubtful := f.must(a, f.counted(f.callee.atOnce()).with("metadata", map[string]string{"mark": "victim"}))
	f.waitFor(b, doubtful.id, morningai.StateSucceeded) // Redis had it
	if a.proxy.Lost() == 0 {
		t.Error("no reply was lost")
	}
	a.proxy.Refuse()
	f.degraded(a)
	if r, v := f.look(a, doubtful.id); r.status != 200 && r.code() != "status_unknown" || r.status == 200 && v.Fresh == morningai.FreshLive {
		t.Errorf("a task in doubt is answered with %s", r)
	}
	later := f.must(a, f.counted(f.callee.atOnce()))
	f.waitFor(a, later.id, morningai.StateSucceeded) // whatever waited on a has had its turn
	if err := a.proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	f.history.Add(drill.Op{Kind: drill.Mended, Node: "a"})
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), []receipt{doubtful, later})
}

package outagetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// A large backlog goes to a small Redis: it is through within half a minute, and
// what comes in meanwhile is answered in time. It has the machine to itself.
func TestBacklog(t *testing.T) {
	const count = 100_000
	f := startFleet(t, "--maxmemory", "400mb", "--maxmemory-policy", "noeviction")
	a := f.startNode("a")
	if r := f.setQueue(a, "bulk", true); r.status != 200 { // delivery is what is measured
		t.Fatal(r)
	}
	f.away(frozen)
	f.degraded(a)
	f.bulk(a, count)
	if h := f.health(a); h.Journal == nil || h.Journal.Entries < int64(count) {
		t.Errorf("after %d tasks the journal is %+v", count, h.Journal)
	}
	from := f.back(frozen)
	tr := f.traffic(100, f.mixed, a)
	delivered := func() bool { h := f.health(a); return h.Journal != nil && h.Journal.Entries < 200 }
	if !within(patience, delivered) {
		t.Errorf("after %v %d entries are left", patience, f.health(a).Journal.Entries)
	}
	to := time.Now()
	made := tr.stop()
	e := yard.since(t, from)
	took := period{from, to.Sub(from)}
	t.Logf("%d tasks of 1 KB were delivered in %v, net of the machine %v", count, took.took, e.net(took))
	if net := e.net(took); net > 30*time.Second {
		late(t, "the backlog of %d took %v, net of the machine %v", count, took.took, net)
	}
	f.timely("during the recovery", e, during(made, from, to), 250*time.Millisecond, time.Second)
	f.allAccepted(made)
	until(t, patience, "the journal to be empty", func() bool { return f.health(a).Journal.Entries == 0 })
	for _, n := range []*node{a, f.startNode("b")} { // counts may be a second old
		if got := 0; !within(5*time.Second, func() bool { got = f.queued(n, "bulk"); return got == count }) {
			t.Errorf("of %d tasks %s counts %d in Redis", count, n.name, got)
		}
	}
	for _, i := range f.incidents(a) {
		if i.Lost != 0 || i.SetAside != 0 || i.Backlog != 0 || i.Repeated != 0 || i.Accepted < int64(count) || i.Forwarded < int64(count) {
			t.Errorf("the incident says %+v", i)
		}
	}
	for _, r := range made {
		f.waitFor(a, r.id, morningai.StateSucceeded)
		if ran := f.callee.of(r.id); r.spec["type"] == "http" && len(ran) != 1 {
			t.Errorf("%s has run %d times", r.id, len(ran))
		}
	}
}

// bulk enqueues tasks of 1 KB into the queue of that name, in batches.
func (f *fleet) bulk(n *node, count int) {
	f.t.Helper()
	const batch = 1000
	for from := 0; from < count; from += batch {
		specs := make([]spec, batch)
		for i := range specs {
			text := fmt.Sprintf("%d ", from+i)
			specs[i] = spec{"type": "echo", "queue": "bulk", "payload": text + strings.Repeat("x", 1000-len(text))}
		}
		r := n.call("POST", "/v1/tasks/batch", map[string]any{"tasks": specs})
		var out struct {
			Tasks []json.RawMessage `json:"tasks"`
		}
		if r.status == 202 {
			r.into(f.t, &out)
		}
		if len(out.Tasks) != batch {
			f.t.Fatalf("of a batch %d tasks were accepted: %.300s", len(out.Tasks), r)
		}
	}
}

// queued is how many tasks wait in a queue.
func (f *fleet) queued(n *node, name string) int {
	f.t.Helper()
	var q struct {
		Queued int `json:"queued"`
	}
	n.call("GET", "/v1/queues/"+name, nil).into(f.t, &q)
	return q.Queued
}

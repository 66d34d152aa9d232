package outagetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// traffic are enqueues at a steady rate that waits for nobody: a server that
// answers late gets the next request all the same.
type traffic struct {
	f     *fleet
	next  func(i int) spec
	nodes []*node
	over  chan struct{}
	wait  sync.WaitGroup
	calls sync.WaitGroup

	mu       sync.Mutex
	receipts []receipt
}

// traffic makes enqueues on the servers in turn, until it is stopped.
func (f *fleet) traffic(perSecond int, next func(i int) spec, nodes ...*node) *traffic {
	tr := &traffic{f: f, next: next, nodes: nodes, over: make(chan struct{})}
	tr.wait.Go(func() { tr.run(perSecond) })
	for _, n := range nodes {
		tr.wait.Go(func() { tr.read(n) })
	}
	return tr
}

// mixed is traffic of which every fourth task is counted by the callee, and every
// eighth takes a while, so that some run whenever something happens.
func (f *fleet) mixed(i int) spec {
	switch i % 8 {
	case 0:
		return f.counted(f.callee.lasting(100 * time.Millisecond))
	case 4:
		return f.counted(f.callee.atOnce())
	}
	return f.echo(map[string]any{"n": i})
}

// allCounted is traffic that the callee counts.
func (f *fleet) allCounted(int) spec { return f.counted(f.callee.atOnce()) }

func (tr *traffic) run(perSecond int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for sent := 0; ; {
		select {
		case <-tr.over:
			return
		case <-tick.C:
		}
		// Requests that were due while this process did not run are late, and
		// are not made up for in one burst.
		due := int(time.Since(begin).Seconds() * float64(perSecond))
		if due-sent > perSecond/4 {
			sent = due - perSecond/4
		}
		for ; sent < due; sent++ {
			i := sent
			tr.calls.Go(func() {
				r := tr.f.enqueue(tr.nodes[i%len(tr.nodes)], tr.next(i))
				tr.mu.Lock()
				tr.receipts = append(tr.receipts, r)
				tr.mu.Unlock()
			})
		}
	}
}

// read looks at what was accepted, the newest more often, on a server that may
// not be the one that has accepted it.
func (tr *traffic) read(n *node) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tr.over:
			return
		case <-tick.C:
		}
		if i%20 == 0 {
			tr.f.list(n)
			continue
		}
		tr.mu.Lock()
		id := morningai.ID{}
		if count := len(tr.receipts); count > 0 {
			id = tr.receipts[count-1-rand.IntN(min(count, 400))].task.ID
		}
		tr.mu.Unlock()
		if !id.IsZero() {
			tr.f.lookAs("reader of "+n.name, n, id)
		}
	}
}

// list looks at the newest tasks.
func (f *fleet) list(n *node) (reply, page) {
	call := f.history.Begin(drill.Op{Kind: drill.List, Node: n.name, Client: "lister"})
	r := n.call("GET", "/v1/tasks?limit=20", nil)
	var p page
	if r.status == 200 {
		r.err = json.Unmarshal(r.body, &p)
	}
	call.Return(func(o *drill.Op) {
		switch {
		case r.err != nil:
			o.Outcome = drill.Unknown
		case r.status != 200:
			o.Outcome, o.Code = r.judge()
		default:
			o.Count, o.Fresh = int64(len(p.Tasks)), p.Fresh
		}
	})
	for i := range p.Tasks {
		op := drill.Op{Kind: drill.Read, Node: n.name, Client: "lister"}
		op.Show(&p.Tasks[i].Task)
		op.Version = 0 // a list is not read at one moment
		f.history.Add(op)
	}
	return r, p
}

type page struct {
	Tasks []view              `json:"tasks"`
	Next  string              `json:"next_cursor"`
	Fresh morningai.Freshness `json:"fresh"`
}

// stop ends the traffic, and returns all receipts.
func (tr *traffic) stop() []receipt {
	close(tr.over)
	tr.wait.Wait()
	tr.calls.Wait()
	return tr.receipts
}

// during are the receipts of calls that were made in an interval.
func during(all []receipt, from, to time.Time) []receipt {
	var out []receipt
	for _, r := range all {
		if !r.at.Before(from) && r.at.Before(to) {
			out = append(out, r)
		}
	}
	return out
}

// times says how long calls took net of the machine.
func times(e excuses, all []receipt) (net, raw []time.Duration) {
	for _, r := range all {
		net = append(net, e.net(period{r.at, r.took}))
		raw = append(raw, r.took)
	}
	return net, raw
}

// timely checks that the calls of some interval were answered in time. What
// remains net of the machine may be late by as much as the control is: on a
// machine that is busy, waiting in line is a part of every call.
func (f *fleet) timely(what string, e excuses, all []receipt, p99, longest time.Duration) {
	f.t.Helper()
	net, raw := times(e, all)
	said := fmt.Sprintf("%s, %d enqueues: p50 %v, p99 %v, longest %v; net of the machine p99 %v, longest %v; the control's p99 %v",
		what, len(all), percentile(raw, 50), percentile(raw, 99), percentile(raw, 100), percentile(net, 99), percentile(net, 100), percentile(e.took(), 99))
	f.t.Log(said)
	if p99 > 0 && percentile(net, 99) > p99+percentile(e.took(), 99) || longest > 0 && percentile(net, 100) > longest+percentile(e.took(), 100) {
		late(f.t, "too slow, for a p99 of %v and at most %v: %s", p99, longest, said)
	}
}

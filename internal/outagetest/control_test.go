package outagetest

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// control accepts a task every few milliseconds with a server that has nothing
// to do with Redis, and remembers how long that took.
type control struct {
	begin sync.Once
	dir   string
	node  *node
	over  chan struct{}
	wait  sync.WaitGroup

	mu    sync.Mutex
	calls []period // one after another
}

// period is how long something lasted.
type period struct {
	from time.Time
	took time.Duration
}

func (p period) end() time.Time { return p.from.Add(p.took) }

var yard control

const controlEvery = 25 * time.Millisecond

// start lets the control run for the rest of the tests.
func (c *control) start(t *testing.T) {
	t.Helper()
	c.begin.Do(func() {
		dir, err := os.MkdirTemp("", "outagetest")
		if err != nil {
			t.Fatal(err)
		}
		c.dir = dir
		n := newNode(t, "control", "--docs", dir, "--retain-succeeded", "0s")
		n.data, n.log = dir+"/data", dir+"/log" // it outlives the test that starts it
		n.start()
		// The test's end kills the node that it knows; this one goes on.
		own := &node{name: n.name, http: n.http, cmd: n.cmd, done: n.done}
		own.url.Store(n.url.Load())
		n.cmd = nil
		c.node, c.over = own, make(chan struct{})
		c.wait.Go(c.run)
	})
	if c.node == nil {
		t.Fatal("the control does not run")
	}
}

func (c *control) run() {
	tick := time.NewTicker(controlEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.over:
			return
		}
		r := c.node.call("POST", "/v1/tasks", map[string]any{"type": "echo"})
		if r.err != nil || r.status != 202 {
			fmt.Fprintln(os.Stderr, "the control is refused:", r)
			return
		}
		c.mu.Lock()
		c.calls = append(c.calls, period{r.at, r.took})
		c.mu.Unlock()
	}
}

func (c *control) stop() {
	if c.node == nil {
		return
	}
	close(c.over)
	c.wait.Wait()
	c.node.kill()
	_ = os.RemoveAll(c.dir)
}

// excuses are the control's calls of some time, for asking about many calls.
type excuses struct {
	calls  []period
	median time.Duration
}

// since returns the control's calls from a moment on. It waits for the next one,
// so that a call that lasted longest is among them.
func (c *control) since(t *testing.T, from time.Time) excuses {
	t.Helper()
	now := time.Now()
	until(t, patience, "the control", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.calls) > 0 && c.calls[len(c.calls)-1].from.After(now)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	i := 0
	for i < len(c.calls) && c.calls[i].end().Before(from) {
		i++
	}
	e := excuses{calls: slices.Clone(c.calls[i:])}
	e.median = percentile(e.took(), 50)
	return e
}

func (e excuses) took() []time.Duration {
	out := make([]time.Duration, len(e.calls))
	for i, c := range e.calls {
		out[i] = c.took
	}
	return out
}

// net is how long a call took without what the machine is to blame for.
func (e excuses) net(call period) time.Duration {
	// The control's calls follow one another, so both ends are sorted.
	i, _ := slices.BinarySearchFunc(e.calls, call.from, func(p period, at time.Time) int { return p.end().Compare(at) })
	took := call.took
	for ; i < len(e.calls) && e.calls[i].from.Before(call.end()); i++ {
		if late := e.calls[i].took - e.median; late > 0 {
			took -= min(late, e.calls[i].took, call.took)
		}
	}
	return max(took, 0)
}

// percentile is the smallest value that p percent of all do not exceed.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return all[(len(all)*p+99)/100-1]
}

func TestNetOfTheMachine(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(1_000_000 + ms)) }
	span := func(from, to int) period { return period{at(from), time.Duration(to-from) * time.Millisecond} }
	e := excuses{calls: []period{span(0, 2), span(25, 27), span(50, 350), span(375, 377), span(400, 402)}, median: 2 * time.Millisecond}
	for _, c := range []struct {
		call period
		want int
	}{
		{span(10, 20), 10},     // nothing happened meanwhile
		{span(26, 46), 20},     // the control was as ever
		{span(60, 360), 2},     // all waited
		{span(300, 1300), 702}, // one that waits for something else has to answer for it
		{span(300, 320), 0},
	} {
		if got := e.net(c.call); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("of %v remain %v, want %d ms", c.call.took, got, c.want)
		}
	}
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i))
	}
	if a, b := percentile(all, 99), percentile(all, 50); a != 198 || b != 100 || percentile(nil, 99) != 0 {
		t.Errorf("percentiles %d and %d", a, b)
	}
}

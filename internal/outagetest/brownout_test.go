package outagetest

import (
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/drill"
)

// brownouts are ways in which Redis is slow and not down.
var brownouts = []struct {
	name  string
	begin func(f *fleet)
	while func(f *fleet, over <-chan struct{})
}{
	{name: "300 ms on every reply", begin: func(f *fleet) { f.everyProxy(func(n *node) { n.proxy.Delay(brownoutDelay) }) }},
	{name: "5 % of what is sent resets its connection", begin: func(f *fleet) { f.everyProxy(func(n *node) { n.proxy.ResetAtRandom(0.05, 7) }) }},
	{name: "1 MB a second", begin: func(f *fleet) { f.everyProxy(func(n *node) { n.proxy.Limit(1 << 20) }) }},
	{name: "stopped and continued ten times a second", while: (*fleet).stutter},
}

const brownoutDelay = 300 * time.Millisecond

func (f *fleet) everyProxy(do func(n *node)) {
	for _, n := range f.nodes {
		do(n)
	}
}

// stutter freezes Redis for half of the time.
func (f *fleet) stutter(over <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for frozen := false; ; frozen = !frozen {
		if frozen {
			f.redis.Thaw()
		} else {
			f.redis.Freeze()
		}
		select {
		case <-tick.C:
		case <-over:
			f.redis.Thaw()
			return
		}
	}
}

// Slow is not down: a server makes at most one outage a minute of it, every
// enqueue is accepted, the work goes on meanwhile, and nothing is lost.
func TestBrownouts(t *testing.T) {
	t.Parallel()
	length := 6 * time.Second
	if *soak {
		length = 3 * time.Minute
	}
	for _, b := range brownouts {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			f.apart = true
			nodes := []*node{f.startNode("a"), f.startNode("b")}
			tr := f.traffic(100, f.allCounted, nodes...)
			rest(time.Second)
			f.history.Add(drill.Op{Kind: drill.RedisDown}) // what takes long may be answered by the journal
			from := time.Now()
			over := make(chan struct{})
			var wait sync.WaitGroup
			if b.begin != nil {
				b.begin(f)
			} else {
				wait.Go(func() { b.while(f, over) })
			}
			rest(length)
			to := time.Now()
			close(over)
			wait.Wait()
			f.everyProxy(func(n *node) {
				if err := n.proxy.Heal(); err != nil {
					t.Error(err)
				}
			})
			f.history.Add(drill.Op{Kind: drill.RedisUp})
			rest(500 * time.Millisecond)
			made := tr.stop()
			f.settle()
			f.allAccepted(made)
			f.succeededOnce(f.everyStatusAgrees(), made)
			for _, n := range nodes {
				if all := f.incidents(n); len(all) > int((length+time.Minute-1)/time.Minute) { // at most one a minute
					t.Errorf("%s has made %d outages of it in %v: %+v", n.name, len(all), length, all)
				}
			}
			asked, ran := 0, 0
			for _, r := range during(made, from, to.Add(-2*time.Second)) {
				asked++
				if runs := f.callee.of(r.id); len(runs) > 0 && runs[0].began.Before(to) {
					ran++
				}
			}
			t.Logf("of %d tasks of the brownout %d ran in it", asked, ran)
			if ran*2 < asked {
				late(t, "of %d tasks of the brownout only %d ran in it", asked, ran)
			}
		})
	}
}

// What 64 callers who wait for each receipt get through with 300 ms on every reply
// is at least half of what that delay leaves of their rate without it.
func TestBrownoutThroughput(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.apart = true
	a := f.startNode("a")
	const callers, length = 64, 3 * time.Second
	rate := func() float64 {
		end := time.Now().Add(length)
		var wait sync.WaitGroup
		counts := make([]int, callers)
		for i := range counts {
			wait.Go(func() {
				for time.Now().Before(end) {
					f.accepted(f.enqueue(a, f.echo(i)))
					counts[i]++
				}
			})
		}
		wait.Wait()
		all := 0
		for _, n := range counts {
			all += n
		}
		return float64(all) / length.Seconds()
	}
	plain := rate()
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	a.proxy.Delay(brownoutDelay)
	slow := rate()
	if err := a.proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	allowed := callers / (callers/plain + brownoutDelay.Seconds())
	t.Logf("%.0f/s without the delay, %.0f/s with it, of %.0f/s that it allows", plain, slow, allowed)
	if slow < allowed/2 { // a ratio within one run, far from what the journal makes of it
		t.Errorf("%.0f/s with a delay that allows %.0f/s", slow, allowed)
	}
	f.settle()
}

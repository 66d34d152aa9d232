package outagetest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

var seedFlag = flag.Uint64("seed", 0, "the plan of faults of this seed; 0: others each time")

// Faults by a plan that nobody has written: Redis goes away in one way or
// another, servers are cut off from it, frozen, killed and started again, and
// some of that at the same time.
func TestPlansOfFaults(t *testing.T) {
	t.Parallel()
	plans, length := 2, 15*time.Second
	if *soak {
		plans, length = 20, time.Minute
	}
	for i := range plans {
		seed := *seedFlag
		if seed == 0 {
			seed = rand.Uint64()>>40 | 1
		} else if i > 0 {
			break
		}
		t.Run(fmt.Sprintf("-seed %d", seed), func(t *testing.T) {
			t.Parallel()
			playPlan(t, seed, length)
		})
	}
}

func playPlan(t *testing.T, seed uint64, length time.Duration) {
	f := startFleet(t)
	f.apart = true
	f.history.Setup.Starts = true
	p := &plan{f: f, random: rand.New(rand.NewPCG(seed, 0)), busy: map[string]bool{}, canceled: map[morningai.ID]bool{}}
	for _, name := range []string{"a", "b", "c"} {
		f.startNode(name)
	}
	f.acquainted() // of one that nobody has ever met nobody knows what it has accepted
	tr := f.traffic(60, func(i int) spec {
		s := f.counted(f.callee.lasting(time.Duration(i%5) * 50 * time.Millisecond))
		if i%7 == 0 {
			s = s.with("during_outage", "hold")
		}
		return s
	}, f.nodes...)
	p.play(time.Now().Add(length))
	rest(time.Second)
	made := tr.stop()
	f.settle()
	at := f.everyStatusAgrees()
	var uncanceled []receipt
	for _, r := range made {
		if !p.canceled[r.id] {
			uncanceled = append(uncanceled, r)
		}
	}
	f.nothingLost(at, uncanceled)
	if t.Failed() {
		for _, line := range p.told {
			t.Log(line)
		}
	}
}

// plan is a sequence of faults, each with a moment at which it is over.
type plan struct {
	f        *fleet
	random   *rand.Rand
	busy     map[string]bool // what a fault has taken
	active   []active
	canceled map[morningai.ID]bool
	told     []string
}

type active struct {
	on   string
	end  time.Time
	over func()
}

func (p *plan) play(end time.Time) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for at := range tick.C {
		last := !at.Before(end)
		still := p.active[:0]
		for _, a := range p.active {
			if !last && at.Before(a.end) {
				still = append(still, a)
				continue
			}
			p.tell("%s is over", a.on)
			a.over()
			delete(p.busy, a.on)
		}
		p.active = still
		switch {
		case last:
			return
		case p.random.IntN(12) == 0:
			p.inflict(at)
		case p.random.IntN(20) == 0:
			p.cancel()
		}
	}
}

func (p *plan) tell(format string, args ...any) {
	p.told = append(p.told, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// inflict begins a fault, if what it would meet is not under one already.
func (p *plan) inflict(now time.Time) {
	lasts := time.Duration(100+p.random.IntN(1000)) * time.Millisecond
	if p.random.IntN(3) == 0 {
		lasts *= 4
	}
	f := p.f
	begin := func(on, what string, do func() (over func())) {
		if p.busy[on] {
			return
		}
		p.busy[on] = true
		p.tell("%s: %s for %v", on, what, lasts)
		p.active = append(p.active, active{on, now.Add(lasts), do()})
	}
	n := f.nodes[p.random.IntN(len(f.nodes))]
	switch p.random.IntN(6) {
	case 0, 1:
		o := []outage{killed, stopped, frozen}[p.random.IntN(3)]
		begin("redis", o.name, func() func() {
			f.away(o)
			return func() { f.back(o) }
		})
	case 2:
		begin(n.name, "killed", func() func() {
			f.kill(n)
			return func() { f.again(n) }
		})
	case 3:
		begin(n.name, "frozen", func() func() {
			f.freeze(n)
			return func() { f.thaw(n) }
		})
	default:
		begin("link of "+n.name, "cut", func() func() { return p.cut(n) })
	}
}

// cut does something to the link of one server.
func (p *plan) cut(n *node) (over func()) {
	f := p.f
	f.history.Add(drill.Op{Kind: drill.Cut, Node: n.name})
	switch p.random.IntN(6) {
	case 0:
		n.proxy.BlackHoleAll()
	case 1:
		n.proxy.Refuse()
	case 2:
		n.proxy.Freeze()
	case 3:
		n.proxy.LoseReplies(1 + p.random.IntN(30))
	case 4:
		n.proxy.ResetAtRandom(0.2, p.random.Uint64())
	case 5:
		n.proxy.Delay(time.Duration(p.random.IntN(600)) * time.Millisecond)
	}
	return func() {
		f.t.Helper()
		if err := n.proxy.Heal(); err != nil {
			f.t.Error(err)
		}
		n.proxy.Release()
		f.history.Add(drill.Op{Kind: drill.Mended, Node: n.name})
	}
}

// cancel asks some server to cancel some task.
func (p *plan) cancel() {
	all := p.f.all()
	if len(all) == 0 {
		return
	}
	r := all[len(all)-1-p.random.IntN(min(len(all), 100))]
	n := p.f.nodes[p.random.IntN(len(p.f.nodes))]
	if r.task.ID.IsZero() || p.busy[n.name] { // who is frozen would keep the plan waiting
		return
	}
	p.canceled[r.id] = true
	p.f.command(n, drill.Cancel, r.id)
}

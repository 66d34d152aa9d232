package outagetest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// watch asks a server for one path again and again until it is told to stop.
func (n *node) watch(path string, every time.Duration) (stop func() []reply) {
	over := make(chan struct{})
	var all []reply
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			all = append(all, n.call("GET", path, nil))
		}
	})
	return func() []reply {
		close(over)
		wait.Wait()
		return all
	}
}

// turned finds the answer with which a probe turned to a status for good, among
// those of calls that were made and answered between two moments.
func turned(all []reply, from, to time.Time, status int) (reply, bool) {
	var first reply
	for _, r := range all {
		if r.at.Before(from) || !r.at.Add(r.took).Before(to) {
			continue
		}
		switch {
		case r.status != status:
			first = reply{}
		case first.at.IsZero():
			first = r
		}
	}
	return first, !first.at.IsZero()
}

// The probe of Redis turns within 1.5 s of an outage and of the recovery,
// whatever kind of outage it is and without any traffic, in the exact words that
// people's monitors compare. No probe keeps its caller waiting.
func TestProbes(t *testing.T) {
	t.Parallel()
	const (
		turns  = 1500 * time.Millisecond
		budget = time.Second
	)
	for _, o := range []outage{killed, stopped, frozen, swallowed, refused} {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t).behindProxy()
			a := f.startNode("a")
			until(t, patience, "Redis to be up", func() bool { return a.call("GET", "/health/redis", nil).status == 200 })
			redis, others := a.watch("/health/redis", 20*time.Millisecond), map[string]func() []reply{}
			for _, path := range []string{"/health", "/livez", "/readyz"} {
				others[path] = a.watch(path, 100*time.Millisecond)
			}
			rest(500 * time.Millisecond)
			down, up := f.during(o, 4*time.Second, nil)
			rest(4 * time.Second)
			end := time.Now()
			all := redis()
			e := yard.since(t, down)
			for _, turn := range []struct {
				what     string
				from, to time.Time
				status   int
			}{{"down", down, up, 503}, {"up", up, end, 200}} {
				r, ok := turned(all, turn.from, turn.to, turn.status)
				if !ok {
					t.Errorf("the probe does not turn to %d when Redis is %s", turn.status, turn.what)
					continue
				}
				took := period{turn.from, r.at.Add(r.took).Sub(turn.from)}
				if net := e.net(took); net > turns {
					late(t, "the probe says that Redis is %s after %v, net of the machine %v", turn.what, took.took, net)
				}
			}
			for _, r := range all {
				body := string(bytes.TrimSpace(r.body))
				if !(r.status == 200 && body == `{"status":"Redis is up"}` || r.status == 503 && body == `{"status":"Redis is down"}`) {
					t.Errorf("the probe says %d %s", r.status, r)
				}
			}
			for path, stop := range others {
				answers := stop()
				for _, r := range answers {
					if r.status != 200 {
						t.Errorf("%s says %s with Redis away", path, r)
					}
				}
				all = append(all, answers...)
				if path == "/health" {
					f.saidDegraded(answers, e, down, up, turns)
				}
			}
			for _, r := range all {
				if net := e.net(period{r.at, r.took}); net > budget {
					late(t, "a probe takes %v, net of the machine %v", r.took, net)
				}
			}
		})
	}
}

// saidDegraded checks what GET /health has said of an outage.
func (f *fleet) saidDegraded(answers []reply, e excuses, down, up time.Time, turns time.Duration) {
	f.t.Helper()
	first, last := time.Time{}, time.Time{}
	for _, r := range answers {
		var h health
		r.into(f.t, &h)
		if h.Status != "degraded" {
			continue
		}
		if first.IsZero() {
			first = r.at
		}
		last = r.at
		if h.Redis.Status != "down" || h.Redis.Cause == "" || h.Redis.Since.Before(down.Add(-time.Second)) || h.Redis.Since.After(time.Now()) {
			f.t.Errorf("in an outage since %v the health is %s", down, r)
		}
	}
	switch took := (period{down, first.Sub(down)}); {
	case first.IsZero():
		f.t.Error("the health never says degraded")
	case first.Before(down):
		late(f.t, "the health says degraded %v before the outage", down.Sub(first))
	case e.net(took) > turns:
		late(f.t, "the health says degraded after %v", took.took)
	}
	const calm = 2 * time.Second
	if !last.IsZero() && last.After(up.Add(turns+calm)) {
		late(f.t, "the health still says degraded %v after Redis is back", last.Sub(up))
	}
}

func TestTurned(t *testing.T) {
	at := func(i int) time.Time { return time.UnixMilli(int64(1000 + i)) }
	all := []reply{{status: 200, at: at(0)}, {status: 503, at: at(1)}, {status: 200, at: at(2)}, {status: 503, at: at(3)}, {status: 503, at: at(4)}, {status: 200, at: at(9)}}
	if r, ok := turned(all, at(0), at(9), 503); !ok || !r.at.Equal(at(3)) {
		t.Errorf("turned at %v, %v", r.at, ok)
	}
	if _, ok := turned(all, at(0), at(10), 503); ok {
		t.Error("what turns back has turned")
	}
}

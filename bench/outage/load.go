package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// callee is what every task calls, and knows what has run.
type callee struct {
	server *http.Server
	url    string
	wait   sync.WaitGroup

	mu       sync.Mutex
	begun    map[int]int
	ended    map[int]int
	canceled int
	first    map[int]time.Time // ends
}

func newCallee() (*callee, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &callee{url: "http://" + l.Addr().String() + "/", begun: map[int]int{}, ended: map[int]int{}, first: map[int]time.Time{}}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	c.wait.Go(func() { _ = c.server.Serve(l) }) // ends with close
	return c, nil
}

func (c *callee) close() {
	_ = c.server.Close()
	c.wait.Wait()
}

func (c *callee) target(n int, lasts time.Duration) string {
	return fmt.Sprintf("%s?n=%d&ms=%d", c.url, n, lasts.Milliseconds())
}

// ServeHTTP is one run. A caller who leaves before the end was canceled.
func (c *callee) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	c.mu.Lock()
	c.begun[n]++
	c.mu.Unlock()
	err := rest(r.Context(), time.Duration(ms)*time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.canceled++
		return
	}
	if c.ended[n]++; c.ended[n] == 1 {
		c.first[n] = time.Now()
	}
}

// call is what a handler does.
func call(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// producer asks for tasks at a steady rate.
type producer struct {
	system system
	calls  sync.WaitGroup

	mu       sync.Mutex
	asked    int
	accepted []ask
	refused  []int
}

// ask is a task that was accepted.
type ask struct {
	n     int
	at    time.Time
	lasts time.Duration
}

const answerLimit = 10 * time.Second

func (p *producer) ask(ctx context.Context, lasts time.Duration) {
	p.mu.Lock()
	p.asked++
	n, at := p.asked, time.Now()
	p.mu.Unlock()
	p.calls.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		err := p.system.enqueue(ctx, n, lasts)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil {
			p.accepted = append(p.accepted, ask{n, at, lasts})
		} else {
			p.refused = append(p.refused, n)
		}
	})
}

func (p *producer) start(ctx context.Context) (stop func()) {
	over := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.ask(ctx, short)
			case <-over:
				return
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() { close(over) })
		wait.Wait()
		p.calls.Wait()
	}
}

// counts is what came of an outage.
type counts struct {
	asked, accepted, refused, ghosts, lost, twice, canceled int
	caughtUp                                                time.Duration
}

func (c counts) String() string {
	after := c.caughtUp.Round(100 * time.Millisecond).String()
	if c.lost > 0 {
		after = "never"
	}
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s", c.asked, c.accepted, c.refused, c.ghosts, c.lost, c.twice, c.canceled, after)
}

// count waits until all that was accepted has run, or for as long as anything could
// still come.
func (p *producer) count(ctx context.Context, c *callee, back time.Time) counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := counts{asked: p.asked, accepted: len(p.accepted), refused: len(p.refused)}
	end := time.Now().Add(patience)
	for {
		c.mu.Lock()
		out.lost = 0
		for _, a := range p.accepted {
			if c.ended[a.n] == 0 {
				out.lost++
			}
		}
		c.mu.Unlock()
		if out.lost == 0 || time.Now().After(end) || rest(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	_ = rest(ctx, around) // for what runs once more
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range p.refused {
		if c.begun[n] > 0 {
			out.ghosts++
		}
	}
	for _, times := range c.begun {
		if times > 1 {
			out.twice++
		}
	}
	out.canceled = c.canceled
	for _, a := range p.accepted { // of what waited: that which was asked for before
		if a.lasts == short && a.at.Before(back) {
			out.caughtUp = max(out.caughtUp, c.first[a.n].Sub(back))
		}
	}
	return out
}

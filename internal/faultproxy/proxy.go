package faultproxy

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Proxy is a way over TCP to a server on this machine that misbehaves when told
// to. It understands the framing of Redis's protocol so far that it can tell
// which reply answers which command; on connections that speak something else,
// what comes back next answers what was sent last. Its methods may be called at
// any time, from any goroutine.
type Proxy struct {
	target string
	addr   string
	ctx    context.Context // ends with the proxy
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed when something that others wait for changes
	listener net.Listener  // nil while connections are refused
	open     map[*link]bool
	made     int
	lost     int
	ended    bool

	lose     int // replies still to be lost, whatever they answer
	drops    []*drop
	holed    int    // connections up to this one lead nowhere
	held     int    // what is sent on connections up to this one waits
	heldBack bool   // what comes back waits
	bad      []byte // what ends the connection on which it is sent
	old      []byte // in replies, with what takes its place
	new      []byte
	delay    time.Duration
	rate     int       // bytes a second, both ways; 0: no limit
	free     time.Time // when the next bytes may pass
	chance   float64   // of a reset
	random   *rand.Rand
}

// drop is an order to lose the replies of the next n commands with these bytes.
type drop struct {
	n     int
	match []byte
}

// NewProxy listens on a free port of the loopback address and forwards to the
// target. The caller closes it.
func NewProxy(target string) (*Proxy, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{target: target, ctx: ctx, cancel: cancel, changed: make(chan struct{}), open: map[*link]bool{}, random: rand.New(rand.NewPCG(1, 1))}
	if err := p.listen("127.0.0.1:0"); err != nil {
		cancel()
		return nil, err
	}
	return p, nil
}

func (p *Proxy) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for a proxy: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.listener != nil {
		return l.Close()
	}
	p.listener, p.addr = l, l.Addr().String()
	p.wait.Go(func() { p.accept(l) })
	return nil
}

// Close ends all connections and waits until everything has ended. It may be
// called more than once.
func (p *Proxy) Close() {
	p.set(func() {
		p.ended = true
		p.cancel()
		p.unlisten()
		for l := range p.open {
			l.end(net.Conn.Close)
		}
	})
	p.wait.Wait()
}

func (p *Proxy) unlisten() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// set changes what the proxy does, and wakes those who wait for a change.
func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.addr }

// Lead changes the target of connections that are made from now on.
func (p *Proxy) Lead(target string) { p.set(func() { p.target = target }) }

// LoseReplies breaks each of the next n connections on which the server
// answers, after the server has done what it was asked.
func (p *Proxy) LoseReplies(n int) { p.set(func() { p.lose += n }) }

// DropReplies lets the server do the next n commands whose request contains
// these bytes, and breaks their connections where the reply would have begun.
// What was answered before on the same connection arrives.
func (p *Proxy) DropReplies(n int, containing string) {
	p.set(func() { p.drops = append(p.drops, &drop{n, []byte(containing)}) })
}

// Replace makes the server seem to say something else of the same length, where
// the old bytes arrive in one piece. No bytes end it.
func (p *Proxy) Replace(old, new string) {
	p.set(func() { p.old, p.new = []byte(old), []byte(new) })
}

// BreakOn ends every connection on which these bytes are sent, before the server
// has them all. No bytes end it.
func (p *Proxy) BreakOn(bad string) { p.set(func() { p.bad = []byte(bad) }) }

// BlackHole makes every connection there is lead nowhere, for good: what is sent
// on it disappears, nothing comes back, and neither side is told. New ones work.
func (p *Proxy) BlackHole() { p.set(func() { p.holed = p.made }) }

// BlackHoleAll is BlackHole for new connections too: they are made, and lead
// nowhere. It ends with Heal, for connections made after it.
func (p *Proxy) BlackHoleAll() { p.set(func() { p.holed = math.MaxInt }) }

// Hold keeps what is sent on the connections there are, until Release lets the
// server have it, even if the client has closed them meanwhile.
func (p *Proxy) Hold() { p.set(func() { p.held = p.made }) }

// HoldAll is Hold for new connections too.
func (p *Proxy) HoldAll() { p.set(func() { p.held = math.MaxInt }) }

// Freeze keeps everything, both ways and on new connections too, until Release:
// the network as a server that does not answer.
func (p *Proxy) Freeze() { p.set(func() { p.held, p.heldBack = math.MaxInt, true }) }

// Release ends Hold, HoldAll and Freeze.
func (p *Proxy) Release() { p.set(func() { p.held, p.heldBack = 0, false }) }

// Delay lets each reply arrive so much later.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Limit lets so many bytes a second pass, all connections and both ways
// together; 0 is no limit.
func (p *Proxy) Limit(bytesPerSecond int) { p.set(func() { p.rate = bytesPerSecond }) }

// ResetAtRandom resets the connection of each piece of a request with this
// probability, half of them before the server has it and half after. The seed
// decides in which order.
func (p *Proxy) ResetAtRandom(probability float64, seed uint64) {
	p.set(func() { p.chance, p.random = probability, rand.New(rand.NewPCG(seed, 2)) })
}

// ResetAll resets all connections there are.
func (p *Proxy) ResetAll() {
	p.set(func() {
		for l := range p.open {
			l.end(reset)
		}
	})
}

// Refuse resets all connections and refuses new ones, until Accept.
func (p *Proxy) Refuse() {
	p.set(func() {
		p.unlisten()
		for l := range p.open {
			l.end(reset)
		}
	})
}

// Accept listens again on the same port after Refuse. It fails if another
// process has taken the port meanwhile.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	listening := p.listener != nil
	p.mu.Unlock()
	if listening {
		return nil
	}
	return p.listen(p.addr)
}

// Heal ends everything that lasts; only connections that lead nowhere stay so.
func (p *Proxy) Heal() error {
	p.set(func() {
		p.lose, p.drops, p.held, p.heldBack, p.bad, p.old, p.delay, p.rate, p.chance = 0, nil, 0, false, nil, nil, 0, 0, 0
		p.holed = min(p.holed, p.made)
	})
	return p.Accept()
}

// Made is how many connections were made so far.
func (p *Proxy) Made() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

// Lost is how many replies were lost so far.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		l := &link{p: p, client: client, out: make(chan piece, 64), gone: make(chan struct{}), drops: map[int64]bool{}}
		p.mu.Lock()
		p.made++
		l.number = p.made
		p.open[l] = true
		if p.listener != listener { // it was closed meanwhile, and all connections with it
			l.end(reset)
		}
		p.mu.Unlock()
		p.wait.Go(l.run)
	}
}

// until waits for a condition, which is asked under the lock whenever something
// has changed. It is false if the proxy was closed first.
func (p *Proxy) until(ok func() bool) bool {
	for {
		p.mu.Lock()
		met, changed := ok(), p.changed
		p.mu.Unlock()
		if met {
			return true
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return false
		}
	}
}

// pace waits until n more bytes may pass.
func (p *Proxy) pace(n int) {
	p.mu.Lock()
	var d time.Duration
	if p.rate > 0 {
		now := time.Now()
		if p.free.Before(now) {
			p.free = now
		}
		p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
		d = p.free.Sub(now)
	}
	p.mu.Unlock()
	p.rest(d)
}

// rest waits, or returns early when the proxy is closed.
func (p *Proxy) rest(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// toDrop reports that the reply to a command is to be lost.
func (p *Proxy) toDrop(command []byte) bool {
	for i, d := range p.drops {
		if bytes.Contains(command, d.match) {
			if d.n--; d.n <= 0 {
				p.drops = append(p.drops[:i:i], p.drops[i+1:]...)
			}
			return true
		}
	}
	return false
}

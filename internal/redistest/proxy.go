package redistest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"testing"
)

// Proxy is a way to a server that can lose what comes back.
type Proxy struct {
	listener net.Listener
	target   string
	wait     sync.WaitGroup

	mu    sync.Mutex
	lose  int // replies still to be lost
	lost  int
	holed int // connections up to this one lead nowhere
	held  int // what is sent on connections up to this one waits
	free  *sync.Cond
	bad   []byte // what ends the connection on which it is sent
	made  int
	conns map[net.Conn]bool
	old   []byte // in replies, with what takes its place
	new   []byte
}

// NewProxy listens on a free port and forwards to the address.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.free = sync.NewCond(&p.mu)
	p.wait.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.Release()
		p.wait.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// LoseReplies breaks each of the next n connections on which the server
// answers, after the server has done what it was asked.
func (p *Proxy) LoseReplies(n int) {
	p.mu.Lock()
	p.lose += n
	p.mu.Unlock()
}

// Replace makes the server seem to say something else of the same length.
func (p *Proxy) Replace(old, new string) {
	p.mu.Lock()
	p.old, p.new = []byte(old), []byte(new)
	p.mu.Unlock()
}

// BlackHole makes every connection there is lead nowhere, for good: what is sent
// on it disappears, nothing comes back, and neither side is told. New ones work.
func (p *Proxy) BlackHole() {
	p.mu.Lock()
	p.holed = p.made
	p.mu.Unlock()
}

// Hold keeps what is sent on the connections there are, until Release lets the
// server have it, even if the client has closed them meanwhile.
func (p *Proxy) Hold() {
	p.mu.Lock()
	p.held = p.made
	p.mu.Unlock()
}

// HoldAll is Hold for new connections too.
func (p *Proxy) HoldAll() {
	p.mu.Lock()
	p.held = math.MaxInt
	p.mu.Unlock()
}

// Release ends a Hold.
func (p *Proxy) Release() {
	p.mu.Lock()
	p.held = 0
	p.free.Broadcast()
	p.mu.Unlock()
}

// BreakOn ends every connection on which these bytes are sent, before the server
// has them.
func (p *Proxy) BreakOn(bad string) {
	p.mu.Lock()
	p.bad = []byte(bad)
	p.mu.Unlock()
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

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.made++
		number := p.made
		p.mu.Unlock()
		both := func() { _ = client.Close(); _ = server.Close() }
		p.wait.Go(func() {
			_, _ = io.Copy(&way{proxy: p, number: number, to: server, request: true}, client)
			both()
		})
		p.wait.Go(func() {
			p.replies(&way{proxy: p, number: number, to: client}, server)
			both()
		})
	}
}

// way is one direction of a connection.
type way struct {
	proxy   *Proxy
	number  int
	to      net.Conn
	request bool
	tail    []byte // the end of what was sent before
}

func (w *way) Write(b []byte) (int, error) {
	p := w.proxy
	p.mu.Lock()
	for w.request && w.number <= p.held {
		p.free.Wait()
	}
	holed, bad := w.number <= p.holed, p.bad
	p.mu.Unlock()
	if w.request && len(bad) > 0 {
		seen := append(w.tail, b...)
		if bytes.Contains(seen, bad) {
			return 0, errors.New("what must not pass")
		}
		w.tail = bytes.Clone(seen[max(0, len(seen)-len(bad)):])
	}
	if holed {
		return len(b), nil
	}
	return w.to.Write(b)
}

func (p *Proxy) replies(client io.Writer, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			p.mu.Lock()
			drop := p.lose > 0
			if drop {
				p.lose--
				p.lost++
			}
			p.mu.Unlock()
			if drop {
				return
			}
			p.mu.Lock()
			said := buf[:n]
			if len(p.old) > 0 {
				said = bytes.ReplaceAll(said, p.old, p.new)
			}
			p.mu.Unlock()
			if _, err := client.Write(said); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

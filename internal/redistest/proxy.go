package redistest

import (
	"bytes"
	"io"
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
	p.wait.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
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
		p.mu.Unlock()
		both := func() { _ = client.Close(); _ = server.Close() }
		p.wait.Go(func() {
			_, _ = io.Copy(server, client)
			both()
		})
		p.wait.Go(func() {
			p.replies(client, server)
			both()
		})
	}
}

func (p *Proxy) replies(client, server net.Conn) {
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

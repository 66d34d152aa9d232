package faultproxy

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is one connection through a proxy.
type link struct {
	p      *Proxy
	number int
	client net.Conn
	server net.Conn   // set before anything is forwarded
	out    chan piece // replies on their way to the client
	gone   chan struct{}
	mute   atomic.Bool // nothing comes back any more

	mu    sync.Mutex
	ended bool
	drops map[int64]bool // numbers of the commands whose replies are to be lost
	next  bool           // on a connection of another protocol: the next reply is
}

// piece is a part of the replies, and when it is due.
type piece struct {
	data []byte
	at   time.Time
}

// end closes both sides, once, in one way or the other.
func (l *link) end(how func(net.Conn) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	close(l.gone)
	_ = how(l.client)
	if l.server != nil {
		_ = how(l.server)
	}
}

// reset closes a connection so that its other side gets an error at once.
func reset(c net.Conn) error {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return c.Close()
}

// run forwards until the connection ends, and waits for all that belongs to it.
func (l *link) run() {
	if l.dial() {
		var wait sync.WaitGroup
		wait.Go(l.requests)
		wait.Go(l.replies)
		wait.Go(l.deliver)
		wait.Wait()
	}
	l.p.mu.Lock()
	delete(l.p.open, l)
	l.p.mu.Unlock()
}

// dial connects to the server. If that fails, the client's connection is reset.
func (l *link) dial() bool {
	l.p.mu.Lock()
	target := l.p.target
	l.p.mu.Unlock()
	server, err := new(net.Dialer).DialContext(l.p.ctx, "tcp", target)
	if err != nil {
		l.end(reset)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = server.Close()
		return false
	}
	l.server = server
	return true
}

// requests forwards what the client sends.
func (l *link) requests() {
	defer l.end(net.Conn.Close)
	p := l.p
	var commands commandScanner
	var tail []byte // of what was sent before, for bytes that come in two pieces
	buf := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buf)
		if n > 0 {
			b := buf[:n]
			if !p.until(func() bool { return l.number > p.held }) {
				return
			}
			p.pace(n)
			p.mu.Lock()
			holed, bad := l.number <= p.holed, p.bad
			roll, after := p.chance > 0 && p.random.Float64() < p.chance, p.random.IntN(2) == 0
			l.mu.Lock()
			commands.feed(b, func(number int64, command []byte) {
				if p.toDrop(command) {
					l.drops[number], l.next = true, number < 0
				}
			})
			l.mu.Unlock()
			p.mu.Unlock()
			if len(bad) > 0 {
				seen := append(tail, b...)
				if bytes.Contains(seen, bad) {
					return
				}
				tail = bytes.Clone(seen[max(0, len(seen)-len(bad)):])
			}
			if roll && !after {
				l.end(reset)
				return
			}
			if roll {
				l.mute.Store(true) // the server may answer at once
			}
			if !holed {
				if _, err := l.server.Write(b); err != nil {
					return
				}
			}
			if roll {
				l.end(func(c net.Conn) error {
					if c == l.client {
						return reset(c)
					}
					return c.Close() // it reads to the end
				})
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// replies reads what the server answers and decides what of it gets through.
func (l *link) replies() {
	defer close(l.out)
	p := l.p
	var replies replyScanner
	for {
		buf := make([]byte, 16<<10)
		n, err := l.server.Read(buf)
		if n > 0 {
			p.mu.Lock()
			lose := p.lose > 0
			l.mu.Lock()
			through := replies.feed(buf[:n], func(number int64) bool { return l.drops[number] })
			if l.next {
				through = 0
			}
			l.mu.Unlock()
			if lose {
				p.lose--
				through = 0
			}
			if through < n {
				p.lost++
			}
			said := buf[:through]
			if len(p.old) > 0 {
				said = bytes.ReplaceAll(said, p.old, p.new)
			}
			at := time.Now().Add(p.delay)
			p.mu.Unlock()
			select {
			case l.out <- piece{said, at}:
			case <-l.gone:
				return
			}
			if through < n {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver brings replies to the client when they are due, and ends the
// connection after the last.
func (l *link) deliver() {
	defer l.end(net.Conn.Close)
	p := l.p
	for piece := range l.out {
		p.rest(time.Until(piece.at))
		if !p.until(func() bool { return !p.heldBack }) {
			return
		}
		p.pace(len(piece.data))
		p.mu.Lock()
		holed := l.number <= p.holed
		p.mu.Unlock()
		if holed || l.mute.Load() || len(piece.data) == 0 {
			continue
		}
		if _, err := l.client.Write(piece.data); err != nil {
			return
		}
	}
}

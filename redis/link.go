package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// link has the connections of an engine in its hand. The client waits for a
// server that has fallen silent until an idle check notices; link gives such
// connections up sooner, and closes what is left when the engine is closed.
type link struct {
	silence time.Duration // without any reply to what was written
	network string

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

func newLink(unix bool, silence time.Duration) *link {
	l := &link{network: "tcp", silence: silence, conns: map[*conn]struct{}{}}
	if unix {
		l.network = "unix"
	}
	return l
}

// blocking marks the context of a command that the server answers when it
// pleases: connections made for it are not expected to answer soon.
type blocking struct{}

func (l *link) dial(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
	raw, err := d.DialContext(ctx, l.network, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, link: l, addr: addr, watched: ctx.Value(blocking{}) == nil}
	if config != nil {
		if config.ServerName == "" { // each host has its own name
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				host = addr
			}
			config = config.Clone()
			config.ServerName = host
		}
		secure := tls.Client(raw, config)
		shake, cancel := context.WithTimeout(ctx, d.Timeout)
		defer cancel()
		if err := secure.HandshakeContext(shake); err != nil {
			_ = raw.Close()
			return nil, err
		}
		c.Conn = secure
	}
	c.timer = time.AfterFunc(l.silence, c.look)
	c.armed.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.timer.Stop()
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return c, nil
}

// close ends all connections, and those that are still being made.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.drop()
}

// drop ends the connections that there are.
func (l *link) drop() {
	l.mu.Lock()
	list := l.conns
	l.conns = map[*conn]struct{}{}
	l.mu.Unlock()
	for c := range list {
		c.timer.Stop()
		_ = c.raw.Close()
	}
}

// silent gives up every connection to a server that does not answer on one.
func (l *link) silent(addr string) {
	l.mu.Lock()
	var list []*conn
	for c := range l.conns {
		if c.addr == addr {
			list = append(list, c)
			delete(l.conns, c)
		}
	}
	l.mu.Unlock()
	for _, c := range list {
		c.mute.Store(true)
		c.timer.Stop()
		_ = c.raw.Close()
	}
}

// conn notices when nothing comes back.
type conn struct {
	net.Conn
	raw     net.Conn // below the encryption
	link    *link
	addr    string
	watched bool
	mute    atomic.Bool
	since   atomic.Int64 // when what is unanswered was written, in ns; 0: nothing is
	armed   atomic.Bool
	timer   *time.Timer
}

func (c *conn) Write(b []byte) (int, error) {
	began := time.Now().UnixNano()
	mine := c.watched && c.since.CompareAndSwap(0, began)
	if mine && c.armed.CompareAndSwap(false, true) {
		c.timer.Reset(c.link.silence)
	}
	n, err := c.Conn.Write(b)
	if mine {
		c.since.CompareAndSwap(began, time.Now().UnixNano()) // a large one takes its time
	}
	return n, c.told(err)
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.since.Store(0)
	}
	return n, c.told(err)
}

func (c *conn) told(err error) error {
	if err != nil && c.mute.Load() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// look runs when an answer may be overdue.
func (c *conn) look() {
	since := c.since.Load()
	if since == 0 {
		c.armed.Store(false)
		if c.since.Load() != 0 && c.armed.CompareAndSwap(false, true) {
			c.timer.Reset(c.link.silence)
		}
		return
	}
	if left := c.link.silence - time.Since(time.Unix(0, since)); left > 0 {
		c.timer.Reset(left)
		return
	}
	c.link.silent(c.addr)
}

func (c *conn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	c.timer.Stop()
	return c.Conn.Close()
}

// broken reports whether the network has told that a connection is gone.
func broken(err error) bool {
	if err == nil || timedOut(err) {
		return false
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	text := err.Error()
	for _, s := range []string{"reset by peer", "broken pipe", "forcibly closed", "connection was aborted"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
}

// tries is what a call has been through.
type tries struct{ broken int }

// again reports whether a call that failed is to be sent once more: after one
// broken connection, and for as long as the server is only silent. A refusal is
// an answer.
func (t *tries) again(err error) bool {
	if _, replied := rueidis.IsRedisErr(err); replied || errors.Is(err, rueidis.ErrClosing) {
		return false
	}
	if broken(err) {
		t.broken++
		return t.broken == 1
	}
	return timedOut(err)
}

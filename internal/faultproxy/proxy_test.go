package faultproxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/faultproxy"
	"github.com/RC918/morningai/internal/redistest"
)

// conn is a connection on which a test speaks Redis's protocol by hand.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &conn{c, t, bufio.NewReader(c)}
}

func command(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func (c *conn) send(parts ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(parts, "")); err != nil {
		c.t.Fatal(err)
	}
}

// line reads one line, or says why there is none.
func (c *conn) line() (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	text, err := c.r.ReadString('\n')
	return strings.TrimSuffix(text, "\r\n"), err
}

func (c *conn) want(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got, err := c.line(); got != want || err != nil {
			c.t.Fatalf("reply %q, %v; want %q", got, err, want)
		}
	}
}

// over checks that the connection has ended without another byte.
func (c *conn) over() {
	c.t.Helper()
	if got, err := c.line(); got != "" || err == nil || errors.Is(err, syscall.EAGAIN) || isTimeout(err) {
		c.t.Fatalf("the connection goes on with %q, %v", got, err)
	}
}

// silent checks that nothing comes, and that the connection stands.
func (c *conn) silent() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.r.ReadByte(); !isTimeout(err) {
		c.t.Fatalf("not silent: %v", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func start(t *testing.T) (*redistest.Server, *faultproxy.Proxy) {
	t.Helper()
	server := redistest.Start(t)
	return server, redistest.NewProxy(t, server.Addr())
}

func TestProxyForwards(t *testing.T) {
	_, p := start(t)
	big := strings.Repeat("x", 3<<20)
	c := dial(t, p.Addr())
	go func() { _, _ = io.WriteString(c, command("SET", "a", big)+command("GET", "a")+"PING\r\n") }()
	c.want("+OK", fmt.Sprintf("$%d", len(big)), big, "+PONG")
	if p.Made() != 1 || p.Lost() != 0 {
		t.Errorf("%d connections, %d lost", p.Made(), p.Lost())
	}
}

// The right reply is lost, wherever it stands among the others.
func TestDropReplies(t *testing.T) {
	server, p := start(t)
	p.DropReplies(2, "victim")
	for round := range 2 {
		c := dial(t, p.Addr())
		c.send(command("SET", "before", "1"), command("GET", "before"), command("INCR", "victim"), command("INCR", "after"))
		c.want("+OK", "$1", "1")
		c.over()
		want := fmt.Sprint(round + 1)
		redistest.Until(t, "the commands to be applied", func() bool { return server.Do("GET", "after") == want })
		if got := server.Do("GET", "victim"); got != want {
			t.Errorf("round %d: the command whose reply was lost was applied %s times", round, got)
		}
	}
	c := dial(t, p.Addr())
	c.send(command("INCR", "victim"))
	c.want(":3")
	if p.Lost() != 2 {
		t.Errorf("%d lost", p.Lost())
	}
}

// A command is known however it is cut up, and messages that are pushed, maps
// and lists are not taken for several replies.
func TestDropRepliesCountsReplies(t *testing.T) {
	server, p := start(t)
	c := dial(t, p.Addr())
	c.send(command("HELLO", "3"))
	for line := ""; !strings.HasPrefix(line, "*0"); { // the list of modules comes last
		var err error
		if line, err = c.line(); err != nil {
			t.Fatal(err)
		}
	}
	c.send(command("CLIENT", "TRACKING", "ON", "BCAST"), command("HSET", "h", "f", "v"), command("HGETALL", "h"))
	c.want("+OK", ":1", "%1", "$1", "f", "$1", "v", ">2", "$10", "invalidate", "*1", "$1", "h")
	server.Do("SET", "other", "1")
	c.want(">2", "$10", "invalidate", "*1", "$5", "other")
	p.DropReplies(1, "victim")
	for _, piece := range strings.Split(command("ECHO", "a")+command("MGET", "h", "none")+command("INCR", "victim")+command("PING"), "") {
		_, _ = io.WriteString(c, piece) // the last may come after the end
	}
	c.want("$1", "a", "*2", "_", "_")
	c.over()
	if got := server.Do("GET", "victim"); got != "1" {
		t.Errorf("applied %s times", got)
	}
}

// What is no Redis has replies too: whatever comes after the request.
func TestDropRepliesOfOtherProtocols(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(served)
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			served <- line
			_, _ = io.WriteString(c, "200 OK\r\n")
			_ = c.Close()
		}
	}()
	p := redistest.NewProxy(t, l.Addr().String())
	p.DropReplies(1, "/v1/tasks")
	for i, path := range []string{"GET /livez\n", "POST /v1/tasks\n", "POST /v1/tasks\n"} {
		c := dial(t, p.Addr())
		c.send(path)
		if got := <-served; got != path {
			t.Errorf("the server got %q", got)
		}
		if i == 1 {
			c.over()
		} else {
			c.want("200 OK")
		}
	}
	_ = l.Close()
	for range served {
		t.Error("served more than was asked")
	}
}

func TestLoseReplies(t *testing.T) {
	server, p := start(t)
	p.LoseReplies(1)
	c := dial(t, p.Addr())
	c.send(command("INCR", "n"))
	c.over()
	d := dial(t, p.Addr())
	d.send(command("INCR", "n"))
	d.want(":2")
	if p.Lost() != 1 || server.Do("GET", "n") != "2" {
		t.Errorf("%d lost", p.Lost())
	}
}

func TestReplace(t *testing.T) {
	_, p := start(t)
	c := dial(t, p.Addr())
	p.Replace("version:7", "version:6")
	c.send(command("SET", "a", "version:7.0"), command("GET", "a"), command("STRLEN", "a"))
	c.want("+OK", "$11", "version:6.0", ":11")
	p.Replace("", "")
	c.send(command("GET", "a"))
	c.want("$11", "version:7.0")
	p.Replace("version", "VERSION")
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	c.send(command("GET", "a"))
	c.want("$11", "version:7.0")
}

func TestBlackHoles(t *testing.T) {
	server, p := start(t)
	old := dial(t, p.Addr())
	old.send(command("PING"))
	old.want("+PONG")
	p.BlackHole()
	old.send(command("SET", "a", "1"))
	old.silent()
	fresh := dial(t, p.Addr())
	fresh.send(command("GET", "a"))
	fresh.want("$-1")
	p.BlackHoleAll()
	c := dial(t, p.Addr())
	c.send(command("SET", "b", "1"))
	c.silent()
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	c.send(command("PING"))
	c.silent()
	d := dial(t, p.Addr())
	d.send(command("PING"))
	d.want("+PONG")
	if server.Do("EXISTS", "a", "b") != "0" {
		t.Error("what went into the hole has arrived")
	}
}

func TestHoldAndFreeze(t *testing.T) {
	server, p := start(t)
	gone, stays := dial(t, p.Addr()), dial(t, p.Addr())
	for _, c := range []*conn{gone, stays} { // the proxy knows both
		c.send(command("PING"))
		c.want("+PONG")
	}
	p.Hold()
	gone.send(command("SET", "a", "1"))
	stays.send(command("INCR", "n"))
	stays.silent()
	_ = gone.Close()
	fresh := dial(t, p.Addr())
	fresh.send(command("EXISTS", "a", "n"))
	fresh.want(":0")
	p.Release()
	stays.want(":1")
	redistest.Until(t, "what was held to arrive", func() bool { return server.Do("EXISTS", "a") == "1" })

	p.HoldAll()
	late := dial(t, p.Addr())
	late.send(command("INCR", "n"))
	late.silent()
	p.Release()
	late.want(":2")

	c := dial(t, p.Addr())
	c.send(command("CLIENT", "ID"))
	if _, err := c.line(); err != nil {
		t.Fatal(err)
	}
	c.send(command("BLPOP", "list", "0"))
	redistest.Until(t, "the client to wait", func() bool { return strings.Contains(server.Do("INFO", "clients"), "blocked_clients:1") })
	p.Freeze()
	server.Do("RPUSH", "list", "x")
	c.silent() // the reply is on its way
	p.Release()
	c.want("*2", "$4", "list", "$1", "x")
}

func TestSlowWays(t *testing.T) {
	_, p := start(t)
	c := dial(t, p.Addr())
	took := func(send string, lines ...string) time.Duration {
		begin := time.Now()
		c.send(send)
		c.want(lines...)
		return time.Since(begin)
	}
	p.Delay(100 * time.Millisecond)
	if d := took(command("PING"), "+PONG"); d < 100*time.Millisecond {
		t.Errorf("a delayed reply took %v", d)
	}
	p.Delay(0)
	p.Limit(1 << 20)
	text := strings.Repeat("x", 200<<10)
	if d := took(command("ECHO", text), fmt.Sprintf("$%d", len(text)), text); d < 300*time.Millisecond {
		t.Errorf("400 KiB at 1 MiB a second took %v", d)
	}
}

func TestResets(t *testing.T) {
	server, p := start(t)
	p.ResetAtRandom(1, 7)
	for range 40 {
		c := dial(t, p.Addr())
		c.send(command("INCR", "n"))
		if got, err := c.line(); err == nil {
			t.Fatalf("no reset, but %q", got)
		}
	}
	applied := server.Do("GET", "n")
	if len(applied) != 2 || applied < "10" || applied > "30" {
		t.Errorf("%s of 40 commands were applied before the reset", applied)
	}
	p.ResetAtRandom(0, 0)
	c := dial(t, p.Addr())
	c.send(command("PING"))
	c.want("+PONG")
	p.ResetAll()
	if _, err := c.line(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset as %v", err)
	}
	p.BreakOn("poison")
	d := dial(t, p.Addr())
	d.send(command("SET", "a", "po"))
	d.want("+OK")
	d.send("*2\r\n$4\r\nECHO\r\n$6\r\npoi")
	d.silent()
	d.send("son\r\n")
	d.over()
}

func TestRefuse(t *testing.T) {
	server, p := start(t)
	c := dial(t, p.Addr())
	c.send(command("PING"))
	c.want("+PONG")
	p.Refuse()
	if _, err := c.line(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an old connection: %v", err)
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	for range 2 {
		if err := p.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	d := dial(t, p.Addr())
	d.send(command("PING"))
	d.want("+PONG")
	server.Kill()
	d.over()
	if e, err := net.Dial("tcp", p.Addr()); err == nil { // else it was reset at once
		_ = e.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := e.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("with the server gone: %v", err)
		}
		_ = e.Close()
	}
	server.Restart()
	f := dial(t, p.Addr())
	f.send(command("PING"))
	f.want("+PONG")
}

// Close ends what waits, however it waits; the leak check sees the rest.
func TestCloseWhileEverythingWaits(t *testing.T) {
	server, p := start(t)
	for _, stop := range []func(){p.Freeze, func() { p.Delay(time.Hour) }, func() { p.Limit(1) }, p.BlackHoleAll} {
		c := dial(t, p.Addr())
		c.send(command("PING"))
		stop()
		c.send(command("PING"))
	}
	p.Close()
	p.Close()
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("it still listens")
	}
	if err := p.Accept(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("it listens again")
	}
	server.Do("PING")
}

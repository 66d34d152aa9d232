// Package redistest starts real redis-server processes for tests: on free
// ports of the loopback address, in temporary folders, ended with the test.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience ends a wait for something that does not happen.
const patience = 30 * time.Second

// Server is one redis-server process. Its methods fail the test when something
// goes wrong.
type Server struct {
	kind Kind
	tb   testing.TB
	dir  string
	port int
	args []string
	env  []string
	pass string   // of --requirepass
	wrap []string // a command that runs the program
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// Kind is the program that serves.
type Kind string

// What Start and its like start by themselves, and the alternative.
const (
	Redis  Kind = "redis-server"
	Valkey Kind = "valkey-server"
)

// Installed reports whether the program is on this machine.
func (k Kind) Installed() bool {
	_, err := exec.LookPath(string(k))
	return err == nil
}

// Packaged reports whether this system has a package of the program.
func (k Kind) Packaged() bool {
	said, err := exec.Command("apt-cache", "policy", string(k)).Output()
	return err == nil && strings.Contains(string(said), "Candidate: ") && !strings.Contains(string(said), "Candidate: (none)")
}

// Start runs a redis-server with the given arguments (such as "--appendonly",
// "yes") beside those that make it private to the test.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return Redis.Start(tb, args...)
}

// Start is the function of that name with a program of the kind.
func (k Kind) Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return k.startEnv(tb, nil, args...)
}

// StartEnv is Start with more environment variables.
func StartEnv(tb testing.TB, env []string, args ...string) *Server {
	tb.Helper()
	return Redis.startEnv(tb, env, args...)
}

func (k Kind) startEnv(tb testing.TB, env []string, args ...string) *Server {
	tb.Helper()
	s := &Server{kind: k, tb: tb, dir: folder(tb), args: args, env: env, pass: after(args, "--requirepass")}
	return s.begin()
}

func (s *Server) begin() *Server {
	tb, k := s.tb, s.kind
	tb.Helper()
	tb.Cleanup(s.end)
	for range 5 { // another process may take the port in between
		s.port = freePort(tb)
		if s.tryRun() {
			return s
		}
	}
	tb.Fatalf("%s does not start: %s", k, s.log())
	return nil
}

func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 {
		return args[i+1]
	}
	return ""
}

// folder is short: the path of a unix socket has a limit of about 100 bytes.
func folder(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (k Kind) path(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath(string(k))
	if err != nil {
		tb.Fatalf("%s is needed by this test: apt-get install %s", k, k)
	}
	return path
}

var (
	portsMu sync.Mutex
	ports   = map[int]bool{} // handed out in this process, whether used yet or not
)

// freePort is a port that nobody has. It and the one 10000 above, which a
// Cluster node uses too, lie below those that the system gives to connections.
func freePort(tb testing.TB) int {
	tb.Helper()
	const lowest, span = 10_000, 10_000
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(span)
		if ports[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue // somebody has it
		}
		_ = l.Close()
		ports[port] = true
		return port
	}
	tb.Fatal("no free port from 10000 to 19999")
	return 0
}

func (s *Server) tryRun() bool {
	s.tb.Helper()
	args := append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no",
		"--unixsocket", s.Socket(), "--enable-debug-command", "yes", "--logfile", filepath.Join(s.dir, "log"),
	}, s.args...)
	return s.launch(s.kind.path(s.tb), args)
}

func (s *Server) launch(path string, args []string) bool {
	s.tb.Helper()
	words := append(append(s.wrap[:len(s.wrap):len(s.wrap)], path), args...)
	s.cmd = exec.Command(words[0], words[1:]...)
	s.cmd.Env = append(os.Environ(), s.env...)
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	done := make(chan struct{})
	s.done = done
	cmd := s.cmd
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	up := false
	s.until("the server to answer", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		reply, err := s.try("PING")
		up = err == nil && reply == "PONG"
		return up
	})
	return up
}

// until waits for a condition, looking often.
func (s *Server) until(what string, ok func() bool) {
	s.tb.Helper()
	Until(s.tb, what, ok)
}

// Until waits for a condition, looking every few milliseconds, and fails the
// test if it does not come about.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-end.C:
			tb.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Addr is host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Port is the port alone.
func (s *Server) Port() int { return s.port }

// Socket is the path of the server's unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "s") }

// URL is the address in the form that the engine reads.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// PID is the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the process without a chance to do anything (SIGKILL) and waits
// until it is gone.
func (s *Server) Kill() {
	s.tb.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.tb.Fatal(err)
	}
	<-s.done
}

// Restart starts the server again after Kill, on the same port and folder.
func (s *Server) Restart() {
	s.tb.Helper()
	if !s.tryRun() {
		s.tb.Fatalf("redis-server does not start again: %s", s.log())
	}
}

// end is what Cleanup does.
func (s *Server) end() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// Do runs one command on a connection of its own and returns the reply, lists
// as lines. An error reply fails the test.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.try(args...)
	if err != nil {
		s.tb.Fatalf("%s: %v", args[0], err)
	}
	return reply
}

// Try is Do that returns the error instead.
func (s *Server) Try(args ...string) (string, error) { return s.try(args...) }

func (s *Server) try(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	if s.pass != "" {
		if _, err := exchange(conn, r, []string{"AUTH", s.pass}); err != nil {
			return "", err
		}
	}
	return exchange(conn, r, args)
}

func exchange(conn io.Writer, r *bufio.Reader, args []string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return "", err
	}
	return readReply(r)
}

func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("an empty reply")
	}
	switch rest := line[1:]; line[0] {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		data := make([]byte, n+2)
		if _, err := io.ReadFull(r, data); err != nil {
			return "", err
		}
		return string(data[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil {
			return "", err
		}
		items := make([]string, 0, max(n, 0))
		for range n {
			item, err := readReply(r)
			if err != nil {
				return "", err
			}
			items = append(items, item)
		}
		return strings.Join(items, "\n"), nil
	}
	return "", fmt.Errorf("a reply of an unknown kind %q", line[:1])
}

// Info is one number of INFO.
func (s *Server) Info(section, field string) int64 {
	s.tb.Helper()
	for line := range strings.Lines(s.Do("INFO", section)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == field {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				s.tb.Fatalf("INFO %s: %s is %q", section, field, value)
			}
			return n
		}
	}
	s.tb.Fatalf("INFO %s has no %s", section, field)
	return 0
}

// Package redistest starts real redis-server processes for tests: on free
// ports of the loopback address, in temporary folders, ended with the test.
package redistest

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redisproc"
)

// Server is one redis-server process. Its methods fail the test when something
// goes wrong.
type Server struct {
	*redisproc.Server
	tb testing.TB
}

// Kind is the program that serves.
type Kind redisproc.Program

// What Start and its like start by themselves, and the alternative.
const (
	Redis  = Kind(redisproc.Redis)
	Valkey = Kind(redisproc.Valkey)
)

// Installed reports whether the program is on this machine.
func (k Kind) Installed() bool { return redisproc.Program(k).Installed() }

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
	return run(tb, redisproc.Options{Program: redisproc.Program(k), Args: args})
}

// StartEnv is Start with more environment variables.
func StartEnv(tb testing.TB, env []string, args ...string) *Server {
	tb.Helper()
	return run(tb, redisproc.Options{Args: args, Env: env})
}

func run(tb testing.TB, o redisproc.Options) *Server {
	tb.Helper()
	if o.Program == "" {
		o.Program = redisproc.Redis
	}
	if !o.Program.Installed() {
		tb.Fatalf("%s is needed by this test: apt-get install %s", o.Program, o.Program)
	}
	if o.Password == "" {
		o.Password = after(o.Args, "--requirepass")
	}
	s, err := redisproc.Start(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return &Server{s, tb}
}

func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 {
		return args[i+1]
	}
	return ""
}

// Until waits for a condition, looking every few milliseconds, and fails the
// test if it does not come about.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	if err := redisproc.Until(what, func() (bool, error) { return ok(), nil }); err != nil {
		tb.Fatal(err)
	}
}

// must fails the test for an error.
func (s *Server) must(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatal(err)
	}
}

// Kill ends the process without a chance to do anything (SIGKILL) and waits
// until it is gone.
func (s *Server) Kill() {
	s.tb.Helper()
	s.must(s.Server.Kill())
}

// Restart starts the server again after Kill, on the same port and folder.
func (s *Server) Restart() {
	s.tb.Helper()
	s.must(s.Server.Restart())
}

// Freeze stops the process without ending it: connections stay, nothing is
// answered (SIGSTOP).
func (s *Server) Freeze() {
	s.tb.Helper()
	s.must(s.Server.Freeze())
}

// Thaw lets a frozen process go on.
func (s *Server) Thaw() {
	s.tb.Helper()
	s.must(s.Server.Thaw())
}

// Do runs one command on a connection of its own and returns the reply, lists
// as lines. An error reply fails the test.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.Server.Do(args...)
	if err != nil {
		s.tb.Fatalf("%s: %v", args[0], err)
	}
	return reply
}

// Try is Do that returns the error instead.
func (s *Server) Try(args ...string) (string, error) { return s.Server.Do(args...) }

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

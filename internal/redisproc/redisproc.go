// Package redisproc runs throw-away redis-server processes: on free ports of the
// loopback address, in folders of their own. Tests use it by way of redistest,
// and drills to stage outages.
package redisproc

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Patience ends a wait for something that does not happen.
const Patience = 30 * time.Second

// Program is what serves.
type Program string

// The programs.
const (
	Redis  Program = "redis-server"
	Valkey Program = "valkey-server"
)

// Installed reports whether the program is on this machine.
func (p Program) Installed() bool {
	_, err := exec.LookPath(string(p))
	return err == nil
}

// Options say how a server is run.
type Options struct {
	Program  Program  // Redis if ""
	Args     []string // beside those that make the server private
	Env      []string // beside those of this process
	Password string   // of the default user, if there is one
	Sentinel []string // lines of the configuration of a sentinel
	// Wrap is a command that runs the program, and mounts something for its data
	// on an empty folder; nil for none.
	Wrap func(disk string) []string
}

// Server is one process. Its methods are for one goroutine at a time, but for Do.
type Server struct {
	opts Options
	dir  string
	port int
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// Start runs a server and waits until it answers. Close ends it.
func Start(o Options) (*Server, error) {
	if o.Program == "" {
		o.Program = Redis
	}
	// The folder is short: the path of a unix socket has a limit of about 100 bytes.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return nil, err
	}
	s := &Server{opts: o, dir: dir}
	if o.Wrap != nil {
		if err := os.Mkdir(s.disk(), 0o700); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	for range 5 { // another process may take the port in between
		if s.port, err = FreePort(); err == nil {
			err = s.Restart()
		}
		if err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.Close())
}

// Restart starts the server again after Kill, on the same port and folder, with
// these arguments beside those that it had.
func (s *Server) Restart(more ...string) error {
	s.opts.Args = append(s.opts.Args[:len(s.opts.Args):len(s.opts.Args)], more...)
	args, err := s.args()
	if err != nil {
		return err
	}
	path, err := exec.LookPath(string(s.opts.Program))
	if err != nil {
		return fmt.Errorf("%s is not installed: %w", s.opts.Program, err)
	}
	words := append([]string{path}, args...)
	if s.opts.Wrap != nil {
		words = append(s.opts.Wrap(s.disk()), words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), s.opts.Env...)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	go func() { // ends with the process, for which Kill waits
		_ = cmd.Wait()
		close(done)
	}()
	err = Until("the server to answer", func() (bool, error) {
		select {
		case <-done:
			return false, fmt.Errorf("%s ends instead of serving: %s", s.opts.Program, s.log())
		default:
		}
		reply, err := s.Do("PING")
		return err == nil && reply == "PONG", nil
	})
	if err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

func (s *Server) args() ([]string, error) {
	if s.opts.Sentinel != nil {
		file := filepath.Join(s.dir, "conf")
		lines := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile %s\n%s\n", s.port, s.dir, s.LogFile(), strings.Join(s.opts.Sentinel, "\n"))
		return []string{file, "--sentinel"}, os.WriteFile(file, []byte(lines), 0o600)
	}
	args := []string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no",
		"--unixsocket", s.Socket(), "--enable-debug-command", "yes", "--logfile", s.LogFile()}
	if s.opts.Wrap != nil {
		args = append(args, "--dir", s.disk())
	}
	return append(args, s.opts.Args...), nil
}

// Until waits for a condition, looking every few milliseconds.
func Until(what string, ok func() (bool, error)) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	end := time.NewTimer(Patience)
	defer end.Stop()
	for {
		switch met, err := ok(); {
		case err != nil:
			return err
		case met:
			return nil
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return fmt.Errorf("waited %v in vain for %s", Patience, what)
		}
	}
}

// LogFile is where the server logs.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

func (s *Server) disk() string { return filepath.Join(s.dir, "disk") }

func (s *Server) log() string {
	text, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Addr is host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Port is the port alone.
func (s *Server) Port() int { return s.port }

// Dir is the folder of the server.
func (s *Server) Dir() string { return s.dir }

// Disk is where this process finds what Wrap has mounted for a server that runs.
func (s *Server) Disk() string { return fmt.Sprintf("/proc/%d/root%s", s.PID(), s.disk()) }

// Socket is the path of the server's unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "s") }

// URL is the address in the form that the engine reads.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// PID is the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the process without a chance to do anything (SIGKILL) and waits
// until it is gone.
func (s *Server) Kill() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.done
	return nil
}

// Close ends the process and removes its folder.
func (s *Server) Close() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }

// Do runs one command on a connection of its own and returns the reply, lists
// as lines.
func (s *Server) Do(args ...string) (string, error) {
	c, err := s.Connect()
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.Do(args...)
}

// Conn is one connection, for those who need to keep it.
type Conn struct {
	net.Conn
	r *bufio.Reader
}

// Connect makes a connection, which the caller closes.
func (s *Server) Connect() (*Conn, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn, bufio.NewReaderSize(conn, 64<<10)}
	if s.opts.Password != "" {
		if _, err := c.Do("AUTH", s.opts.Password); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Do is the method of Server on this connection.
func (c *Conn) Do(args ...string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		return "", err
	}
	return exchange(c, c.r, args)
}

// Lines reads what comes without being asked for, line by line, for as long as
// the connection lasts.
func (c *Conn) Lines(each func(line string) (more bool)) error {
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if !each(line) {
			return nil
		}
	}
}

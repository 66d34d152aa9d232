package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A service manager is told how the server stands, and its watchdog is fed for as
// long as the server answers.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "notify") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hear := func(want string) {
		t.Helper()
		text := make([]byte, 1000)
		for {
			n, err := conn.Read(text)
			if err != nil {
				t.Fatal(err)
			}
			switch said := string(text[:n]); {
			case strings.HasPrefix(said, want):
				return
			case said != "WATCHDOG=1": // may come in between
				t.Fatalf("it says %q, not %q", said, want)
			}
		}
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `WATCHDOG_PID=$$ exec "$0" "$@"`, path, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--docs", t.TempDir())
	link := filepath.Join(dir, "morningai") // under its own name it is the program
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	cmd.Args[3] = link
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	d, err := startDaemon(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer d.kill()
	hear("READY=1")
	hear("WATCHDOG=1")
	hear("WATCHDOG=1")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1")
	hear("READY=1")
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hear("STOPPING=1")
	if code := d.wait(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// What a service manager ends because it does not answer, and what crashes, ends by a
// signal: the exit code 2 of Go would say wrong usage, which is not tried again.
func TestCrashIsNoExitCode(t *testing.T) {
	t.Parallel()
	d := serve(t, t.TempDir())
	if err := d.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	code := d.wait()
	if status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("it ended with %d, %v", code, d.cmd.ProcessState)
	}
	if said := d.said(); !strings.Contains(said, "goroutine 1 ") {
		t.Errorf("the log does not say where it stood: %s", said)
	}
}

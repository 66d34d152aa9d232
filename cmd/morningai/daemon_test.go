package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The race detector lets each process sleep for a second at its end.
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=10") // cannot fail with such a name
	}
	testscript.Main(m, map[string]func(){"morningai": main})
}

// program is the path of the program under test: this test binary under its
// name, where the main above makes it behave like the program.
var program = sync.OnceValues(func() (string, error) { return os.Executable() })

// daemon is a running morningai serve.
type daemon struct {
	cmd  *exec.Cmd
	url  string
	read chan struct{} // closed at the end of stderr

	mu   sync.Mutex
	more *sync.Cond // another line, or the end
	over bool
	log  bytes.Buffer
}

var readyLine = regexp.MustCompile(`^morningai ready on (http://[^ ]+) \(engine: (?:sqlite|redis)\)$`)

// startDaemon runs cmd and returns once it says that it is ready. If it ends
// before that, the error has what it said.
func startDaemon(cmd *exec.Cmd) (*daemon, error) {
	d := &daemon{cmd: cmd, read: make(chan struct{})}
	d.more = sync.NewCond(&d.mu)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(d.read)
		lines := bufio.NewReader(stderr)
		for {
			line, err := lines.ReadString('\n')
			d.mu.Lock()
			d.log.WriteString(line)
			d.over = err != nil
			d.more.Broadcast()
			d.mu.Unlock()
			if m := readyLine.FindStringSubmatch(trimmed(line)); m != nil {
				ready <- m[1]
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case d.url = <-ready:
		return d, nil
	case <-d.read:
		err := cmd.Wait()
		return nil, fmt.Errorf("the server did not become ready: %w\n%s", err, d.said())
	}
}

func trimmed(line string) string { return string(bytes.TrimRight([]byte(line), "\r\n")) }

// said is what the server has written to stderr so far.
func (d *daemon) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// wait returns the exit code; -1 if a signal ended the process.
func (d *daemon) wait() int {
	<-d.read
	_ = d.cmd.Wait() // the exit code says it
	return d.cmd.ProcessState.ExitCode()
}

// kill ends the process at once, as kill -9 does.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	d.wait()
}

// serve starts a server for a Go test and makes sure that it is gone at its end.
func serve(t *testing.T, data string, args ...string) *daemon {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", data, "--docs", t.TempDir()}, args...)...)
	cmd.Args[0] = "morningai"
	cmd.Stdout = io.Discard
	d, err := startDaemon(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	return d
}

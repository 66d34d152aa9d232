// Package rqtest runs the real Python RQ for tests: Debian's package, and one of
// version 2 where the system can be had of it.
package rqtest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redistest"
)

// python is the interpreter that Debian's packages belong to, whatever else is
// in the path.
const python = "/usr/bin/python3"

var (
	//go:embed driver.py
	driver string
	//go:embed tasks.py
	tasks string
)

// RQ is one version of it.
type RQ struct {
	Version string
	path    string // where Python looks for it first
}

// Debian is the package of this system.
func Debian(tb testing.TB) RQ {
	tb.Helper()
	v, err := find("")
	if err != nil {
		tb.Fatalf("python3-rq is needed by this test: apt-get install python3-rq (%v)", err)
	}
	return v
}

// All returns the versions on this machine: Debian's, and the later one that
// .ci/deps unpacks beside it where it can be had.
func All(tb testing.TB) []RQ {
	tb.Helper()
	all := []RQ{Debian(tb)}
	home, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	if v, err := find(filepath.Join(home, "morningai-rq2", "usr", "lib", "python3", "dist-packages")); err == nil && v.Version != all[0].Version {
		all = append(all, v)
	}
	return all
}

func find(path string) (RQ, error) {
	v := RQ{path: path}
	cmd := exec.Command(python, "-c", "import rq; print(rq.VERSION)")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+path)
	out, err := cmd.Output()
	v.Version = strings.TrimSpace(string(out))
	return v, err
}

// Two reports whether it is of the second generation.
func (v RQ) Two() bool { return strings.HasPrefix(v.Version, "2.") }

// Run runs Python code that finds the connection r, the functions queue, fetch,
// until and say, and args. It returns what the code printed, without the line
// end, and fails the test if the code does.
func (v RQ) Run(tb testing.TB, addr, code string, args ...any) string {
	tb.Helper()
	out, err := v.Try(tb, addr, code, args...)
	if err != nil {
		tb.Fatalf("python: %v", err)
	}
	return out
}

// Try is Run that returns the error.
func (v RQ) Try(tb testing.TB, addr, code string, args ...any) (string, error) {
	tb.Helper()
	cmd := v.command(tb, addr, args)
	cmd.Stdin = strings.NewReader(code)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = &failure{err, errs.String()}
	}
	return strings.TrimRight(string(out), "\n"), err
}

type failure struct {
	err  error
	text string
}

func (f *failure) Error() string { return f.err.Error() + "\n" + f.text }

func (v RQ) command(tb testing.TB, addr string, args []any) *exec.Cmd {
	tb.Helper()
	if args == nil {
		args = []any{}
	}
	given, err := json.Marshal(args)
	if err != nil {
		tb.Fatal(err)
	}
	folder := tb.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "tasks.py"), []byte(tasks), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(python, "-W", "ignore", "-c", driver, addr, string(given))
	cmd.Env = append(os.Environ(), "PYTHONPATH="+folder+string(os.PathListSeparator)+v.path, "PYTHONUNBUFFERED=1")
	return cmd
}

// Worker is a Python worker process.
type Worker struct {
	tb   testing.TB
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
}

// Worker starts a worker of that name on the queues. more is Python that is run
// before, with the names work (keywords of Worker.work) and setup (those of
// Worker).
func (v RQ) Worker(tb testing.TB, addr, name, more string, queues ...string) *Worker {
	tb.Helper()
	w := &Worker{tb: tb, cmd: v.command(tb, addr, []any{name, queues}), log: &bytes.Buffer{}, done: make(chan struct{})}
	w.cmd.Stdin = strings.NewReader("work, setup = {}, {'serializer': JSONSerializer}\n" + more + `
Worker([Queue(n, connection=r, serializer=setup['serializer']) for n in args[1]], connection=r, name=args[0], **setup).work(**work)
`)
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	ownGroup(w.cmd)
	if err := w.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = w.cmd.Wait()
		close(w.done)
	}()
	tb.Cleanup(w.Kill)
	return w
}

// Kill ends the worker and the process that runs its job, at once.
func (w *Worker) Kill() {
	select {
	case <-w.done: // its number may be another's by now
	default:
		kill(w.cmd)
	}
	<-w.done
}

// Ended waits for the end of the worker and returns what it has printed.
func (w *Worker) Ended() string {
	redistest.Until(w.tb, "the worker to end", func() bool {
		select {
		case <-w.done:
			return true
		default:
			return false
		}
	})
	return w.log.String()
}

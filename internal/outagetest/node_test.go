package outagetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/faultproxy"
)

// patience ends a wait for something that a server does within seconds.
const patience = 60 * time.Second

// silence is after which a call counts as not answered.
const silence = 20 * time.Second

// node is one server process.
type node struct {
	t     *testing.T
	name  string
	data  string
	flags []string
	wrap  []string // a command that runs the program
	other string   // the program, if it is another one than that under test
	log   string
	http  *http.Client
	proxy *faultproxy.Proxy // on its way to Redis; nil if there is none

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	from int64         // where the log of this run begins
	url  atomic.Pointer[string]

	starts atomic.Int64
}

// newNode is a server that does not run yet.
func newNode(t *testing.T, name string, flags ...string) *node {
	dir := t.TempDir()
	n := &node{t: t, name: name, data: filepath.Join(dir, "data"), flags: flags, log: filepath.Join(dir, "log"),
		http: &http.Client{Timeout: silence, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	t.Cleanup(func() {
		n.kill()
		n.http.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the end of what %s has logged:\n%s", name, tail(n.said(), 40))
			keep(n.log, t.Name()+"-"+name)
		}
	})
	return n
}

// keep copies a log to where it outlives the test, if somebody has said where.
func keep(path, name string) {
	dir := os.Getenv("MORNINGAI_KEEP_LOGS")
	if dir == "" {
		return
	}
	if text, err := os.ReadFile(path); err == nil {
		_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "_")+".log"), text, 0o600)
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

var ready = regexp.MustCompile(`morningai ready on (http\S+)`)

// launch starts the process, again if it has run before.
func (n *node) launch() {
	n.t.Helper()
	program := binary
	if n.other != "" {
		program = n.other
	}
	args := append([]string{program, "serve", "--listen", "127.0.0.1:0", "--data", n.data, "--node", n.name}, n.flags...)
	args = append(n.wrap[:len(n.wrap):len(n.wrap)], args...)
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	if n.from, err = out.Seek(0, io.SeekEnd); err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.starts.Add(1)
	done := make(chan struct{})
	n.cmd, n.done = cmd, done
	go func() { // ends with the process, for which kill and stop wait
		_ = cmd.Wait()
		close(done)
	}()
}

// start launches the process and waits until it is ready.
func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.awaitReady()
}

func (n *node) awaitReady() {
	n.t.Helper()
	until(n.t, patience, n.name+" to be ready", func() bool {
		select {
		case <-n.done:
			n.t.Fatalf("%s has ended instead of being ready:\n%s", n.name, tail(n.said(), 10))
		default:
		}
		found := ready.FindStringSubmatch(n.saidNow())
		if found != nil {
			n.url.Store(&found[1])
		}
		return found != nil
	})
}

// said is all that the server has logged, saidNow what it has logged in this run.
func (n *node) said() string {
	text, err := os.ReadFile(n.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Error(err)
	}
	return string(text)
}

func (n *node) saidNow() string {
	all := n.said()
	return all[min(int(n.from), len(all)):]
}

// kill ends the process with -9, if it runs.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.done
}

// stop asks the process to end, and returns its exit code.
func (n *node) stop() int {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(patience):
		n.t.Fatalf("%s does not stop", n.name)
	}
	return n.cmd.ProcessState.ExitCode()
}

func (n *node) signal(s os.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// reply is what a server has answered to one call.
type reply struct {
	status int // 0 if there was no answer
	header http.Header
	body   []byte
	err    error
	at     time.Time
	took   time.Duration
}

// call makes one call. A body that is not nil is sent as JSON.
func (n *node) call(method, path string, body any) reply {
	return n.callAs(method, path, body, nil)
}

func (n *node) callAs(method, path string, body any, header http.Header) (r reply) {
	var text io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return reply{err: err}
		}
		text = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, *n.url.Load()+path, text)
	if err != nil {
		return reply{err: err}
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	r.at = time.Now()
	defer func() { r.took = time.Since(r.at) }()
	resp, err := n.http.Do(req)
	if err != nil {
		n.hangs(method+" "+path, err)
		r.err = err
		return r
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.err = err
		return r
	}
	r.status, r.header, r.body = resp.StatusCode, resp.Header, raw
	return r
}

// hangs tells of a call that is not answered at all, by a server that runs: one
// that is killed breaks the connection, and none is frozen for so long.
func (n *node) hangs(what string, err error) {
	var e *url.Error
	if !errors.As(err, &e) || !e.Timeout() {
		return
	}
	n.t.Errorf("%s is not answered by %s within %v", what, n.name, silence)
	if os.Getenv("MORNINGAI_KEEP_LOGS") != "" {
		_ = n.cmd.Process.Signal(syscall.SIGQUIT) // its stacks go into the log
	}
}

// code is the code of an error, "" of anything else.
func (r reply) code() string {
	var p struct {
		Code string `json:"code"`
	}
	if r.status >= 400 && json.Unmarshal(r.body, &p) == nil {
		return p.Code
	}
	return ""
}

// into decodes the body.
func (r reply) into(t testing.TB, out any) {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	if err := json.Unmarshal(r.body, out); err != nil {
		t.Fatalf("%v in %d %s", err, r.status, r.body)
	}
}

func (r reply) String() string {
	if r.err != nil {
		return r.err.Error()
	}
	return http.StatusText(r.status) + " " + string(bytes.TrimSpace(r.body))
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/faultproxy"
)

// node is one server process of ours.
type node struct {
	fleet *fleet
	name  string
	data  string
	log   string
	redis string            // the address of Redis
	proxy *faultproxy.Proxy // on the way there; nil if there is none

	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has ended
	url    string
	client atomic.Pointer[client.Client]
	web    *http.Transport
	starts atomic.Int64
}

var ready = regexp.MustCompile(`morningai ready on (http\S+)`)

// silence is after which a call counts as not answered.
const silence = 20 * time.Second

// start starts the process, again if it has run before, and waits until it is
// ready.
func (n *node) start(ctx context.Context) error {
	f := n.fleet
	args := []string{"serve", "--listen", "127.0.0.1:0", "--data", n.data, "--node", n.name, "--lease", lease.String(),
		"--docs", f.dir + "/docs", "--http-allow", "127.0.0.0/8", "--concurrency", "50"}
	if f.scenario.flags != nil {
		args = append(args, f.scenario.flags(f, n)...)
	}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	from, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	args = append([]string{f.config.Program}, args...)
	switch {
	case f.hosts != "":
		args = f.withHosts(args)
	case f.scenario.wrap != nil:
		args = append(f.scenario.wrap(f, n), args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "MORNINGAI_") && !strings.HasPrefix(pair, "REDIS_URL=") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(cmd.Env, "MORNINGAI_REDIS="+n.redis)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	n.cmd, n.done = cmd, done
	go func() { // ends with the process, for which kill waits
		_ = cmd.Wait()
		close(done)
	}()
	return until(ctx, "server "+n.name+" to be ready", func() (bool, error) {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return false, err
		}
		found := ready.FindSubmatch(text[from:])
		select {
		case <-done:
			return false, fmt.Errorf("server %s ends instead of serving", n.name)
		default:
		}
		if found == nil {
			return false, nil
		}
		return true, n.connect(string(found[1]))
	})
}

func (n *node) connect(url string) error {
	if n.web == nil {
		n.web = &http.Transport{MaxIdleConnsPerHost: 256}
	}
	c, err := client.New(url, client.WithHTTPClient(&http.Client{Timeout: silence, Transport: n.web}))
	if err == nil {
		n.url = url
		n.client.Store(c)
		n.starts.Add(1)
	}
	return err
}

func (n *node) idle() {
	if n.web != nil {
		n.web.CloseIdleConnections()
	}
}

// kill ends the process with -9, if it runs.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended already
	<-n.done
}

// crash kills a server and records that.
func (n *node) crash() {
	h := n.fleet.history
	own := h.Begin(drill.Op{Kind: drill.Crash, Node: n.name})
	some := h.Begin(drill.Op{Kind: drill.Crash}) // the callee does not know whose runs it sees
	n.kill()
	own.Return(nil)
	some.Return(nil)
}

// restart starts a server after a crash.
func (n *node) restart(ctx context.Context) error {
	if err := n.start(ctx); err != nil {
		return err
	}
	n.fleet.history.Add(drill.Op{Kind: drill.Restart, Node: n.name})
	return nil
}

// until waits for a condition, looking often.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	return longUntil(ctx, patience, what, ok)
}

func longUntil(ctx context.Context, d time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errors.New("waited in vain for "+what))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if met, err := ok(); met || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

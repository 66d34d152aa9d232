//go:build unix

package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
	"go.uber.org/goleak"
)

const (
	childURL  = "REDISTEST_CHILD_URL"
	childName = "REDISTEST_CHILD_NAME"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := runChild(url, os.Getenv(childName)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The client closes a connection that a Cluster has replaced five seconds later,
	// and sleeps as long before it looks at the Cluster again, closed or not.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient).redirectOrNew.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// runChild is a worker node in a process of its own: it ends when its standard
// input does.
func runChild(url, name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	e, err := redis.Open(ctx, url, redis.WithTimeout(shortLease), redis.WithBlock(500*time.Millisecond))
	if err != nil {
		return err
	}
	app := morningai.New(e, morningai.WithNode(name), morningai.WithLease(shortLease), morningai.WithConcurrency(8))
	app.HandleFunc("hold", func(ctx context.Context, _ *morningai.Task) (json.RawMessage, error) {
		<-ctx.Done() // until somebody says otherwise
		return json.RawMessage(`"` + name + `"`), nil
	})
	app.HandleFunc("nap", func(ctx context.Context, _ *morningai.Task) (json.RawMessage, error) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return json.RawMessage(`"` + name + `"`), ctx.Err()
	})
	if err := app.Start(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return errors.Join(app.Stop(ctx), e.Close())
}

// child is a worker process.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan error
}

func spawn(t *testing.T, url, name string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(self), done: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), childURL+"="+url, childName+"="+name)
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Fatalf("the child %s does not start: %v", name, err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() {
		_ = c.stdin.Close()
		_ = c.cmd.Process.Signal(syscall.SIGCONT)
		_ = c.cmd.Process.Kill()
		<-c.done
	})
	return c
}

func (c *child) signal(sig os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Fatal(err)
	}
}

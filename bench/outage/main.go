// Command outage gives MorningAI, asynq and, where its package is installed,
// Python's RQ the same load and takes Redis away from all of them at the same
// moments: for 12 s, for 45 s, and so that it comes back empty. Each has a
// redis-server, a producer and a worker of its own. What came of it is counted at
// the receiving end of the tasks, and printed side by side.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/RC918/morningai/internal/redisproc"
)

// outage is what is done to Redis.
type outage struct {
	name  string
	lasts time.Duration
	empty bool
}

var outages = []outage{{"12 s", 12 * time.Second, false}, {"45 s", 45 * time.Second, false}, {"2 s, empty after it", 2 * time.Second, true}}

// longOnes are tasks that run when Redis goes: some end while it is away, some after.
var longOnes = []time.Duration{8 * time.Second, 15 * time.Second, 25 * time.Second, 40 * time.Second, 55 * time.Second}

const (
	perSecond = 20
	short     = 10 * time.Millisecond
	around    = 4 * time.Second // before the outage, and after it
	patience  = 2 * time.Minute // for what was accepted to run
)

// system is one of those that are compared. Its worker runs a task by calling the
// callee with the task's number.
type system interface {
	// enqueue returns nil if the task was accepted.
	enqueue(ctx context.Context, n int, lasts time.Duration) error
	close() error
}

// opener starts producer and worker of a system.
type opener struct {
	name string
	open func(ctx context.Context, redis *redisproc.Server, c *callee, dir string) (system, error)
}

func main() {
	only := flag.String("only", "", "one outage: 12, 45 or empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	dir, err := os.MkdirTemp("", "outage")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "morningai")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/morningai")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build morningai (run this in the folder bench): %w\n%s", err, out)
	}
	openers := []opener{{"MorningAI", openMorningAI(program)}, {"asynq", openAsynq}}
	if python := findRQ(ctx); python != "" {
		openers = append(openers, opener{"Python RQ", openRQ(python)})
	} else {
		fmt.Fprintln(os.Stderr, "Python RQ is not installed (apt-get install python3-rq): it is left out")
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "OUTAGE\tSYSTEM\tASKED\tACCEPTED\tREFUSED\tREFUSED, AND RAN\tLOST\tRUN TWICE\tCANCELED\tCAUGHT UP AFTER")
	for i, o := range outages {
		if only != "" && only != []string{"12", "45", "empty"}[i] {
			continue
		}
		fmt.Fprintf(os.Stderr, "Redis is away for %s\n", o.name)
		lines := make([]string, len(openers))
		errs := make([]error, len(openers))
		var wait sync.WaitGroup
		for k, op := range openers {
			wait.Go(func() {
				var c counts
				if c, errs[k] = play(ctx, o, op, filepath.Join(dir, fmt.Sprint(i, k))); errs[k] != nil {
					errs[k] = fmt.Errorf("%s: %w", op.name, errs[k])
				}
				lines[k] = fmt.Sprintf("%s\t%s\t%s", o.name, op.name, c)
			})
		}
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		for _, line := range lines {
			fmt.Fprintln(out, line)
		}
	}
	return out.Flush()
}

// play gives one system the load and the outage.
func play(ctx context.Context, o outage, op opener, dir string) (c counts, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return counts{}, err
	}
	args := []string{"--appendonly", "yes"}
	if o.empty {
		args = []string{"--appendonly", "no"}
	}
	redis, err := redisproc.Start(redisproc.Options{Args: args})
	if err != nil {
		return counts{}, err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()
	callee, err := newCallee()
	if err != nil {
		return counts{}, err
	}
	defer callee.close()
	s, err := op.open(ctx, redis, callee, dir)
	if err != nil {
		return counts{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	p := &producer{system: s}
	stop := p.start(ctx)
	err = rest(ctx, around-2*time.Second)
	for _, lasts := range longOnes {
		p.ask(ctx, lasts)
	}
	err = errors.Join(err, rest(ctx, 2*time.Second), redis.Kill())
	if err == nil {
		err = errors.Join(rest(ctx, o.lasts), redis.Restart())
	}
	back := time.Now()
	if err == nil {
		err = rest(ctx, around)
	}
	stop()
	if err != nil {
		return counts{}, err
	}
	return p.count(ctx, callee, back), ctx.Err()
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

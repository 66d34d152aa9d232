package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/rq"
)

type rqWorkerCmd struct {
	Queues []string `arg:"" help:"RQ queues, the first one that has work before the others."`
	rqMap
	Route       string `placeholder:"QUEUE" help:"Move jobs that only Python can run to this queue; without it they stay where they are."`
	Name        string `placeholder:"NAME" help:"In RQ's list of workers; with --concurrency, what the names begin with."`
	Concurrency int    `default:"1" placeholder:"N" help:"Jobs to run at once (${default})."`
	Burst       bool   `help:"End when the queues are empty."`
	NoScheduler bool   `name:"no-scheduler" help:"Leave jobs that are due to other schedulers."`
	reach
	rqRedis
}

// Run works until a signal or RQ's shutdown command.
func (c *rqWorkerCmd) Run(ctx context.Context, s streams, line *kong.Context) (err error) {
	targets, err := c.targets()
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return usage("--map is missing: nothing could be run", "such as --map app.tasks.resize=resize")
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		return usage("--concurrency must be 1 to 1000", "")
	}
	client, err := c.open(s, line)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	l, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	fmt.Fprintf(s.err, "running jobs of %s as tasks of %s\n", strings.Join(c.Queues, ", "), l.Address())
	runner := &jobRunner{c: c, targets: targets, link: l}
	workers := make([]*rq.Worker, c.Concurrency)
	logger := slog.New(slog.NewTextHandler(s.err, nil)) // one: it writes one line at a time
	for i := range workers {
		cfg := rq.WorkerConfig{Name: c.Name, Queues: c.Queues, Route: c.Route, Burst: c.Burst, NoScheduler: c.NoScheduler,
			Logger: logger}
		if c.Name != "" && c.Concurrency > 1 {
			cfg.Name += "-" + strconv.Itoa(i+1)
		}
		if targets["*"] != "" {
			cfg.Otherwise = runner.run
		}
		cfg.Handlers = map[string]rq.Handler{}
		for function := range targets {
			if function != "*" {
				cfg.Handlers[function] = runner.run
			}
		}
		if workers[i], err = client.NewWorker(cfg); err != nil {
			return err
		}
	}
	errs := make([]error, len(workers))
	var all sync.WaitGroup
	for i, w := range workers {
		all.Go(func() { errs[i] = w.Run(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// jobRunner runs jobs as tasks.
type jobRunner struct {
	c       *rqWorkerCmd
	targets map[string]string
	link    *link
}

const awayPause = time.Second

func (r *jobRunner) run(ctx context.Context, j *rq.Job) (any, error) {
	spec, reason := r.c.spec(r.targets, j)
	if reason != "" {
		return nil, errors.New(reason)
	}
	// A run that was cut off and is begun anew finds its task; a retry of RQ's is
	// another one.
	key := fmt.Sprintf("rq %s %d %d %d", j.ID, j.CreatedAt.UnixMicro(), j.EnqueuedAt.UnixMicro(), j.RetriesLeft)
	var task *morningai.Task
	err := r.patiently(ctx, func() (err error) {
		task, err = r.link.EnqueueOnce(ctx, key, spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	id := task.ID
	err = r.patiently(ctx, func() (err error) {
		task, err = r.link.Wait(ctx, id)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			r.cancel(ctx, id)
		}
		return nil, err
	}
	if task.State != morningai.StateSucceeded {
		if task.Error != nil {
			return nil, task.Error
		}
		return nil, fmt.Errorf("the task %s ended as %s", id, task.State)
	}
	if spec.Type == "http" {
		return bodyOf(task.Result), nil
	}
	return task.Result, nil
}

// cancel ends the task of a job that was stopped.
func (r *jobRunner) cancel(ctx context.Context, id morningai.ID) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	_, _ = r.link.Cancel(ctx, id) // it may have ended, and its own timeout bounds it
}

// patiently repeats a call for as long as the server does not answer.
func (r *jobRunner) patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || exitCode(err) != exitUnreachable {
			return err
		}
		timer := time.NewTimer(awayPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// bodyOf is what an address answered: JSON as it is, anything else as text.
func bodyOf(result json.RawMessage) any {
	var answer struct {
		Body json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(result, &answer); err != nil {
		return result
	}
	var text string
	if json.Unmarshal(answer.Body, &text) == nil && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return answer.Body
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai/rq"
)

type rqImportCmd struct {
	Queues []string `arg:"" help:"RQ queues to take over."`
	rqMap
	Statuses []string `default:"queued,scheduled,failed" placeholder:"STATUS,…" help:"Which jobs: queued, scheduled, failed. A failed one becomes a task that is tried again (${default})."`
	Apply    bool     `help:"Take the jobs over; without it the command says what it would do."`
	JSON     bool     `name:"json" help:"Print what became of each job as JSON."`
	reach
	rqRedis
}

// Run takes jobs over, or says which it would.
func (c *rqImportCmd) Run(ctx context.Context, s streams, line *kong.Context) (err error) {
	targets, err := c.targets()
	if err != nil {
		return err
	}
	im := rq.Import{Queues: c.Queues, Decide: func(j *rq.Job) string { _, reason := c.spec(targets, j); return reason }}
	for _, name := range c.Statuses {
		im.Statuses = append(im.Statuses, rq.Status(name))
	}
	client, err := c.open(s, line)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	var ids map[string]string
	if c.Apply {
		l, err := c.dial(ctx)
		if err != nil {
			return err
		}
		defer l.Close()
		ids = map[string]string{}
		im.Submit, im.Refused = c.submit(l, targets, ids), func(err error) bool { return exitCode(err) == exitUsage || exitCode(err) == exitRefused }
	}
	taken, err := client.Import(ctx, im)
	return errors.Join(c.print(s, taken, ids), err)
}

// submit hands a job over as a task, once however often it is tried.
func (c *rqImportCmd) submit(l *link, targets map[string]string, ids map[string]string) func(context.Context, *rq.Job) error {
	return func(ctx context.Context, j *rq.Job) error {
		spec, _ := c.spec(targets, j)
		spec.MaxAttempts = 1 + max(j.RetriesLeft, 0)
		spec.Queue = j.Queue
		spec.RunAt = j.DueAt
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		task, err := l.EnqueueOnce(ctx, fmt.Sprintf("rq import %s %d", j.ID, j.CreatedAt.UnixMicro()), spec)
		if err != nil {
			return l.hint(err)
		}
		ids[j.ID] = task.ID.String()
		return nil
	}
}

func (c *rqImportCmd) print(s streams, taken []rq.Taken, ids map[string]string) error {
	left := 0
	rows := [][]string{{"JOB", "QUEUE", "WAS", "FUNCTION", "TASK"}}
	list := make([]map[string]any, 0, len(taken))
	for _, t := range taken {
		task, reason := ids[t.Job.ID], any(nil)
		if t.Reason != "" {
			left++
			task, reason = "stays: "+t.Reason, t.Reason
		}
		rows = append(rows, []string{printable(t.Job.ID), printable(t.Job.Queue), string(t.Was), printable(t.Job.Func), printable(task)})
		list = append(list, map[string]any{"job": t.Job.ID, "queue": t.Job.Queue, "was": t.Was, "func": t.Job.Func, "task_id": orEmpty(ids[t.Job.ID]), "stays": reason, "due_at": dueOf(&t)})
	}
	if c.JSON {
		return printValue(s, map[string]any{"applied": c.Apply, "jobs": list})
	}
	if len(taken) > 0 {
		if err := show(s.out, table(rows)); err != nil {
			return err
		}
	}
	verb := "would be taken over; repeat the command with --apply"
	if c.Apply {
		verb = "taken over"
	}
	fmt.Fprintf(s.err, "%d jobs %s, %d stay\n", len(taken)-left, verb, left)
	return nil
}

func orEmpty(id string) any {
	if id == "" {
		return nil
	}
	return id
}

func dueOf(t *rq.Taken) any {
	if t.Was != rq.Scheduled {
		return nil
	}
	return orNil(t.Job.DueAt.UTC().Truncate(time.Second))
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

type taskCmd struct {
	Submit taskSubmitCmd `cmd:"" help:"Submit a task and print its id."`
	Get    taskGetCmd    `cmd:"" help:"Show a task."`
	List   taskListCmd   `cmd:"" help:"List tasks, newest first."`
	Watch  taskWatchCmd  `cmd:"" help:"Follow a task until it ends."`
	Why    taskWhyCmd    `cmd:"" help:"Explain why a task is not running."`
	Logs   taskLogsCmd   `cmd:"" help:"Show what a task's handler has written."`
	Cancel taskCancelCmd `cmd:"" help:"Cancel a task."`
	Retry  taskRetryCmd  `cmd:"" help:"Run a failed or canceled task again."`
	Run    taskRunCmd    `cmd:"" help:"Run a scheduled task now."`
	Delete taskDeleteCmd `cmd:"" help:"Delete a task that is not running."`
}

// taskRef names one task.
type taskRef struct {
	ID string `arg:"" help:"Id of the task."`
}

// parse reads the id. What is not an id cannot be the id of a task, so the
// answer is the one for an unknown task.
func (r taskRef) parse() (morningai.ID, error) {
	id, err := morningai.ParseID(r.ID)
	if err != nil {
		return id, &morningai.Error{Code: morningai.CodeNotFound, Detail: "no such task",
			Hint: "an id is a UUID of 36 characters; morningai task list shows the ids", Err: nil}
	}
	return id, nil
}

// act is a call that acts on one task and returns it.
type act func(l *link, ctx context.Context, id morningai.ID) (*morningai.Task, error)

// command carries out act on the task and prints what it is then.
func command(ctx context.Context, s streams, c *connection, r taskRef, do act) error {
	id, err := r.parse()
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		task, err := do(l, ctx, id)
		if err != nil {
			return "", err
		}
		if task.Pending {
			fmt.Fprintln(s.err, "note: pending: the order is kept, and Redis is told when it is back")
		}
		return fmt.Sprintf("%s %s\n", task.ID, standing(task)), nil
	})
}

// standing says in a few words where a task stands.
func standing(t *morningai.Task) string {
	switch {
	case t.State == morningai.StateRunning && t.CancelRequested:
		return coloured(t) + ", cancel requested"
	case t.State == morningai.StateRunning:
		return fmt.Sprintf("%s, attempt %d", coloured(t), t.Attempt)
	case t.State == morningai.StateScheduled:
		return fmt.Sprintf("%s, due %s", coloured(t), moment(t.RunAt, time.Now()))
	case t.Error != nil && t.State != morningai.StateQueued:
		return coloured(t) + ": " + printable(t.Error.Error())
	}
	return coloured(t)
}

// describe shows all of a task, and its attempts if they are known.
func describe(t *morningai.Task, attempts []morningai.Attempt, now time.Time) string {
	trace := t.TraceID.String()
	if t.TraceID == t.ID {
		trace = ""
	}
	tries := ""
	if t.Attempt > 0 {
		tries = fmt.Sprintf("%d (%d of at most %d failures)", t.Attempt, t.Failures, t.MaxAttempts)
	}
	state := coloured(t)
	if t.CancelRequested {
		state += ", cancel requested"
	}
	var failure string
	if t.Error != nil {
		failure = short([]byte(t.Error.Error()))
	}
	var metadata strings.Builder
	for _, k := range sorted(t.Metadata) {
		fmt.Fprintf(&metadata, "%s=%s ", printable(k), printable(t.Metadata[k]))
	}
	text := fields([][2]string{
		{"id", t.ID.String()},
		{"trace", trace},
		{"type", t.Type},
		{"queue", fmt.Sprintf("%s, priority %d", t.Queue, t.Priority)},
		{"state", state},
		{"attempt", tries},
		{"created", moment(t.CreatedAt, now)},
		{"due", moment(t.RunAt, now)},
		{"started", moment(t.StartedAt, now)},
		{"finished", moment(t.FinishedAt, now)},
		{"metadata", strings.TrimSpace(metadata.String())},
		{"payload", short(t.Payload)},
		{"progress", short(t.Progress)},
		{"result", short(t.Result)},
		{"error", failure},
	}...)
	if len(attempts) > 1 {
		text += "\n" + attemptTable(attempts)
	}
	return text
}

func attemptTable(attempts []morningai.Attempt) string {
	rows := [][]string{{"ATTEMPT", "STARTED", "TOOK", "OUTCOME", "ERROR"}}
	const most = 20
	if hidden := len(attempts) - most; hidden > 0 {
		attempts = attempts[hidden:]
	}
	for _, a := range attempts {
		took, failure := "", ""
		if !a.FinishedAt.IsZero() {
			took = age(a.FinishedAt.Sub(a.StartedAt))
		}
		if a.Error != nil {
			failure = short([]byte(a.Error.Error()))
		}
		outcome := string(a.Outcome)
		if outcome == "" {
			outcome = "running"
		}
		rows = append(rows, []string{fmt.Sprint(a.Number), a.StartedAt.UTC().Format(time.RFC3339), took, outcome, failure})
	}
	return table(rows)
}

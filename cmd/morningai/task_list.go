package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

type taskListCmd struct {
	State   string `placeholder:"STATE" help:"Only tasks in this state, or retrying."`
	Queue   string `placeholder:"QUEUE" help:"Only tasks of this queue."`
	Type    string `placeholder:"TYPE" help:"Only tasks of this type."`
	TraceID string `name:"trace-id" placeholder:"UUID" help:"Only tasks with this trace id."`
	Limit   int    `default:"50" placeholder:"N" help:"At most so many, 1 to 1000 (${default})."`
	Cursor  string `placeholder:"CURSOR" help:"Where the page before said it goes on."`
	connection
}

// Run prints one page of tasks.
func (c *taskListCmd) Run(ctx context.Context, s streams) error {
	filter := morningai.Filter{State: morningai.State(c.State), Queue: c.Queue, Type: c.Type, Limit: c.Limit, Cursor: c.Cursor}
	if c.Limit < 1 || c.Limit > 1000 {
		return usage("--limit must be 1 to 1000", "for more, go on with --cursor")
	}
	if c.TraceID != "" {
		id, err := morningai.ParseID(c.TraceID)
		if err != nil {
			return usage("--trace-id must be a UUID of 36 characters", "")
		}
		filter.TraceID = id
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		page, err := l.List(ctx, filter)
		if err != nil {
			return "", err
		}
		if page.Next != "" && !c.JSON {
			fmt.Fprintf(s.err, "there are more: --cursor %s\n", page.Next)
		}
		noteStale(s, page.Fresh)
		if len(page.Tasks) == 0 {
			fmt.Fprintln(s.err, "no tasks")
			return "", nil
		}
		return taskTable(page.Tasks, time.Now()), nil
	})
}

func taskTable(tasks []morningai.Task, now time.Time) string {
	rows := [][]string{{"ID", "STATE", "TYPE", "QUEUE", "ATTEMPT", "AGE"}}
	for i := range tasks {
		t := &tasks[i]
		rows = append(rows, []string{t.ID.String(), coloured(t), t.Type, t.Queue, fmt.Sprint(t.Attempt), age(now.Sub(t.CreatedAt))})
	}
	return table(rows)
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

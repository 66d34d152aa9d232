package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

type taskLogsCmd struct {
	taskRef
	connection
}

// Run prints the task's log, oldest line first.
func (c *taskLogsCmd) Run(ctx context.Context, s streams) error {
	id, err := c.parse()
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		lines, err := l.Logs(ctx, id)
		if err != nil {
			return "", err
		}
		if len(lines) == 0 {
			fmt.Fprintln(s.err, "the task's log is empty")
		}
		var b strings.Builder
		for _, line := range lines {
			fmt.Fprintf(&b, "%s %-5s attempt %d  %s", line.At.UTC().Format(time.RFC3339), line.Level, line.Attempt, printable(line.Message))
			if len(line.Attrs) > 0 {
				fmt.Fprintf(&b, " %s", short(line.Attrs))
			}
			b.WriteString("\n")
		}
		return b.String(), nil
	})
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/keptlog"
	"github.com/RC918/morningai/internal/wire"
)

type logsCmd struct {
	TraceID string `name:"trace-id" placeholder:"UUID" help:"Only lines about tasks of this trace, or about the task with this id."`
	Since   string `placeholder:"D|TIME" help:"Only lines since then: a duration such as 15m, or a time."`
	Level   string `enum:",debug,info,warn,error" default:"" placeholder:"LEVEL" help:"Only lines of this level and above: debug, info, warn or error."`
	Limit   int    `default:"1000" placeholder:"N" help:"The newest lines, 1 to 10000 (${default})."`
	connection
}

// Run prints what the server has logged. The log of one that does not run is read
// from its data folder.
func (c *logsCmd) Run(ctx context.Context, s streams) error {
	f, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	err = c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		lines, err := l.ServerLogs(ctx, f)
		if err != nil {
			return "", err
		}
		return c.text(s, lines), nil
	})
	if c.Server != "" || !errors.Is(err, client.ErrUnreachable) {
		return err
	}
	return c.fromFolder(ctx, s, f, err)
}

func (c *logsCmd) filter(now time.Time) (client.LogFilter, error) {
	f := client.LogFilter{Level: c.Level, Limit: c.Limit}
	if c.Limit < 1 || c.Limit > keptlog.MaxLines {
		return f, usage(fmt.Sprintf("--limit must be 1 to %d", keptlog.MaxLines), "")
	}
	if c.TraceID != "" {
		id, err := morningai.ParseID(c.TraceID)
		if err != nil {
			return f, usage("--trace-id must be a UUID of 36 characters", "")
		}
		f.TraceID = id.String()
	}
	if c.Since != "" {
		var ok bool
		if f.Since, ok = keptlog.ParseSince(c.Since, now); !ok {
			return f, usage("--since must be a duration such as 15m, or a time such as 2026-01-02T15:04:05Z", "")
		}
	}
	return f, nil
}

// fromFolder reads the log of a server that does not run.
func (c *logsCmd) fromFolder(ctx context.Context, s streams, f client.LogFilter, unreached error) error {
	folder, err := dataFolder(c.Data)
	if err != nil {
		return unreached
	}
	level := slog.LevelDebug
	if f.Level != "" {
		if err := level.UnmarshalText([]byte(f.Level)); err != nil {
			return fmt.Errorf("read the level: %w", err)
		}
	}
	lines, err := keptlog.Read(ctx, folder, keptlog.Filter{TraceID: f.TraceID, Since: f.Since, Level: level, Limit: f.Limit})
	if errors.Is(err, keptlog.ErrNone) {
		return unreached
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "no server runs; this is from the data folder %s\n", folder)
	if c.JSON {
		return printValue(s, wire.LogLines{Lines: append([]keptlog.Line{}, lines...)})
	}
	return show(s.out, c.text(s, lines))
}

func (c *logsCmd) text(s streams, lines []client.ServerLine) string {
	if len(lines) == 0 {
		fmt.Fprintln(s.err, "no such lines are kept")
	}
	var b strings.Builder
	for _, l := range lines {
		level := fmt.Sprintf("%-5s", l.Level)
		switch l.Level {
		case "ERROR":
			level = bad.Render(level)
		case "WARN":
			level = warn.Render(level)
		}
		fmt.Fprintf(&b, "%s %s %s", l.At.UTC().Format("2006-01-02T15:04:05.000Z"), level, printable(l.Message))
		for _, a := range [][2]string{{"task_id", l.TaskID}, {"trace_id", l.TraceID}} {
			if a[1] != "" {
				fmt.Fprintf(&b, " %s=%s", a[0], printable(a[1]))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(l.Attrs)) {
			fmt.Fprintf(&b, " %s=%s", printable(name), attr(l.Attrs[name]))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// attr is a value as a line shows it.
func attr(v any) string {
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		text = string(data)
	}
	if text == "" || strings.ContainsAny(text, " \"=") {
		return fmt.Sprintf("%q", printable(text))
	}
	return printable(text)
}

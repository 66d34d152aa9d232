package server

import (
	"context"
	"log/slog"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/keptlog"
)

// openLog has everything that is logged kept in the data folder too.
func (c *Config) openLog(opening func(func() error)) error {
	if c.KeepLog == 0 {
		return nil
	}
	if c.KeepLog < keptlog.Least {
		return morningai.InvalidInput("open server", morningai.FieldError{Location: "keep log", Message: "must be 0, or at least 64 KiB"})
	}
	kept, err := keptlog.Open(c.Data, c.KeepLog)
	if err != nil {
		return unusable(c.Data, "cannot be written to", err)
	}
	opening(kept.Close)
	level := c.LogLevel
	if level == nil {
		level = slog.LevelInfo
	}
	c.Logger = slog.New(slog.NewMultiHandler(c.Logger.Handler(), kept.Handler(level)))
	c.LogFolder = c.Data
	return nil
}

// logAccepted writes a line about each task that was accepted: where it is safe,
// and its payload if that was asked for.
func (c *Config) logAccepted(next morningai.EnqueueFunc) morningai.EnqueueFunc {
	level := slog.LevelDebug
	if c.LogPayloads {
		level = slog.LevelInfo
	}
	logger, payloads := c.Logger, c.LogPayloads
	return func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
		receipts, err := next(ctx, specs)
		if err != nil || !logger.Enabled(ctx, level) {
			return receipts, err
		}
		for i := range receipts {
			r := &receipts[i]
			if r.Err != nil || r.Existing {
				continue
			}
			t := &r.Task
			attrs := []slog.Attr{slog.String("task_id", t.ID.String()), slog.String("trace_id", t.TraceID.String()), slog.String("type", t.Type),
				slog.String("queue", t.Queue), slog.String("durable", t.Durable)}
			if payloads {
				attrs = append(attrs, slog.String("payload", string(t.Payload)))
			}
			logger.LogAttrs(ctx, level, "task accepted", attrs...)
		}
		return receipts, nil
	}
}

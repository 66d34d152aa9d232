package morningai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// taskLog collects the lines of one attempt until they are sent.
type taskLog struct {
	mu      sync.Mutex
	lines   []LogLine // not sent yet; the newest MaxLogLines, since the engine keeps no more
	buf     bytes.Buffer
	builtin int // of slog's own attributes, how many are still to be left out
}

// logger returns the handler's logger, made at first use.
func (e *execution) logger() *slog.Logger {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.log == nil {
		e.log = &taskLog{}
	}
	l := e.log
	return slog.New(&taskLogHandler{
		e:    e,
		log:  l,
		app:  e.app.logger.Handler().WithAttrs(e.attrs()),
		json: slog.NewJSONHandler(&l.buf, &slog.HandlerOptions{Level: slog.LevelDebug - 100, ReplaceAttr: l.replace}),
	})
}

func (e *execution) hasLog() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log != nil
}

// flushLines sends the lines of an execution that runs inline.
func (e *execution) flushLines(ctx context.Context) error {
	points := e.takeLines()
	if len(points) == 0 {
		return nil
	}
	errs, err := e.engine.Checkpoint(context.WithoutCancel(ctx), points)
	return errors.Join(err, errors.Join(errs...))
}

// takeLines returns the lines to send, as checkpoints.
func (e *execution) takeLines() []Checkpoint {
	e.mu.Lock()
	l := e.log
	e.mu.Unlock()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	lines := l.lines
	l.lines = nil
	l.mu.Unlock()
	points := make([]Checkpoint, len(lines))
	for i := range lines {
		points[i] = Checkpoint{Lease: e.lease, Kind: CheckpointLog, Line: lines[i]}
	}
	return points
}

// replace leaves out level and message, which slog's JSON handler writes first
// and a line carries by itself. Called with mu held.
func (l *taskLog) replace(groups []string, a slog.Attr) slog.Attr {
	if l.builtin > 0 && len(groups) == 0 {
		l.builtin--
		return slog.Attr{}
	}
	return a
}

// taskLogHandler writes to the app's logger and to the task's log.
type taskLogHandler struct {
	e    *execution
	log  *taskLog
	app  slog.Handler
	json slog.Handler // writes attributes, as one object, into log.buf
}

// Enabled implements [slog.Handler].
func (h *taskLogHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.app.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h *taskLogHandler) Handle(ctx context.Context, r slog.Record) error {
	if err := h.keep(ctx, r); err != nil {
		return err
	}
	if h.app.Enabled(ctx, r.Level) {
		return h.app.Handle(ctx, r)
	}
	return nil
}

func (h *taskLogHandler) keep(ctx context.Context, r slog.Record) error {
	line := LogLine{Attempt: h.e.task.Attempt, At: r.Time, Level: levelName(r.Level), Message: cutText(r.Message, MaxLogLine)}
	if line.At.IsZero() {
		line.At = time.Now()
	}
	h.log.mu.Lock()
	attrs, err := h.attrs(ctx, r)
	if err != nil {
		h.log.mu.Unlock()
		return err
	}
	if len(line.Message)+len(attrs) > MaxLogLine {
		attrs = json.RawMessage(`{"attributes_cut":true}`)
		line.Message = cutText(line.Message, MaxLogLine-len(attrs))
	}
	line.Attrs = attrs
	first := len(h.log.lines) == 0
	if len(h.log.lines) >= MaxLogLines {
		h.log.lines = append(h.log.lines[:0], h.log.lines[1:]...)
	}
	h.log.lines = append(h.log.lines, line)
	h.log.mu.Unlock()
	if first && h.e.worker != nil {
		h.e.worker.reporter.addLines(loggedEntry{e: h.e})
	}
	return nil
}

// attrs returns the record's attributes as an object, or nil if it has none.
// Called with mu held.
func (h *taskLogHandler) attrs(ctx context.Context, r slog.Record) (json.RawMessage, error) {
	h.log.buf.Reset()
	h.log.builtin = 2
	r.Time = time.Time{} // not written then
	err := h.json.Handle(ctx, r)
	h.log.builtin = 0
	if err != nil {
		return nil, err
	}
	out := bytes.TrimSpace(h.log.buf.Bytes())
	if string(out) == "{}" {
		return nil, nil
	}
	return bytes.Clone(out), nil
}

// WithAttrs implements [slog.Handler].
func (h *taskLogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.log.mu.Lock() // formatting reads what attrs writes
	defer h.log.mu.Unlock()
	return &taskLogHandler{e: h.e, log: h.log, app: h.app.WithAttrs(attrs), json: h.json.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h *taskLogHandler) WithGroup(name string) slog.Handler {
	return &taskLogHandler{e: h.e, log: h.log, app: h.app.WithGroup(name), json: h.json.WithGroup(name)}
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

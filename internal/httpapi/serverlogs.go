package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/keptlog"
	"github.com/RC918/morningai/internal/wire"
)

const defaultLogLines = 1_000

var logLevels = []string{"debug", "info", "warn", "error"}

// serverLogs answers what the server has kept of its own log.
func (a *api) serverLogs(c *call) (answer, error) {
	f := keptlog.Filter{Level: slog.LevelDebug, Limit: defaultLogLines, TraceID: c.query.Get("trace_id")}
	var bad []morningai.FieldError
	refuse := func(name, message string) {
		bad = append(bad, morningai.FieldError{Location: "query." + name, Message: message})
	}
	if f.TraceID != "" {
		if id, err := morningai.ParseID(f.TraceID); err != nil {
			refuse("trace_id", "must be a UUID in its standard form of 36 characters")
		} else {
			f.TraceID = id.String()
		}
	}
	if text := c.query.Get("level"); text != "" && (!slices.Contains(logLevels, text) || f.Level.UnmarshalText([]byte(text)) != nil) {
		refuse("level", "must be debug, info, warn or error")
	}
	if text := c.query.Get("limit"); text != "" {
		n, ok := boundedInt(text, keptlog.MaxLines)
		if f.Limit = n; !ok {
			refuse("limit", fmt.Sprintf("must be 1 to %d", keptlog.MaxLines))
		}
	}
	if text := c.query.Get("since"); text != "" {
		var ok bool
		if f.Since, ok = keptlog.ParseSince(text, time.Now()); !ok {
			refuse("since", "must be a time such as 2026-01-02T15:04:05Z, or a duration such as 15m")
		}
	}
	if len(bad) > 0 {
		return answer{}, morningai.InvalidInput("list logs", bad...)
	}
	if a.logDir == "" {
		return answer{}, refusal(morningai.CodeNotFound, "this server keeps no log", "start it with --log-keep 64MiB")
	}
	lines, err := keptlog.Read(c.r.Context(), a.logDir, f)
	if err != nil && !errors.Is(err, keptlog.ErrNone) {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.LogLines{Lines: append([]keptlog.Line{}, lines...)}}, nil
}

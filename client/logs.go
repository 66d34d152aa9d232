package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/RC918/morningai/internal/keptlog"
	"github.com/RC918/morningai/internal/wire"
)

// ServerLine is a line of a server's own log.
type ServerLine = keptlog.Line

// LogFilter selects lines; zero fields select all.
type LogFilter struct {
	TraceID string // lines about the tasks of this trace, or about the task with this id
	Since   time.Time
	Level   string // debug, info, warn or error, and above
	Limit   int    // the newest; 0 means 1,000
}

// ServerLogs returns what the server has logged, oldest first, as far as it keeps
// it. One that keeps no log is a morningai.ErrNotFound.
func (c *Client) ServerLogs(ctx context.Context, f LogFilter) ([]ServerLine, error) {
	q := url.Values{}
	if f.TraceID != "" {
		q.Set("trace_id", f.TraceID)
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if f.Level != "" {
		q.Set("level", f.Level)
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var out wire.LogLines
	err := c.do(ctx, call{op: "list logs", method: http.MethodGet, path: []string{"v1", "logs"}, query: q}, &out)
	return out.Lines, err
}

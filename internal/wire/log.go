package wire

import "github.com/RC918/morningai/internal/keptlog"

// LogLines answers GET /v1/logs.
type LogLines struct {
	Lines []keptlog.Line `json:"lines"`
}

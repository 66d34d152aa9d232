package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/wire"
)

const (
	// backupPart is how much of a backup is held back: what goes wrong before is
	// still an answer.
	backupPart = 256 << 10
	// backupPace is how long a client may take for a part.
	backupPace = 2 * time.Minute
)

// getBackup streams a backup. One that fails on the way is cut off, and whoever
// reads it sees that it has no end.
func (a *api) getBackup(c *call) (answer, error) {
	if a.backup == nil {
		return answer{}, noRoute()
	}
	if c.r.Method == http.MethodHead {
		return answer{http.StatusOK, content{kind: wire.BackupType}}, nil
	}
	select {
	case a.copying <- struct{}{}:
		defer func() { <-a.copying }()
	default:
		return answer{}, refusal(sessions.CodeTooMany, "another backup is being read", "wait until it is done")
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	out := &backupStream{w: c.w}
	buffer := bufio.NewWriterSize(out, backupPart)
	err := a.backup(ctx, buffer)
	if err == nil {
		err = buffer.Flush()
	}
	switch {
	case err == nil:
		return answer{http.StatusOK, written{}}, nil
	case !out.begun:
		return answer{}, err
	}
	if !errors.Is(err, context.Canceled) && out.err == nil {
		a.log.Error("a backup was cut off", "error", err)
	}
	panic(http.ErrAbortHandler)
}

// backupStream begins the answer with the first part.
type backupStream struct {
	w     http.ResponseWriter
	begun bool
	err   error // of the connection
}

var _ io.Writer = (*backupStream)(nil)

func (s *backupStream) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", wire.BackupType)
		s.w.WriteHeader(http.StatusOK)
	}
	// Connections without deadlines are not the network's.
	_ = http.NewResponseController(s.w).SetWriteDeadline(time.Now().Add(backupPace))
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
		err = &morningai.Error{Code: morningai.CodeClosed, Op: "send backup", Detail: "whoever asked for the backup has gone", Err: err}
	}
	return n, err
}

package server

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/backup"
	"github.com/RC918/morningai/internal/wire"
	"github.com/RC918/morningai/resilient"
)

// Backups says which backups a server makes by itself. The zero value: none.
type Backups struct {
	Folder  string        // made if missing; of one server alone
	Every   time.Duration // from one to the next
	Keep    int           // so many stay, the newest
	KeyFile string        // with the key to sign with; "": not signed
}

// source is what backups of the app are made of.
func (s *Server) source() backup.Source {
	return backup.Source{Engine: s.app.Engine(), Incidents: s.incidents(), Program: s.opts.Version}
}

// incidents returns where the server's reports of outages are; nil: nowhere.
func (s *Server) incidents() func(context.Context) ([]morningai.Incident, error) {
	switch e := s.app.Engine().(type) {
	case morningai.Fleet:
		return e.Incidents
	case morningai.Journal:
		return func(ctx context.Context) ([]morningai.Incident, error) { return resilient.Incidents(ctx, e) }
	}
	return nil
}

// writeBackup answers whoever asks for a backup. They sign it themselves.
func (s *Server) writeBackup(ctx context.Context, w io.Writer) error {
	_, err := backup.Create(ctx, s.source(), w)
	return err
}

// openBackups prepares scheduled backups, and returns how they fare, if there are any.
func (s *Server) openBackups() (func() wire.Backups, error) {
	b := s.opts.Backups
	if b.Folder == "" {
		return nil, nil
	}
	source := s.source()
	if b.KeyFile != "" {
		var err error
		if source.Key, err = backup.ReadKey(b.KeyFile); err != nil {
			return nil, err
		}
	}
	var err error
	s.keeper, err = backup.NewKeeper(backup.Schedule{Folder: b.Folder, Every: b.Every, Keep: b.Keep}, source, s.opts.Logger)
	if err != nil {
		return nil, err
	}
	return s.backupStatus, nil
}

func (s *Server) backupStatus() wire.Backups {
	st := s.keeper.Status()
	out := wire.Backups{Status: "ok", Bytes: st.Bytes, Made: st.Made, Failed: st.Fails}
	if st.LastAt.IsZero() {
		out.Status = "none"
	} else {
		at, age := st.LastAt.UTC(), wire.Duration(time.Since(st.LastAt).Round(time.Second))
		out.LastAt, out.Age, out.File = &at, &age, filepath.Base(st.Path)
	}
	if !st.Next.IsZero() {
		next := st.Next.UTC()
		out.Next = &next
	}
	if st.Failed != nil {
		out.Status, out.Cause = "failing", st.Failed.Error()
		since := st.Since.UTC()
		out.Since = &since
		if e, ok := errors.AsType[*morningai.Error](st.Failed); ok && e.Detail != "" {
			out.Cause, out.Hint = e.Detail, e.Hint
		}
	}
	return out
}

package server

import (
	"errors"

	"github.com/RC918/morningai/resilient"
)

// Limits are settings of a running server that may change.
type Limits struct {
	Concurrency                  int   // tasks to run at once
	JournalLimit, JournalMinFree int64 // see Redis
}

// Reload reads the token file again, if the server has one, and takes new limits.
// What cannot be taken stays as it was, and the error says so; the rest is taken
// nevertheless. Sessions of workers and connections go on.
func (s *Server) Reload(l Limits) error {
	errs := []error{s.ReloadTokens(), s.app.SetConcurrency(l.Concurrency)}
	if j, ok := s.app.Engine().(*resilient.Engine); ok {
		j.SetLimits(l.JournalLimit, l.JournalMinFree)
	}
	return errors.Join(errs...)
}

// ReloadTokens reads the token file again, if the server has one. A token that is
// gone is refused from its next request on; after an error all stay as they were.
func (s *Server) ReloadTokens() error {
	if s.tokens == nil {
		return nil
	}
	warnings, err := s.tokens.Reload(s.opts.TokenFile)
	for _, w := range warnings {
		s.opts.Logger.Warn(w)
	}
	return err
}

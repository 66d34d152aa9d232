package redisproc

import "errors"

var errNoSignals = errors.New("Windows cannot freeze a process")

// Freeze is an error on this system.
func (s *Server) Freeze() error { return errNoSignals }

// Thaw is an error on this system.
func (s *Server) Thaw() error { return errNoSignals }

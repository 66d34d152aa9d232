//go:build unix

package redisproc

import "syscall"

// Freeze stops the process without ending it: connections stay, nothing is
// answered (SIGSTOP).
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

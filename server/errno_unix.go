//go:build unix

package server

import (
	"errors"
	"syscall"
)

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

func isAddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

func isAddrUnknown(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }

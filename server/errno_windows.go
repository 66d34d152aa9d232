package server

import (
	"errors"

	"golang.org/x/sys/windows"
)

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func isAddrInUse(err error) bool {
	return errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES) // held exclusively
}

func isAddrUnknown(err error) bool { return errors.Is(err, windows.WSAEADDRNOTAVAIL) }

package main

import (
	"os"
	"syscall"
)

// stopSignals ask a command to end.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}

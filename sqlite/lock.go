package sqlite

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/RC918/morningai"
)

// fileLock keeps a second process, or a second engine of this one, away from
// the file. The operating system releases it when the process ends, however it
// ends. The file beside the database names the holder for those refused.
type fileLock struct{ f *flock.Flock }

func takeLock(path string) (*fileLock, error) {
	name := path + ".lock"
	f := flock.New(name)
	ok, err := f.TryLock()
	if err != nil {
		return nil, cannotOpen(path, err)
	}
	if !ok {
		return nil, &morningai.Error{Code: morningai.CodeLocked, Op: "open engine",
			Detail: "the task file is in use by " + readHolder(name),
			Hint:   "stop that process, or use another data folder"}
	}
	program := "unknown program"
	if exe, err := os.Executable(); err == nil {
		program = filepath.Base(exe)
	}
	text := fmt.Sprintf("process %d (%s, started %s)\n", os.Getpid(), program, time.Now().UTC().Format(time.RFC3339))
	if err := writeHolder(name, text); err != nil {
		return nil, cannotOpen(path, joinErrors(err, f.Unlock()))
	}
	return &fileLock{f}, nil
}

// writeHolder leaves out the first byte, which is the one that is locked:
// Windows lets nobody else write, or read, it.
func writeHolder(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 1)
	return joinErrors(err, f.Close())
}

// readHolder returns who the lock file names; the holder may be about to write
// it.
func readHolder(name string) string {
	const nobody = "another process"
	f, err := os.Open(name)
	if err != nil {
		return nobody
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 1, 512))
	line, _, _ := strings.Cut(string(text), "\n")
	if joinErrors(err, f.Close()) != nil || line == "" {
		return nobody
	}
	return line
}

func (l *fileLock) release() error { return l.f.Unlock() }

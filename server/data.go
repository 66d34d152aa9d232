package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// tasksFile holds the tasks of a data folder.
const tasksFile = "tasks.db"

// prepareFolder creates the data folder if it is missing and checks that files
// can be made in it, so that a wrong folder is one clear sentence instead of
// what a database makes of it.
func prepareFolder(folder string) error {
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return unusable(folder, "cannot be created", err)
		}
	case err != nil:
		return unusable(folder, "cannot be read", err)
	case !info.IsDir():
		return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "open data folder",
			Detail: fmt.Sprintf("the data folder %s is a file", folder), Hint: "give a folder with --data"}
	}
	probe, err := os.CreateTemp(folder, ".writable-*")
	if err != nil {
		return unusable(folder, "cannot be written to", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return unusable(folder, "cannot be written to", err)
	}
	return nil
}

func unusable(folder, what string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path is in the sentence already
	}
	code := morningai.CodeStorageFailed
	if errors.Is(err, fs.ErrPermission) || isReadOnly(err) {
		code = client.CodeForbidden
	}
	return &morningai.Error{Code: code, Op: "open data folder", Err: err,
		Detail: fmt.Sprintf("the data folder %s %s", folder, what),
		Hint:   "give another folder with --data, or the right to write to this one"}
}

package sqlite

import (
	"errors"
	"syscall"

	lib "modernc.org/sqlite/lib"

	"github.com/RC918/morningai"
)

// joinErrors keeps a single error as it is.
func joinErrors(a, b error) error {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return errors.Join(a, b)
}

func cannotOpen(path string, err error) error {
	if morningai.CodeOf(err) != "" {
		return err
	}
	e := &morningai.Error{Code: morningai.CodeStorageFailed, Op: "open engine", Detail: "the task file cannot be opened",
		Hint: "check that its folder exists, is writable and has free space", Err: err}
	if isFull(err) {
		e.Code = morningai.CodeStorageFull
	}
	return e
}

// isFull tells a lack of space, or of the right to more of it, from a disk that
// fails. SQLite has rolled back then and nothing reached the file.
func isFull(err error) bool {
	if db, ok := errors.AsType[*dbError](err); ok {
		if db.code&0xff == lib.SQLITE_FULL {
			return true
		}
		// A sync that reports a lack of space has still lost data.
		if db.code == lib.SQLITE_IOERR_FSYNC || db.code == lib.SQLITE_IOERR_DIR_FSYNC {
			return false
		}
		return db.errno != 0 && fullErrno(syscall.Errno(db.errno))
	}
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		return fullErrno(no)
	}
	return false
}

// isStorage tells errors of the disk or the file from those of a statement.
func isStorage(err error) bool {
	db, ok := errors.AsType[*dbError](err)
	if !ok {
		return false
	}
	switch db.code & 0xff {
	case lib.SQLITE_IOERR, lib.SQLITE_FULL, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN,
		lib.SQLITE_PERM, lib.SQLITE_NOMEM, lib.SQLITE_PROTOCOL, lib.SQLITE_BUSY:
		return true
	}
	return false
}

// storageError gives an error of the database the code that callers act on.
func storageError(op string, err error) error {
	if morningai.CodeOf(err) != "" {
		return err
	}
	if isFull(err) {
		return &morningai.Error{Code: morningai.CodeStorageFull, Op: op, Detail: "the disk or the size limit is full; nothing was written",
			Hint: "free disk space or raise the limit; the engine goes on by itself", Err: err}
	}
	return &morningai.Error{Code: morningai.CodeStorageFailed, Op: op, Detail: "the disk did not confirm a write",
		Hint: "check the disk, then restart", Err: err}
}

func notFound(op string) error {
	return &morningai.Error{Code: morningai.CodeNotFound, Op: op, Detail: "there is no such task"}
}

func stale(op string) error {
	return &morningai.Error{Code: morningai.CodeStale, Op: op, Detail: "the claim was superseded"}
}

func wrongState(op, detail string) error {
	return &morningai.Error{Code: morningai.CodeWrongState, Op: op, Detail: detail}
}

var errClosed error = &morningai.Error{Code: morningai.CodeClosed, Op: "sqlite", Detail: "the engine has been closed"}

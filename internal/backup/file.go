package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/RC918/morningai"
)

const leastKey = 32

// ReadKey reads the key that backups are signed with: whatever a file holds, from
// 32 bytes on. White space at its ends does not count.
func ReadKey(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, aboutFile("the key", path, err)
	}
	secret := bytes.TrimSpace(data)
	if len(secret) < leastKey {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "read key", Detail: fmt.Sprintf("the key %s is too short to protect anything", path),
			Hint: "it needs 32 bytes or more; make one with: openssl rand -hex 32"}
	}
	sum := sha256.Sum256(secret)
	return sum[:], nil
}

func aboutFile(what, path string, err error) error {
	e := &morningai.Error{Code: morningai.CodeStorageFailed, Op: "open file", Detail: fmt.Sprintf("%s %s cannot be used", what, path), Err: err}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		e.Err = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Code, e.Detail, e.Err = morningai.CodeNotFound, fmt.Sprintf("there is no file %s", path), nil
	case errors.Is(err, fs.ErrExist):
		e.Code, e.Detail, e.Err, e.Hint = morningai.CodeConflict, fmt.Sprintf("the file %s exists, and is left as it is", path), nil, "choose another name, or replace it with --overwrite"
	case isFull(err):
		e.Code, e.Detail, e.Hint = morningai.CodeStorageFull, fmt.Sprintf("there is no room for %s %s", what, path), "free space on its disk, or write it elsewhere; nothing of it was left behind"
	}
	return e
}

// WriteFile lets write fill a file that appears under its name only when it is
// whole, has been read back and is on the disk. Whatever fails before leaves
// nothing behind. What write returned is verified against key.
func WriteFile(ctx context.Context, path string, overwrite bool, key []byte, write func(io.Writer) error) (_ *Report, err error) {
	if info, err := os.Stat(path); err == nil && (!overwrite || !info.Mode().IsRegular()) {
		return nil, aboutFile("the file", path, fs.ErrExist)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+partSuffix)
	if err != nil {
		return nil, aboutFile("the file", path, err)
	}
	open := true
	defer func() {
		if err == nil {
			return
		}
		if open {
			err = errors.Join(err, temp.Close())
		}
		err = errors.Join(err, os.Remove(temp.Name()))
	}()
	sink := &sinking{to: temp}
	if err := write(sink); err != nil {
		if sink.err != nil {
			err = aboutFile("the file", path, sink.err)
		}
		return nil, err
	}
	if err := temp.Sync(); err != nil {
		return nil, aboutFile("the file", path, err)
	}
	report, err := verify(ctx, temp, nil)
	if err != nil {
		return nil, err
	}
	if key != nil && !report.Signed {
		if err := signFile(temp, report, key); err != nil {
			return nil, aboutFile("the file", path, err)
		}
	}
	if key != nil {
		if report, err = verify(ctx, temp, key); err != nil {
			return nil, err
		}
	}
	open = false
	if err := temp.Close(); err != nil {
		return nil, aboutFile("the file", path, err)
	}
	if err := place(temp.Name(), path, overwrite); err != nil {
		return nil, aboutFile("the file", path, err)
	}
	return report, nil
}

// partSuffix ends the names of files that are not whole yet.
const partSuffix = ".part"

// place gives a file its name. One that has come meanwhile stays, unless it may
// be replaced.
func place(temp, path string, overwrite bool) error {
	if overwrite {
		if err := os.Rename(temp, path); err != nil {
			return err
		}
		return syncFolder(filepath.Dir(path))
	}
	if err := os.Link(temp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		// A file system without links.
		if err := os.Rename(temp, path); err != nil {
			return err
		}
		return syncFolder(filepath.Dir(path))
	}
	return errors.Join(os.Remove(temp), syncFolder(filepath.Dir(path)))
}

// sinking remembers that it was the file which failed.
type sinking struct {
	to  io.Writer
	err error
}

func (s *sinking) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

// signFile replaces the end of a backup that is not signed.
func signFile(f *os.File, r *Report, key []byte) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, r.signature)); err != nil {
		return err
	}
	if err := f.Truncate(r.signature); err != nil {
		return err
	}
	if _, err := f.Seek(r.signature, io.SeekStart); err != nil {
		return err
	}
	w := &writer{to: f, sum: sum}
	w.end(key)
	if w.err != nil {
		return w.err
	}
	return f.Sync()
}

package sqlite

import "path/filepath"

// Hold keeps every engine away from a file until release is called, so that its
// files can be copied as they are. While an engine has it open it is a
// morningai.ErrLocked. It changes nothing in the file.
func Hold(path string) (release func() error, err error) {
	l, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	return l.release, nil
}

// FreeSpace is how many bytes may still be written to the disk of a folder; -1
// if that is not known.
func FreeSpace(folder string) int64 { return freeBytes(folder + string(filepath.Separator)) }

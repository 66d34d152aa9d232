package sqlite

import (
	"path/filepath"

	"golang.org/x/sys/windows"
)

// freeBytes is how much may still be written to the disk that holds the file;
// -1 if that is not known.
func freeBytes(path string) int64 {
	dir, err := windows.UTF16PtrFromString(filepath.Dir(path))
	if err != nil {
		return -1
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(dir, &free, nil, nil); err != nil {
		return -1
	}
	return int64(min(free, 1<<63-1))
}

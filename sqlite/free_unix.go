//go:build linux || darwin || freebsd

package sqlite

import "syscall"

// freeBytes is how much may still be written to the disk that holds the file;
// -1 if that is not known.
func freeBytes(path string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

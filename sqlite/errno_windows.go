package sqlite

import "syscall"

// The codes of a full disk and of a used-up quota.
const (
	errHandleDiskFull syscall.Errno = 39
	errDiskFull       syscall.Errno = 112
	errQuota          syscall.Errno = 1295
)

func fullErrno(n syscall.Errno) bool {
	return n == errHandleDiskFull || n == errDiskFull || n == errQuota
}

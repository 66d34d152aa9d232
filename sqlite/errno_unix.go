//go:build unix

package sqlite

import "syscall"

func fullErrno(n syscall.Errno) bool {
	return n == syscall.ENOSPC || n == syscall.EDQUOT || n == syscall.EFBIG
}

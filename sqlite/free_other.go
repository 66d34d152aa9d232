//go:build !linux && !darwin && !freebsd && !windows

package sqlite

func freeBytes(string) int64 { return -1 }

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// fsyncRate writes 4 KiB and waits for the disk, for a fifth of a second, and
// returns how often it could per second.
func fsyncRate(dir string) (float64, error) {
	path := filepath.Join(dir, "fsync")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	defer f.Close()
	page := make([]byte, 4096)
	began, n := time.Now(), 0
	for time.Since(began) < 200*time.Millisecond {
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// load is the load average of the last minute, or -1 where the system does not
// say it.
func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(b), " ")
	f, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return f
}

// residentSet returns the memory this process holds and has held at most, in
// bytes; 0 where the system does not say it.
func residentSet() (now, peak int64, err error) { return residentSetOf("self") }

func residentSetOf(process string) (now, peak int64, err error) {
	b, err := os.ReadFile("/proc/" + process + "/status")
	if os.IsNotExist(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	field := func(name string) int64 {
		_, rest, ok := bytes.Cut(b, []byte(name+":"))
		if !ok {
			return 0
		}
		var kib int64
		if _, err := fmt.Sscan(string(rest[:min(len(rest), 40)]), &kib); err != nil {
			return 0
		}
		return kib << 10
	}
	return field("VmRSS"), field("VmHWM"), nil
}

// startProfile writes a CPU profile to path until the returned function is
// called; with no path it does nothing.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// OwnMounts is the command that runs another one with mounts of its own, which
// end with it.
func OwnMounts() []string {
	if os.Geteuid() != 0 {
		return []string{"unshare", "--map-root-user", "--mount"}
	}
	return []string{"unshare", "--mount"}
}

// StartOnDisk is Start with a small disk for the data, which ends with the
// process.
func StartOnDisk(tb testing.TB, megabytes int, args ...string) *Server {
	tb.Helper()
	s := &Server{kind: Redis, tb: tb, dir: folder(tb), pass: after(args, "--requirepass")}
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		tb.Fatal(err)
	}
	s.args = append([]string{"--dir", disk}, args...)
	s.wrap = append(OwnMounts(), "sh", "-c", fmt.Sprintf(`mount -t tmpfs -o size=%dm tmpfs "$0" && exec "$@"`, megabytes), disk)
	return s.begin()
}

// Disk is where this process finds the small disk of a server that runs.
func (s *Server) Disk() string {
	return fmt.Sprintf("/proc/%d/root%s", s.PID(), filepath.Join(s.dir, "disk"))
}

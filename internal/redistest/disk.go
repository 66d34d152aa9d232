package redistest

import (
	"fmt"
	"os"
	"testing"

	"github.com/RC918/morningai/internal/redisproc"
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
	return run(tb, redisproc.Options{Args: args, Wrap: func(disk string) []string {
		return append(OwnMounts(), "sh", "-c", fmt.Sprintf(`mount -t tmpfs -o size=%dm tmpfs "$0" && exec "$@"`, megabytes), disk)
	}})
}

package outagetest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var soak = flag.Bool("soak", os.Getenv("MORNINGAI_SOAK") == "1", "outages of 60 s beside the shorter ones, and more plans of faults")

// binary is the program under test.
var binary string

// Most of a scenario is waiting, so that more of them run side by side than
// there are processors.
const sideBySide = 6

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", fmt.Sprint(sideBySide)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "outagetest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "morningai")
	build := exec.Command("go", "build", "-o", binary, "github.com/RC918/morningai/cmd/morningai")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	for _, name := range []string{"MORNINGAI_REDIS", "REDIS_URL", "MORNINGAI_DATA", "MORNINGAI_LISTEN", "MORNINGAI_TOKEN_FILE"} {
		if err := os.Unsetenv(name); err != nil { // the servers inherit it
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	defer func() { yard.stop() }()
	return m.Run()
}

// until waits for a condition, looking every few milliseconds, and fails the
// test if it does not come about in time.
func until(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	if !within(patience, ok) {
		t.Fatalf("waited %v in vain for %s", patience, what)
	}
}

// within is until that says whether the condition came about.
func within(patience time.Duration, ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			return ok()
		}
	}
	return true
}

// late says that something took longer than is promised. It fails the test in a
// soak alone, which has the machine for itself: elsewhere a clock proves nothing.
func late(t testing.TB, format string, args ...any) {
	t.Helper()
	if *soak {
		t.Errorf(format, args...)
		return
	}
	t.Logf(format, args...)
}

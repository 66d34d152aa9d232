package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// clockShim answers wall-clock calls with an offset read from a file. The
// monotonic clock is left alone, as it is when an operator sets the date.
const clockShim = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
  char text[32] = {0};
  const char *path = getenv("CLOCK_OFFSET");
  int fd = path ? open(path, O_RDONLY) : -1;
  if (fd < 0) return 0;
  long n = read(fd, text, sizeof text - 1);
  close(fd);
  return n > 0 ? atol(text) : 0;
}
int gettimeofday(struct timeval *tv, void *tz) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
  int r = real(tv, tz);
  if (tv) tv->tv_sec += offset();
  return r;
}
int clock_gettime(clockid_t id, struct timespec *ts) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, ts);
  if (id == CLOCK_REALTIME) ts->tv_sec += offset();
  return r;
}
time_t time(time_t *t) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  if (t) *t = ts.tv_sec;
  return ts.tv_sec;
}
`

// Clock is the wall clock of a server started with StartWithClock.
type Clock struct {
	tb   testing.TB
	path string
}

// StartWithClock starts a server whose wall clock the test can set. It needs
// gcc.
func StartWithClock(tb testing.TB, args ...string) (*Server, *Clock) {
	tb.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		tb.Fatal("gcc is needed by this test: apt-get install gcc libc6-dev")
	}
	dir := tb.TempDir()
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, []byte(clockShim), 0o600); err != nil {
		tb.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl").CombinedOutput(); err != nil {
		tb.Fatalf("gcc: %v\n%s", err, out)
	}
	c := &Clock{tb: tb, path: filepath.Join(dir, "offset")}
	c.Set(0)
	s := StartEnv(tb, []string{"LD_PRELOAD=" + library, "CLOCK_OFFSET=" + c.path}, args...)
	return s, c
}

// Set moves the clock to an offset from the true time.
func (c *Clock) Set(offset time.Duration) {
	c.tb.Helper()
	next := c.path + ".new"
	if err := os.WriteFile(next, []byte(strconv.FormatInt(int64(offset/time.Second), 10)), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.Rename(next, c.path); err != nil {
		c.tb.Fatal(err)
	}
}

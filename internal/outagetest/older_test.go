package outagetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/drill"
)

// folder is where Redis keeps what it has on disk.
func (f *fleet) folder() string {
	f.t.Helper()
	_, dir, ok := strings.Cut(f.redis.Do("CONFIG", "GET", "dir"), "\n")
	if !ok {
		f.t.Fatal("Redis does not say where its data are")
	}
	return strings.TrimSpace(dir)
}

// older is a way to bring Redis back as it was when it was begun: what it returns
// changes the files of a Redis that does not run.
type older struct {
	name  string
	args  []string
	begin func(f *fleet) (restore func() error)
}

// goesBack takes Redis back to before something was done.
func (f *fleet) goesBack(o older, do func()) {
	f.t.Helper()
	restore := o.begin(f)
	do()
	lost := f.history.Begin(drill.Op{Kind: drill.RedisLost})
	defer lost.Return(nil)
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	_, _ = f.redis.Try("SHUTDOWN", "NOSAVE") // the connection ends without a reply
	f.redis.Kill()
	if err := restore(); err != nil {
		f.t.Fatal(err)
	}
	f.redis.Restart()
	f.history.Add(drill.Op{Kind: drill.RedisUp})
}

var (
	restored = older{"restored from a snapshot", withoutDisk, func(f *fleet) func() error {
		f.redis.Do("SAVE")
		dump := filepath.Join(f.folder(), "dump.rdb")
		snapshot, err := os.ReadFile(dump)
		if err != nil {
			f.t.Fatal(err)
		}
		return func() error { return os.WriteFile(dump, snapshot, 0o600) }
	}}
	truncated = older{"without the tail of its append-only file", nil, func(f *fleet) func() error {
		found, err := filepath.Glob(filepath.Join(f.folder(), "appendonlydir", "*.incr.aof"))
		if err != nil || len(found) != 1 {
			f.t.Fatalf("the append-only file is not one of %q (%v)", found, err)
		}
		was, err := os.Stat(found[0])
		if err != nil {
			f.t.Fatal(err)
		}
		return func() error { return os.Truncate(found[0], was.Size()+7) } // within a command
	}}
)

// A Redis that comes back older than it was, under a fleet at work: what it had
// acknowledged since is put back, what has ended stays ended, and nothing runs
// twice.
func TestRedisComesBackOlder(t *testing.T) {
	t.Parallel()
	for _, o := range []older{restored, truncated} {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, o.args...)
			f.history.Setup.Starts = true
			a, b, c := f.startNode("a"), f.startNode("b"), f.startNode("c")
			tr := f.traffic(60, f.allCounted, f.nodes...)
			long := f.running(a, 3, "long")
			var there *furniture
			f.goesBack(o, func() {
				there = f.furnish(a, b)
				long = append(long, f.running(c, 3, "long")...)
				rest(time.Second)
			})
			rest(2 * time.Second)
			f.endsWhole(tr, long, there)
			s := f.sums()
			if s.Replayed < 9 { // the furniture and what runs, at least
				t.Errorf("Redis has lost what it had acknowledged, and the incidents say %+v", s)
			}
			if s.Lost+s.Repeated+s.MaybeRepeated+s.SetAside != 0 {
				t.Errorf("every task ran once, and the incidents say %+v", s)
			}
		})
	}
}

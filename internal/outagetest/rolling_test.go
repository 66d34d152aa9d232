package outagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// newVersion builds the program as another version.
func newVersion(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "morningai")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v9.9.9", "-o", path, "github.com/RC918/morningai/cmd/morningai")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return path
}

// versions are those of the connected servers, as one of them tells.
func (f *fleet) versions(n *node) []string {
	f.t.Helper()
	var all struct {
		Nodes []struct {
			Version   string
			Connected bool
		}
	}
	n.call("GET", "/v1/nodes", nil).into(f.t, &all)
	var out []string
	for _, one := range all.Nodes {
		if one.Connected && !slices.Contains(out, one.Version) {
			out = append(out, one.Version)
		}
	}
	slices.Sort(out)
	return out
}

// Three servers are replaced by a new version one after the other, under load: each
// drains, the others take over, old and new work beside each other meanwhile, and
// no task is lost or repeated.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	next := newVersion(t)
	var nodes []*node
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, f.startNode(name))
	}
	long := f.running(nodes[0], 5, "gate") // finishes within the grace time
	tr := f.traffic(60, f.mixed, nodes...)
	rest(time.Second)
	opening := time.AfterFunc(300*time.Millisecond, func() { f.callee.open("gate") })
	defer opening.Stop()
	for i, n := range nodes {
		if code := n.stop(); code != 0 {
			t.Errorf("%s ends with %d", n.name, code)
		}
		n.other = next
		f.again(n)
		rest(500 * time.Millisecond)
		want := []string{"devel", "v9.9.9"}
		if i == len(nodes)-1 {
			want = want[1:]
		}
		until(t, patience, "the versions to be told", func() bool { return slices.Equal(f.versions(n), want) })
	}
	made := tr.stop()
	f.settle()
	ends := f.everyStatusAgrees()
	f.succeededOnce(ends, append(made, long...))
	refused := 0
	for _, r := range made {
		if r.task.ID.IsZero() {
			refused++
		}
	}
	t.Logf("%d tasks under way, %d enqueues met a server that was away", len(made)-refused, refused)
	if len(made)-refused < 50 {
		t.Errorf("only %d tasks were accepted: the load does not flow", len(made)-refused)
	}
	for _, n := range nodes {
		if !slices.ContainsFunc(made, func(r receipt) bool { return r.node == n && r.status == 202 }) {
			t.Errorf("%s has accepted nothing", n.name)
		}
	}
}

// A version that does not know the format of the data refuses to start on them,
// says which it knows, and leaves them to those that do.
func TestUnknownFormatIsRefused(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.startNode("a")
	format := f.redis.Do("HGET", "mai:{0}:meta", "format")
	f.redis.Do("HSET", "mai:{0}:meta", "format", "99")
	b := f.add("b")
	b.launch()
	select {
	case <-b.done:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if code, said := b.cmd.ProcessState.ExitCode(), b.said(); code != 5 || !strings.Contains(said, "format 99, and this version of the program knows format") {
		t.Errorf("it ends with %d: %s", code, said)
	}
	f.redis.Do("HSET", "mai:{0}:meta", "format", format)
	made := f.must(a, f.echo(1))
	until(t, patience, "the old version to go on", func() bool {
		_, v := f.look(a, made.id)
		return v.State.Terminal()
	})
	b.start()
}

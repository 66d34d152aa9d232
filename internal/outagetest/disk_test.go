package outagetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redistest"
)

// onSmallDisk gives a server that does not run yet a disk of its own for its
// data, in a mount namespace that ends with it.
func (n *node) onSmallDisk(megabytes int) {
	n.t.Helper()
	if err := os.MkdirAll(n.data, 0o700); err != nil {
		n.t.Fatal(err)
	}
	n.wrap = append(redistest.OwnMounts(), "sh", "-c", fmt.Sprintf(`mount -t tmpfs -o size=%dm tmpfs "$0" && exec "$@"`, megabytes), n.data)
}

// fill leaves at most that many bytes of the server's small disk free: the
// server writes to it meanwhile.
func (n *node) fill(free int64) (empty func()) {
	n.t.Helper()
	return fillUp(n.t, fmt.Sprintf("/proc/%d/root%s", n.cmd.Process.Pid, n.data), free)
}

func fillUp(t *testing.T, dir string, free int64) (empty func()) {
	t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ballast")
	ballast := make([]byte, max(int64(disk.Bavail)*disk.Bsize-free, 0))
	if err := os.WriteFile(path, ballast, 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// failSyncs lets every request of a server to write to its disk's platter fail
// from now on, until the server ends.
func (n *node) failSyncs() {
	n.t.Helper()
	var said strings.Builder
	trace := exec.Command("strace", "-f", "-qq", "-p", strconv.Itoa(n.cmd.Process.Pid), "-e", "trace=fsync,fdatasync",
		"-e", "inject=fsync,fdatasync:error=EIO", "-o", os.DevNull)
	trace.Stderr = &said
	if err := trace.Start(); err != nil {
		n.t.Fatalf("strace is needed by this test: %v", err)
	}
	done := make(chan struct{})
	go func() { // ends with the server, which ends with the test
		_ = trace.Wait()
		close(done)
	}()
	n.t.Cleanup(func() {
		n.kill()
		<-done
		if said.Len() > 0 {
			n.t.Logf("strace says %s", said.String())
		}
	})
	until(n.t, patience, "strace to hold the server", func() bool {
		select {
		case <-done:
			n.t.Fatalf("strace has ended: %s", said.String())
		default:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
		return err == nil && !strings.Contains(string(status), "TracerPid:\t0\n")
	})
}

// refusing waits until a server refuses tasks with a code, and returns all
// answers until then.
func (f *fleet) refusing(n *node, code string) (accepted []receipt) {
	f.t.Helper()
	var last receipt
	if !within(patience, func() bool {
		last = f.enqueue(n, f.counted(f.callee.atOnce()))
		if last.status == 202 {
			accepted = append(accepted, last)
		}
		return last.code() == code
	}) {
		f.t.Fatalf("%s does not refuse with %s; the last answer is %s", n.name, code, last)
	}
	if retry, err := strconv.Atoi(last.header.Get("Retry-After")); err != nil || retry < 1 {
		f.t.Errorf("%s is answered with Retry-After %q", code, last.header.Get("Retry-After"))
	}
	return accepted
}

// allRefused makes some more requests, which have to be refused with the code
// and leave no trace.
func (f *fleet) allRefused(n *node, status int, code string) {
	f.t.Helper()
	for range 20 {
		r := f.enqueue(n, f.counted(f.callee.atOnce()))
		if r.status != status || r.code() != code {
			f.t.Errorf("a server that refuses with %s answers %s", code, r)
		}
		if seen, _ := f.look(n, r.id); seen.status == 200 {
			f.t.Errorf("what was refused is there: %s", seen)
		}
	}
}

// untraced checks that what was refused has never run and is nowhere.
func (f *fleet) untraced(at ends) {
	f.t.Helper()
	for _, r := range f.all() {
		if r.status < 400 {
			continue
		}
		for n, tasks := range at {
			if v, known := tasks[r.id]; known {
				f.t.Errorf("a task that was refused with %s is %s on %s", r.code(), v.State, n.name)
			}
		}
		if ran := f.callee.of(r.id); len(ran) > 0 {
			f.t.Errorf("a task that was refused with %s has run: %v", r.code(), ran)
		}
	}
}

// acceptingAgain waits until a server accepts.
func (f *fleet) acceptingAgain(n *node) receipt {
	f.t.Helper()
	var r receipt
	// A journal asks every minute which of its tasks have ended elsewhere.
	until(f.t, 2*patience, n.name+" to accept again", func() bool {
		r = f.enqueue(n, f.counted(f.callee.atOnce()))
		return r.status == 202
	})
	return r
}

// The disk of the data folder is full, in an outage and without one: nothing is
// accepted, what runs is not disturbed, and tasks are accepted again once there
// is space.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.add("a")
	a.onSmallDisk(smallDisk)
	a.start()
	b := f.startNode("b")
	made := f.running(a, 5, "first")
	for _, away := range []bool{true, false} {
		gate := fmt.Sprint("away ", away)
		if away {
			f.away(killed)
			f.degraded(a, b)
		}
		made = append(made, f.running(a, 5, gate)...)
		f.history.Add(drill.Op{Kind: drill.DiskFull, Node: "a"})
		empty := a.fill(1 << 20)
		made = append(made, f.refusing(a, "storage_full")...)
		f.allRefused(a, 507, "storage_full")
		if h := f.health(a); h.Status != "down" || h.Journal == nil || h.Journal.Status != "storage_full" {
			t.Errorf("the health of a full disk is %+v, journal %+v", h, h.Journal)
		}
		f.callee.open(gate)
		until(t, patience, "what runs to end", func() bool { return f.callee.waiting(gate) == 0 })
		empty()
		made = append(made, f.acceptingAgain(a))
		f.history.Add(drill.Op{Kind: drill.DiskSpace, Node: "a"})
		if away {
			f.back(killed)
			until(t, patience, "a to recover", func() bool { return f.health(a).Status == "ok" })
		}
	}
	f.callee.open("first")
	f.settle()
	at := f.everyStatusAgrees()
	f.succeededOnce(at, made)
	f.untraced(at)
}

// smallDisk is above the space that has to stay free, in megabytes.
const smallDisk = 300

// The journal has reached its size limit in an outage, with what its own server has
// run: what Redis has of it gives room at once.
func TestJournalFull(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.startNode("a", "--journal-limit", "8MiB")
	b := f.startNode("b")
	made := f.running(a, 5, "gate")
	f.away(frozen)
	f.degraded(a, b)
	f.history.Add(drill.Op{Kind: drill.DiskFull, Node: "a"})
	large := f.echo(strings.Repeat("x", 100<<10)).with("queue", "large")
	until(t, patience, "the journal to be full", func() bool {
		r := f.enqueue(a, large)
		if r.status == 202 {
			made = append(made, r)
		}
		return r.status == 507
	})
	if len(made) < 20 {
		t.Errorf("a journal of 8 MB is full after %d tasks of 100 KB", len(made))
	}
	f.allRefused(a, 507, "storage_full")
	f.callee.open("gate")
	f.waitForRuns(made[:5])
	f.back(frozen)
	made = append(made, f.acceptingAgain(a))
	f.history.Add(drill.Op{Kind: drill.DiskSpace, Node: "a"})
	f.settle()
	at := f.everyStatusAgrees()
	f.succeededOnce(at, made)
	f.untraced(at)
}

// waitForRuns waits until the callee has answered these tasks.
func (f *fleet) waitForRuns(receipts []receipt) {
	f.t.Helper()
	for _, r := range receipts {
		until(f.t, patience, "a run to end", func() bool {
			ran := f.callee.of(r.id)
			return len(ran) > 0 && !ran[0].ended.IsZero()
		})
	}
}

// The disk does not confirm a write. Nobody knows what is on it then, so that
// the server accepts nothing more until it is started again; what runs ends.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprintf("Redis away %v", away), func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			a, b := f.startNode("a"), f.startNode("b")
			made := f.running(a, 5, "gate")
			if away {
				f.away(frozen)
				f.degraded(a, b)
			}
			f.history.Add(drill.Op{Kind: drill.DiskFailed, Node: "a"})
			a.failSyncs()
			made = append(made, f.refusing(a, "storage_failed")...)
			for range 10 {
				if r := f.enqueue(a, f.counted(f.callee.atOnce())); r.status != 503 || r.code() != "storage_failed" {
					t.Errorf("after a failed sync an enqueue is answered with %s", r)
				}
			}
			if h := f.health(a); h.Status != "down" || h.Journal == nil || h.Journal.Status != "storage_failed" {
				t.Errorf("the health after a failed sync is %+v, journal %+v", h, h.Journal)
			}
			f.callee.open("gate")
			f.waitForRuns(made[:5])
			if away {
				f.back(frozen)
			}
			// Their outcomes need no journal once Redis is there.
			for _, r := range made[:5] {
				f.waitFor(b, r.id, morningai.StateSucceeded)
			}
			f.kill(a)
			rest(time.Second)
			f.again(a)
			made = append(made, f.acceptingAgain(a))
			f.settle()
			at := f.everyStatusAgrees()
			f.succeededOnce(at, made)
		})
	}
}

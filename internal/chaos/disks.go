package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redisproc"
)

// disks are scenarios in which there is no space, or a disk is not what it was.
func disks() []scenario {
	var image diskImage
	return []scenario{
		{name: "journal-full", what: "the journal of a server reaches its limit in an outage", flags: func(_ *fleet, n *node) []string {
			if n.name != full {
				return nil
			}
			return []string{"--journal-limit", "8MiB", "--queues", "default=1"} // others run what is large
		}, play: func(ctx context.Context, f *fleet) error {
			n := f.named(full)
			if err := f.away(ctx, freeze, thaw, func() error { return f.fillJournal(ctx, n) }); err != nil {
				return err
			}
			return f.spaceAgain(ctx, n)
		}},
		{name: "disk-full", what: "the disk of a server's data is full in an outage", wrap: func(f *fleet, n *node) []string {
			if n.name != full {
				return nil
			}
			return ownDisk(n.data, dataDisk)
		}, cannot: noOwnMounts, play: func(ctx context.Context, f *fleet) error {
			n := f.named(full)
			if err := f.away(ctx, freeze, thaw, func() error { return f.fillData(ctx, n) }); err != nil {
				return err
			}
			return f.spaceAgain(ctx, n)
		}},
		{name: "sync-failed", what: "the disk of a server's data confirms nothing any more, in an outage, until the server is started again", cannot: noTracing, play: func(ctx context.Context, f *fleet) error {
			n := f.named(full)
			if err := f.away(ctx, freeze, thaw, func() error { return f.failSyncs(ctx, n) }); err != nil {
				return err
			}
			n.crash()
			return n.restart(ctx)
		}},
		{name: "redis-disk-full", what: "Redis cannot write what it is told: its disk is full", redis: []string{"--appendonly", "yes", "--appendfsync", "everysec"},
			cannot: noOwnMounts, ready: smallDisk, play: outage(fillDisk, emptyDisk)},
		{name: "disk-image", what: "a server is started from an image of its disk that was made in an outage before", play: image.play, after: image.after},
	}
}

// full is the server that has no space.
const full = "a"

func (f *fleet) named(name string) *node {
	for _, n := range f.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// fillJournal gives a server large tasks until it takes no more.
func (f *fleet) fillJournal(ctx context.Context, n *node) error {
	f.history.Add(drill.Op{Kind: drill.DiskFull, Node: n.name})
	payload := fmt.Appendf(nil, `{"url":%q,"method":"POST","body":%q}`, f.callee.url, strings.Repeat("x", 100<<10))
	return until(ctx, "a journal to be full", func() (bool, error) {
		spec := morningai.NewTaskSpec("http", payload)
		spec.Queue = "large"
		return f.refused(n, spec)
	})
}

// refused enqueues a task and reports whether there was no space for it.
func (f *fleet) refused(n *node, spec morningai.TaskSpec) (bool, error) {
	_, err := f.ask(n, spec)
	if code := morningai.CodeOf(err); err != nil && code != morningai.CodeStorageFull {
		return false, err
	}
	return err != nil, nil
}

// spaceAgain waits until a server accepts again.
func (f *fleet) spaceAgain(ctx context.Context, n *node) error {
	// A journal asks every minute which of its tasks have ended elsewhere.
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	for {
		no, err := f.refused(n, morningai.NewTaskSpec("http", fmt.Appendf(nil, `{"url":%q}`, f.callee.url)))
		if err == nil && !no {
			f.history.Add(drill.Op{Kind: drill.DiskSpace, Node: n.name})
			return nil
		}
		if err = errors.Join(err, wait(ctx, 100*time.Millisecond)); err != nil {
			return fmt.Errorf("server %s does not accept although there is space: %w", n.name, err)
		}
	}
}

// smallDisk gives Redis a disk of its own.
func smallDisk(f *fleet) error {
	f.wrap = func(disk string) []string { return ownDisk(disk, 64) }
	return nil
}

// ownDisk is a command that gives the one that follows a disk of so many megabytes,
// which ends with it.
func ownDisk(dir string, megabytes int) []string {
	return append(ownMounts(), "sh", "-c", fmt.Sprintf(`mkdir -p "$0" && mount -t tmpfs -o size=%dm tmpfs "$0" && exec "$@"`, megabytes), dir)
}

// dataDisk is more than a server wants to keep free, in megabytes.
const dataDisk = 300

// fillData leaves less of a server's own disk than the server wants to keep free.
func (f *fleet) fillData(ctx context.Context, n *node) error {
	f.history.Add(drill.Op{Kind: drill.DiskFull, Node: n.name})
	path := filepath.Join(fmt.Sprintf("/proc/%d/root%s", n.cmd.Process.Pid, n.data), "ballast")
	if err := os.WriteFile(path, make([]byte, (dataDisk-40)<<20), 0o600); err != nil {
		return err
	}
	err := f.refusing(ctx, n, morningai.CodeStorageFull)
	return errors.Join(err, wait(ctx, f.config.Duration/4), os.Remove(path))
}

// refusing waits until a server refuses tasks, and says so of itself.
func (f *fleet) refusing(ctx context.Context, n *node, code morningai.Code) error {
	if err := until(ctx, "server "+n.name+" to refuse with "+string(code), func() (bool, error) {
		_, err := f.ask(n, f.work(0))
		return morningai.CodeOf(err) == code, ctx.Err()
	}); err != nil {
		return err
	}
	h, err := n.client.Load().Health(ctx)
	if err == nil && (h.Status != "down" || h.Journal == nil || h.Journal.Status != string(code) || h.Journal.Hint == "") {
		f.broke("server %s refuses with %s, and its health is %q with the journal %+v", n.name, code, h.Status, h.Journal)
	}
	return err
}

// failSyncs lets every request of a server to its disk's platter fail until it ends.
func (f *fleet) failSyncs(ctx context.Context, n *node) error {
	f.history.Add(drill.Op{Kind: drill.DiskFailed, Node: n.name})
	if err := f.trace(ctx, n.cmd.Process.Pid, "inject=fsync,fdatasync:error=EIO"); err != nil {
		return err
	}
	return f.refusing(ctx, n, morningai.CodeStorageFailed)
}

// trace holds a process with strace, which ends with it.
func (f *fleet) trace(ctx context.Context, pid int, inject string) error {
	cmd, said := exec.Command("strace", "-f", "-qq", "-p", strconv.Itoa(pid), "-e", "trace=fsync,fdatasync", "-e", inject, "-o", os.DevNull), &strings.Builder{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	f.aside(func() { done <- cmd.Wait() })
	return until(ctx, "strace to hold a server", func() (bool, error) {
		select {
		case err := <-done:
			return false, fmt.Errorf("strace has ended: %v: %s", err, said)
		default:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err == nil && !strings.Contains(string(status), "TracerPid:\t0\n"), ctx.Err()
	})
}

// noTracing says why this machine does not let one process make the calls of
// another one fail.
func noTracing() string {
	if _, err := exec.LookPath("strace"); err != nil {
		return "it needs strace, which is not installed here"
	}
	child := exec.Command("sleep", "10")
	if err := child.Start(); err != nil {
		return "it needs a process to try strace on: " + err.Error()
	}
	f := &fleet{}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := f.trace(ctx, child.Process.Pid, "inject=fsync:error=EIO")
	_ = child.Process.Kill() // it has nothing else to do
	_ = child.Wait()
	f.others.Wait()
	if err != nil {
		return "this machine does not let strace hold other processes: " + err.Error()
	}
	return ""
}

func (f *fleet) ballast() string { return filepath.Join(f.redis.Disk(), "ballast") }

func fillDisk(f *fleet) error {
	file, err := os.Create(f.ballast())
	if err != nil {
		return err
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for err == nil { // until there is no space
		_, err = file.Write(block)
	}
	return redisproc.Until("Redis to miss its disk", func() (bool, error) {
		text, err := f.redis.Do("INFO", "persistence")
		return strings.Contains(text, "aof_last_write_status:err"), err
	})
}

func emptyDisk(f *fleet) error { return os.Remove(f.ballast()) }

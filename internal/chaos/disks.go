package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redisproc"
)

// disks are scenarios in which there is no space.
func disks() []scenario {
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
		{name: "redis-disk-full", what: "Redis cannot write what it is told: its disk is full", redis: []string{"--appendonly", "yes", "--appendfsync", "everysec"},
			cannot: noOwnMounts, ready: smallDisk, play: outage(fillDisk, emptyDisk)},
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
	f.wrap = func(disk string) []string {
		return append(ownMounts(), "sh", "-c", `mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"`, disk)
	}
	return nil
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

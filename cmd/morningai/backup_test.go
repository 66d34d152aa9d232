//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/sqlite"
)

// A restore that is killed with -9 in the middle leaves a folder that no server
// takes, and is repeated by the same command.
func TestRestoreKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	const all = 30_000
	source, target, file := t.TempDir(), filepath.Join(t.TempDir(), "new"), filepath.Join(t.TempDir(), "a.backup")
	engine, err := sqlite.Open(t.Context(), filepath.Join(source, "tasks.db"), sqlite.WithSync(sqlite.SyncNormal))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < all; n += morningai.MaxBatch {
		specs := make([]morningai.TaskSpec, morningai.MaxBatch)
		for i := range specs {
			specs[i] = morningai.NewTaskSpec("echo", []byte(`{"text":"`+strings.Repeat("x", 100)+`"}`))
		}
		if _, err := engine.Enqueue(t.Context(), specs); err != nil {
			t.Fatal(err)
		}
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	perform(t, 0, "backup", "create", file, "--data", source)

	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	restore := exec.Command(path, "backup", "restore", file, "--data", target)
	restore.Args[0] = "morningai"
	if err := restore.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the restore to be in its middle", func() bool {
		info, err := os.Stat(filepath.Join(target, "tasks.db-wal"))
		return err == nil && info.Size() > 1<<20
	})
	if err := restore.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := restore.Wait(); err == nil {
		t.Fatal("the restore was done before it was killed")
	}
	for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0", "--data", target}, {"backup", "create", file + "2", "--data", target}} {
		if said := perform(t, 5, args...); !strings.Contains(said, "interrupted") || !strings.Contains(said, "repeat") {
			t.Errorf("%v says %s", args, said)
		}
	}
	if said := perform(t, 0, "backup", "restore", file, "--data", target); strings.Contains(said, "kept        0") {
		t.Errorf("nothing was there when the restore was repeated, so that it was not killed in its middle: %s", said)
	}
	d := serve(t, target, "--role", "api")
	stats, err := connect(t, d).Stats(t.Context())
	if err != nil || stats.States[morningai.StateQueued] != all {
		t.Errorf("%v, %v", stats.States, err)
	}
}

// From a server on Redis into an empty Redis: tasks, settings, and that the reports
// of outages have no place there.
func TestRestoreIntoRedis(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	d := node(t, first, "one", "--role", "api")
	c := connect(t, d)
	held := enqueueSleeps(t, c, 50, `{"ms":1}`, "mail")
	paused := true
	if _, err := c.SetQueue(t.Context(), "mail", morningai.QueueChange{Paused: &paused}); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file, again := filepath.Join(folder, "a.backup"), filepath.Join(folder, "b.backup")
	if said := perform(t, 0, "backup", "create", file, "--server", d.url); !strings.Contains(said, "50: 50 queued") || !strings.Contains(said, "each task as of a moment") {
		t.Errorf("create says %s", said)
	}
	if said := perform(t, 0, "backup", "create", again, "--redis", first.URL()); !strings.Contains(said, "50: 50 queued") {
		t.Errorf("without a server create says %s", said)
	}
	if said := perform(t, 0, "migrate", "--from", first.URL(), "--to", second.URL()); !strings.Contains(said, "nothing was changed") {
		t.Errorf("a plan says %s", said)
	}
	if size := second.Do("DBSIZE"); size != "0" {
		t.Errorf("a plan has left %s keys in an empty Redis", size)
	}
	if said := perform(t, 0, "backup", "restore", file, "--redis", second.URL()); !strings.Contains(said, "added       50") {
		t.Errorf("restore says %s", said)
	}
	if said := perform(t, 5, "backup", "restore", file, "--redis", second.URL()); !strings.Contains(said, "not empty") {
		t.Errorf("the second time it says %s", said)
	}
	other := connect(t, node(t, second, "two"))
	queue, err := other.Queue(t.Context(), "mail")
	if err != nil || !queue.Paused || queue.Counts[morningai.StateQueued] != 50 {
		t.Errorf("the queue is %+v, %v", queue, err)
	}
	no := false
	if _, err := other.SetQueue(t.Context(), "mail", morningai.QueueChange{Paused: &no}); err != nil {
		t.Fatal(err)
	}
	for _, task := range held {
		if end, err := other.Wait(t.Context(), task.ID); err != nil || end.State != morningai.StateSucceeded || end.Attempt != 1 {
			t.Errorf("%s: %v, %v", task.ID, end, err)
		}
	}
	// While Redis is away there is nothing to read, and that is said.
	first.Kill()
	if said := perform(t, 3, "backup", "create", filepath.Join(folder, "c.backup"), "--server", d.url); !strings.Contains(said, "Redis") {
		t.Errorf("without Redis create says %s", said)
	}
	if _, err := os.Stat(filepath.Join(folder, "c.backup")); err == nil {
		t.Error("a file was left")
	}
}

// Of an address in the environment and one on the command line the latter is meant.
func TestBackupOfWhatTheLineNames(t *testing.T) {
	const nobody = "127.0.0.1:1"
	file := filepath.Join(t.TempDir(), "file")
	t.Setenv("MORNINGAI_SERVER", "http://"+nobody)
	if said := perform(t, exitUnreachable, "backup", "create", file, "--redis", "redis://"+nobody); !strings.Contains(said, "reading redis at "+nobody) {
		t.Errorf("it says %s", said)
	}
	perform(t, exitUsage, "backup", "create", file, "--redis", "redis://"+nobody, "--server", "http://"+nobody)
	t.Setenv("MORNINGAI_BACKUP_REDIS", "redis://"+nobody)
	if said := perform(t, exitUnreachable, "backup", "create", file, "--server", "http://"+nobody); strings.Contains(said, "redis") {
		t.Errorf("it says %s", said)
	}
	perform(t, exitUsage, "backup", "create", file)
}

package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/address"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/server"
)

var quiet = slog.New(slog.DiscardHandler)

// start runs a server until the test, or the returned function, ends it.
func start(t *testing.T, c server.Config) (url string, stop func()) {
	t.Helper()
	c.Docs, c.Logger, c.Concurrency, c.Grace = t.TempDir(), quiet, 4, time.Second
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	ready := make(chan string, 1)
	c.Ready = func(url, _ string) { ready <- url }
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := server.Open(ctx, c)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	over := false
	stop = func() {
		if over {
			return
		}
		over = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	select {
	case url = <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return url, stop
}

func submit(t *testing.T, url, taskType string) {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Enqueue(t.Context(), morningai.NewTaskSpec(taskType, []byte("1"))); err != nil {
		t.Fatal(err)
	}
}

func embedded(t *testing.T) server.Config {
	return server.Config{Data: t.TempDir(), Options: server.Options{Version: "test"}}
}

func TestHealthyServer(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	url, stop := start(t, c)
	o := Options{Data: c.Data, Listen: "127.0.0.1:8080", Version: "test"}
	r := examine(t, o)
	onlyWrong(t, r)
	for _, name := range []string{serverReachable, serverHealth, serverVersion, serverAccess, dataFolder, dataSync, workSessions, workStuck, workQueues} {
		if f := finding(t, r, name); f.Status != StatusOK {
			t.Errorf("%+v", f)
		}
	}
	if f := finding(t, r, serverReachable); !strings.Contains(f.Seen, url) {
		t.Errorf("%+v", f)
	}
	o.Version = "newer"
	found(t, examine(t, o), serverVersion, "the server is test, this program newer", "systemctl restart")
	submit(t, url, "nobody:runs.this")
	o.Version = "test"
	r = examine(t, o)
	found(t, r, workQueues, "no live worker handles nobody:runs.this", "morningai node list")
	onlyWrong(t, r, workQueues)
	stop()
	r = examine(t, o)
	onlyWrong(t, r)
	if f := finding(t, r, serverReachable); f.Status != StatusSkipped {
		t.Errorf("after a clean stop: %+v", f)
	}
	note := address.Note{URL: url, Instance: "gone", PID: 1}
	if err := address.Write(c.Data, note); err != nil {
		t.Fatal(err)
	}
	found(t, examine(t, o), serverReachable, "does not answer", "serve --data "+c.Data)
	other := embedded(t)
	note.URL, _ = start(t, other)
	if err := address.Write(c.Data, note); err != nil {
		t.Fatal(err)
	}
	found(t, examine(t, o), serverReachable, "another server answers")
	o.Server = url
	found(t, examine(t, o), serverReachable, url)
	if err := os.WriteFile(filepath.Join(c.Data, address.FileName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Server = ""
	found(t, examine(t, o), serverReachable, "damaged", "rm ")
}

// Backups that fail are found.
func TestBackupsFail(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	folder := filepath.Join(t.TempDir(), "backups")
	c.Backups = server.Backups{Folder: folder, Every: time.Second, Keep: 2}
	start(t, c)
	o := Options{Data: c.Data, Listen: "127.0.0.1:8080", Version: "test"}
	onlyWrong(t, examine(t, o))
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "a backup to fail", func() bool { return finding(t, examine(t, o), serverBackups).Status == StatusWrong })
	found(t, examine(t, o), serverBackups, "the last one failed", "backup create")
}

func TestAccess(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	good := "admin " + strings.Repeat(secret, 4) + " oncall\n"
	o := Options{Data: t.TempDir(), Listen: "0.0.0.0:8080", Version: "test"}
	found(t, examine(t, o), serverAccess, "0.0.0.0:8080 without tokens", "--token-file")
	o.Insecure = true
	found(t, examine(t, o), serverAccess, "--insecure")
	o.TokenFile = file
	found(t, examine(t, o), serverAccess, "no such file", "ls -l "+file)
	write("admin "+secret+"\n", 0o600)
	found(t, examine(t, o), serverAccess, "shorter than 16", "openssl rand")
	write(good, 0o644)
	found(t, examine(t, o), serverAccess, "every user of this machine", "chmod 600 "+file)
	write("boss "+secret+"\n", 0o600)
	found(t, examine(t, o), serverAccess, "line 1")
	write(good, 0o600)
	onlyWrong(t, examine(t, o))
	// A running server is judged by how it was started.
	c := embedded(t)
	c.Listen, c.Insecure = "0.0.0.0:0", true
	start(t, c)
	found(t, examine(t, Options{Data: c.Data, Listen: "127.0.0.1:8080", Version: "test"}), serverAccess, "0.0.0.0:0 without tokens (--insecure)")
}

func TestDataFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, says := range map[string]string{file: "is a file", filepath.Join(file, "below"): "cannot be read", "/proc": "cannot be written to"} {
		found(t, examine(t, Options{Data: folder, Listen: "127.0.0.1:8080", Version: "test"}), dataFolder, folder, says)
	}
}

// A server in an outage, and its journal when it has stopped in one.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	c := embedded(t)
	c.Redis, c.Node, c.Lease = server.Redis{URL: s.URL(), JournalLimit: 3 << 20}, "a", 2*time.Second
	url, stop := start(t, c)
	o := at(t, s.URL())
	o.Data = c.Data
	r := examine(t, o)
	onlyWrong(t, r)
	if f := finding(t, r, workVersions); f.Status != StatusOK || f.Seen != "test: a" {
		t.Errorf("%+v", f)
	}
	s.Kill()
	cl, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	redistest.Until(t, "the circuit to open", func() bool {
		h, err := cl.Health(t.Context())
		return err == nil && h.Status == "degraded"
	})
	spec := morningai.NewTaskSpec("nobody:runs.this", []byte(`"`+strings.Repeat("x", 200_000)+`"`))
	for err == nil {
		spec.ID = morningai.ID{}
		_, err = cl.Enqueue(t.Context(), spec)
	}
	if morningai.CodeOf(err) != morningai.CodeStorageFull {
		t.Fatal(err)
	}
	redistest.Until(t, "the journal to be nearly full", func() bool {
		spec.ID = morningai.ID{}
		if _, err := cl.Enqueue(t.Context(), spec); err != nil && morningai.CodeOf(err) != morningai.CodeStorageFull {
			t.Error(err)
		}
		h, err := cl.Health(t.Context())
		return err == nil && float64(h.Journal.Bytes) > fullAt*float64(h.Journal.Limit)
	})
	r = examine(t, o)
	found(t, r, redisConnect, "systemctl start redis-server")
	found(t, r, serverHealth, "journal")
	found(t, r, journalSize, "of 3 MiB", "--journal-limit")
	found(t, r, journalAge, "entries that Redis has still to get", "incident list")
	stop()
	r = examine(t, o)
	found(t, r, journalAge, "entries that Redis may not have", "journal drain --data "+c.Data)
	onlyWrong(t, r, redisConnect, journalAge)
	before, err := os.ReadFile(filepath.Join(c.Data, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	examine(t, o)
	if after, err := os.ReadFile(filepath.Join(c.Data, "journal.db")); err != nil || string(after) != string(before) {
		t.Errorf("the journal has changed, %v", err)
	}
}

// Settings of a queue do not say when they were made.
func TestJournalOfSettingsOnly(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	c := embedded(t)
	c.Redis, c.Node, c.Lease = server.Redis{URL: s.URL()}, "a", 2*time.Second
	url, stop := start(t, c)
	cl, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	pause := func(paused bool) {
		if _, err := cl.SetQueue(t.Context(), "mail", morningai.QueueChange{Paused: &paused}); err != nil {
			t.Fatal(err)
		}
	}
	pause(false)
	s.Kill()
	redistest.Until(t, "the circuit to open", func() bool {
		h, err := cl.Health(t.Context())
		return err == nil && h.Status == "degraded"
	})
	pause(true)
	stop()
	f := finding(t, examine(t, Options{Data: c.Data, Listen: "127.0.0.1:8080", Version: "test"}), journalAge)
	if f.Status != StatusWrong || f.Seen != "1 entries that Redis may not have" {
		t.Errorf("%+v", f)
	}
}

func TestServerWithoutJournal(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	c := embedded(t)
	c.Redis = server.Redis{URL: s.URL(), NoJournal: true}
	start(t, c)
	s.Do("CONFIG", "SET", "maxmemory", "1")
	found(t, examine(t, Options{Data: c.Data, Listen: "127.0.0.1:8080", Version: "test"}), serverHealth, "memory of Redis is full", "morningai doctor --redis")
	s.Do("CONFIG", "SET", "maxmemory", "0")
	j := embedded(t)
	j.Redis, j.Node = server.Redis{URL: s.URL()}, "b"
	start(t, j)
	redistest.Until(t, "the server without a journal to be named", func() bool {
		f := finding(t, examine(t, Options{Data: j.Data, Listen: "127.0.0.1:8080", Version: "test"}), serverHealth)
		return f.Status == StatusWrong && strings.Contains(f.Fix, "--no-journal")
	})
}

// What stands in Redis is looked at without a server.
func TestWorkInRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	e, err := redis.Open(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = e.Close()
		}
	})
	onlyWrong(t, examine(t, at(t, s.URL())))
	session := morningai.SessionID{1}
	beat := func() {
		t.Helper()
		for i, version := range []string{"v1", "v2"} {
			_, err := e.Beat(t.Context(), morningai.BeatRequest{Session: morningai.SessionID{byte(i + 1)}, Node: "node-" + version, Types: []string{"held"}, Concurrency: 1,
				LeaseTime: 400 * time.Millisecond, Member: &morningai.Member{Journal: morningai.ID{byte(i + 1)}, Node: "node-" + version, Version: version}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	beat()
	found(t, examine(t, at(t, s.URL())), workVersions, "v1: node-v1; v2: node-v2", "systemctl restart")
	spec := morningai.NewTaskSpec("held", []byte("1"))
	spec.Timeout = time.Millisecond
	receipts, err := e.Enqueue(t.Context(), []morningai.TaskSpec{spec})
	if err != nil || receipts[0].Err != nil {
		t.Fatal(err)
	}
	reply, err := e.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: []string{"held"}, N: 1})
	if err != nil || len(reply.Grants) != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	soon := func(d *doctor) { d.overdue = 0 }
	r := examine(t, at(t, s.URL()), soon)
	id := receipts[0].Task.ID.String()
	found(t, r, workStuck, "1 tasks run for longer", "morningai task cancel "+id)
	found(t, r, workSessions, "no heartbeat of node-v1 (1 tasks running)", "node list")
	if f := finding(t, examine(t, at(t, s.URL())), workStuck); f.Status != StatusOK {
		t.Errorf("a moment over its timeout: %+v", f)
	}
	// With heartbeats nothing is said.
	beating, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-beating.Done():
				return
			case <-tick.C:
				for i := range 2 {
					_, err := e.Beat(t.Context(), morningai.BeatRequest{Session: morningai.SessionID{byte(i + 1)}, Node: fmt.Sprint("node", i), Types: []string{"held"}, LeaseTime: 400 * time.Millisecond})
					if err != nil {
						t.Error(err)
					}
				}
			}
		}
	}()
	if f := finding(t, examine(t, at(t, s.URL())), workSessions); f.Status != StatusOK {
		t.Errorf("%+v", f)
	}
	stop()
	<-done
}

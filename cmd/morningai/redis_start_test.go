package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redistest"
)

// A server does not start on a Redis that it must not use, and says what to do.
// Whatever happens, the password is not told.
func TestRedisAtStart(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	redis := redistest.Start(t, "--requirepass", secret)
	url := "redis://:" + secret + "@" + redis.Addr()
	evicting := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says string
		env  string
		args []string
	}{
		{exitRefused, "noeviction", "REDIS_URL=" + evicting.URL(), nil},
		{exitRefused, "--redis-allow-eviction", "", []string{"--redis", evicting.URL()}},
		{exitUnreachable, "127.0.0.1:1 ", "MORNINGAI_REDIS=redis://:" + secret + "@127.0.0.1:1", []string{"--no-journal"}},
		{exitUnreachable, "password", "REDIS_URL=redis://:" + secret + "x@" + redis.Addr(), []string{"--no-journal"}},
		{exitUsage, "--journal-limit", "REDIS_URL=" + url, []string{"--journal-limit", "much"}},
		{exitUsage, "form", "REDIS_URL=radis://:" + secret + "@h", nil},
		{exitUsage, "percent-encoded", "REDIS_URL=redis://:" + secret + "?@h", nil},
		{exitUsage, "host or port", "REDIS_URL=redis://:" + secret + "/@h:x", nil},
		{exitUsage, "", "", []string{"redis://:" + secret + "@h"}},
		{exitUsage, "sqlite", "", []string{"--engine=redis://:" + secret + "@h"}},
		{exitUsage, "sqlite", "", []string{"--engine=redis://h/?sentinel_password=" + secret}},
		{exitUsage, "sqlite", "", []string{"--engine", `redis://:a'"` + secret + `@h`}},
		{exitUsage, "redis://…", "", []string{"redis://h/?sentinel_password=" + secret}},
		{exitUsage, "--queues", "", []string{"--queues=a=redis://:" + secret + "@h"}},
		{exitRefused, "no database of that number", "REDIS_URL=" + url + "/99", nil},
		{exitUsage, "--redis", "", []string{"--engine", "redis"}},
		{exitUsage, "Redis", "", []string{"--no-journal"}},
		{exitUsage, "Redis", "", []string{"--redis-allow-eviction"}},
		{exitUsage, "--durability is about a server on Redis", "", []string{"--durability", "journal"}},
		{exitUsage, "--journal-limit is about a server on Redis", "MORNINGAI_JOURNAL_LIMIT=1GiB", nil},
		{exitUsage, "--journal-min-free is about a server on Redis", "REDIS_URL=" + url, []string{"--engine", "sqlite", "--journal-min-free", "0"}},
		{exitUsage, "--durability is about a server with a journal", "REDIS_URL=" + url, []string{"--no-journal", "--durability", "redis"}},
		{exitUsage, "--lease", "REDIS_URL=" + url, []string{"--lease", "10ms"}},
		{exitUsage, "--retain-count", "REDIS_URL=" + url, []string{"--retain-count", "5"}},
		{exitUsage, "not be negative", "REDIS_URL=" + url, []string{"--retain-failed=-1h"}},
		{exitDone, "REDIS_URL", "REDIS_URL=" + url, []string{"--help"}},
	} {
		cmd := exec.CommandContext(t.Context(), path, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--docs", t.TempDir()}, c.args...)...)
		cmd.Args[0] = "morningai"
		if c.env != "" {
			cmd.Env = append(cmd.Environ(), c.env)
		}
		said, _ := cmd.CombinedOutput() // the exit code says it
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(said), c.says) {
			t.Errorf("%s %v ended with %d, not %d, and said\n%s", c.env, c.args, code, c.code, said)
		}
		if strings.Contains(string(said), secret) {
			t.Errorf("%s %v tells the password:\n%s", c.env, c.args, said)
		}
	}

}

// The address comes from the environment, and its password is shown nowhere.
func TestPasswordOfRedisIsNotTold(t *testing.T) {
	const secret = "hunter2"
	redis := redistest.Start(t, "--requirepass", secret)
	t.Setenv("REDIS_URL", "redis://:"+secret+"@"+redis.Addr())
	data := t.TempDir()
	d := serve(t, data, "--no-journal")
	if !strings.Contains(d.said(), "engine redis at "+redis.Addr()+" (from REDIS_URL)\n") || !strings.Contains(d.said(), "503 redis_unavailable") {
		t.Errorf("the server said\n%s", d.said())
	}
	shown := perform(t, 0, "health", "--data", data) + perform(t, 0, "health", "--data", data, "--json") + perform(t, 0, "task", "submit", "echo", "--wait", "--data", data)
	redis.Kill()
	redistest.Until(t, "Redis to be called down", func() bool {
		status, body, _ := ask(t, "GET", d.url+"/health", "")
		shown += body
		return status == 503
	})
	_, body, _ := ask(t, "GET", d.url+"/v1/tasks", "")
	if err := d.cmd.Process.Signal(stopSignals[0]); err != nil {
		t.Fatal(err)
	}
	if code := d.wait(); code != exitDone {
		t.Errorf("the idle server ended with %d", code)
	}
	if all := shown + body + d.said(); strings.Contains(all, secret) {
		t.Errorf("the password is told:\n%s", all)
	}

	local := serve(t, t.TempDir(), "--engine", "sqlite") // although there is an address
	if _, body, _ := ask(t, "GET", local.url+"/health", ""); !strings.Contains(body, `"engine":"sqlite"`) {
		t.Errorf("health: %s", body)
	}
}

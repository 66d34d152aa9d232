package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/RC918/morningai/internal/redistest"
)

const root = "../.."

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// accepts parses a command line of the program in an environment.
func accepts(t *testing.T, where string, env map[string]string, args ...string) *commands {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	c := &commands{}
	parser, err := newParser(c, streams{out: io.Discard, err: io.Discard}, &envFile{})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, leaf := range parser.Model.Leaves(true) {
		for _, group := range leaf.AllFlags(false) {
			for _, f := range group {
				for _, name := range f.Envs {
					known[name] = true
				}
			}
		}
	}
	for name := range env {
		if !known[name] {
			t.Errorf("%s sets %s, which no flag reads", where, name)
		}
	}
	if _, err := parser.Parse(args); err != nil {
		t.Errorf("%s: %q: %v", where, args, err)
	}
	return c
}

// instructions returns what stands behind the instructions of a Dockerfile, with
// continued lines joined.
func instructions(text string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		out[name] = append(out[name], strings.TrimSpace(rest))
	}
	return out
}

// words reads the exec form, a JSON list.
func words(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return out
}

const installed = "/usr/local/bin/morningai"

// The image starts the program that it builds, with settings that there are.
func TestDockerfile(t *testing.T) {
	in := instructions(readFile(t, "Dockerfile"))
	env := map[string]string{}
	for _, line := range in["ENV"] {
		for _, pair := range strings.Fields(line) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
	}
	if entry := words(t, in["ENTRYPOINT"][0]); len(entry) != 1 || entry[0] != installed {
		t.Errorf("the entry point is %q", entry)
	}
	c := accepts(t, "Dockerfile", env, words(t, in["CMD"][0])...)
	if in["VOLUME"][0] != c.Serve.Data || c.Serve.Data != "/data" || c.Serve.Docs != "/docs" {
		t.Errorf("the volume is %s, the data in %s, the documents in %s", in["VOLUME"], c.Serve.Data, c.Serve.Docs)
	}
	if c.Serve.Insecure || c.Serve.Listen != "0.0.0.0:"+in["EXPOSE"][0] {
		t.Errorf("it listens on %s and exposes %s", c.Serve.Listen, in["EXPOSE"])
	}
	_, check, _ := strings.Cut(in["HEALTHCHECK"][0], "CMD ")
	health := words(t, check)
	if health[0] != installed {
		t.Errorf("the health check runs %s", health[0])
	}
	accepts(t, "Dockerfile", nil, health[1:]...)
	mod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readFile(t, "go.mod"))[1]
	if !strings.HasPrefix(in["FROM"][0], "golang:"+mod+" ") {
		t.Errorf("it is built with %s, go.mod wants %s", in["FROM"][0], mod)
	}
	built := regexp.MustCompile(`go build .* -o (\S+) (\S+)$`).FindStringSubmatch(strings.Join(in["RUN"], "\n"))
	if built == nil {
		built = regexp.MustCompile(`(?m)go build .*-o (\S+) (\S+)$`).FindStringSubmatch(strings.Join(in["RUN"], "\n"))
	}
	if built == nil || !slices.Contains(in["COPY"], "--from=build "+built[1]+" "+installed) {
		t.Fatalf("what is built is not what is copied: %q, %q", built, in["COPY"])
	}
	if info, err := os.Stat(filepath.Join(root, built[2])); err != nil || !info.IsDir() {
		t.Errorf("%s: %v", built[2], err)
	}
	if in["USER"][0] == "" || strings.HasPrefix(in["USER"][0], "0") || strings.HasPrefix(in["USER"][0], "root") {
		t.Errorf("the user is %q", in["USER"])
	}
	// A volume begins as the folder of the image: that user has to be able to write to it.
	for _, folder := range []string{c.Serve.Data, "/tmp"} {
		if !slices.ContainsFunc(in["COPY"], func(line string) bool {
			return strings.Contains(line, "--chown="+in["USER"][0]+" ") && strings.HasSuffix(line, " "+folder)
		}) {
			t.Errorf("%s is not the user's: %q", folder, in["COPY"])
		}
	}
	for _, name := range in["STOPSIGNAL"] {
		if name != "SIGTERM" {
			t.Errorf("%s does not drain", name)
		}
	}
}

type composeFile struct {
	Services map[string]struct {
		Image, StopGracePeriod string
		Grace                  string `yaml:"stop_grace_period"`
		Command                []string
		Environment            map[string]string
		Volumes, Ports         []string
		Secrets, Networks      []string
		DependsOn              []string `yaml:"depends_on"`
		ReadOnly               bool     `yaml:"read_only"`
		CapDrop                []string `yaml:"cap_drop"`
		SecurityOpt            []string `yaml:"security_opt"`
	}
	Volumes  map[string]any
	Networks map[string]any
	Secrets  map[string]struct{ File string }
}

// The services are set up with settings that there are, and safely: tokens, a
// journal that outlives its container, time for the drain, nothing published
// beyond this machine.
func TestComposeFile(t *testing.T) {
	var f composeFile
	if err := yaml.Unmarshal([]byte(readFile(t, "compose.yaml")), &f); err != nil {
		t.Fatal(err)
	}
	journals := map[string]bool{}
	nodes := map[string]bool{}
	for _, name := range []string{"api", "worker"} {
		s := f.Services[name]
		c := accepts(t, name, s.Environment, "serve")
		if c.Serve.Role != name || c.Serve.Node == "" || nodes[c.Serve.Node] {
			t.Errorf("%s has the role %q and the name %q", name, c.Serve.Role, c.Serve.Node)
		}
		nodes[c.Serve.Node] = true
		for _, path := range []string{c.EnvFile, c.Serve.TokenFile} {
			secret, ok := strings.CutPrefix(path, "/run/secrets/")
			if !ok || f.Secrets[secret].File == "" || !slices.Contains(s.Secrets, secret) {
				t.Errorf("%s reads %q, which is no secret of it", name, path)
			}
		}
		volume, _, ok := strings.Cut(s.Volumes[0], ":/data")
		if _, declared := f.Volumes[volume]; !ok || !declared || journals[volume] {
			t.Errorf("%s keeps its journal in %q", name, s.Volumes[0])
		}
		journals[volume] = true
		if d, err := time.ParseDuration(s.Grace); err != nil || d < c.Serve.Grace+10*time.Second {
			t.Errorf("%s has %s to stop, %v", name, s.Grace, err)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, p)
			}
		}
		for _, peer := range c.Serve.Peer {
			host := strings.TrimSuffix(strings.TrimPrefix(peer, "http://"), ":8080")
			if _, ok := f.Services[host]; !ok {
				t.Errorf("%s runs the tasks of %s, which is no service", name, peer)
			}
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may do more than it needs: %+v", name, s)
		}
		for name := range s.Environment {
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := f.Services["redis"]
	if len(r.Ports) > 0 || !slices.Contains(r.Volumes, "redis-data:/data") || !slices.Contains(r.Secrets, "redis.conf") {
		t.Errorf("redis: %+v", r)
	}
	if n := len(r.Command); n == 0 || r.Command[n-1] != "/run/secrets/redis.conf" { // the password and the append-only file
		t.Errorf("redis runs %q", r.Command)
	}
	for name, s := range f.Services {
		for _, network := range s.Networks {
			if _, ok := f.Networks[network]; !ok || !slices.Contains(r.Networks, network) {
				t.Errorf("%s is in the network %s, where Redis is not", name, network)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := f.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, volume := range s.Volumes {
			if from, _, _ := strings.Cut(volume, ":"); !strings.HasPrefix(from, ".") {
				if _, ok := f.Volumes[from]; !ok {
					t.Errorf("%s has the volume %s, which is not declared", name, from)
				}
			}
		}
	}
	for name, s := range f.Secrets {
		if filepath.Base(s.File) != name {
			t.Errorf("the secret %s is in %s", name, s.File)
		}
	}
}

// What the script makes is what the servers and Redis read: they start with it,
// tasks are refused without the token, and run with it.
func TestComposeSecrets(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "secrets")
	command := exec.Command("sh", filepath.Join(root, "deploy/secrets.sh"), folder)
	if os.Geteuid() != 0 { // then it makes them for the user who runs it
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "chown"), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	}
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("sh", filepath.Join(root, "deploy/secrets.sh"), folder).CombinedOutput(); err == nil || !strings.Contains(string(out), "exists already") {
		t.Errorf("a second run: %v: %s", err, out)
	}
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	conf := strings.Fields(read("redis.conf"))
	var args []string
	for i := 0; i+1 < len(conf); i += 2 {
		if conf[i] != "dir" {
			args = append(args, "--"+conf[i], conf[i+1])
		}
	}
	s := redistest.Start(t, args...)
	env := filepath.Join(t.TempDir(), "server.env")
	if err := os.WriteFile(env, []byte(strings.ReplaceAll(read("server.env"), "redis:6379", s.Addr())), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	start := func(flags ...string) *daemon {
		t.Helper()
		cmd := exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0", "--docs", t.TempDir(), "--data", t.TempDir(),
			"--env-file", env, "--token-file", filepath.Join(folder, "tokens")}, flags...)...)
		cmd.Args[0] = "morningai"
		d, err := startDaemon(cmd)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.kill)
		return d
	}
	api := start("--role", "api", "--node", "api")
	start("--role", "worker", "--node", "worker", "--peer", api.url)
	submit := func(token string) (string, error) {
		cmd := exec.Command(path, "task", "submit", "echo", "--payload", "1", "--wait", "--server", api.url)
		cmd.Args[0] = "morningai"
		cmd.Env = append(os.Environ(), "MORNINGAI_TOKEN="+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := submit("guessed"); err == nil || !strings.Contains(out, "not known") {
		t.Errorf("with a guessed token: %v: %s", err, out)
	}
	if out, err := submit(strings.TrimSpace(read("token"))); err != nil || !strings.Contains(out, "succeeded") {
		t.Errorf("%v: %s", err, out)
	}
}

// The unit can be read by systemd, starts the program with a command line that it
// has, and gives it time to drain.
func TestSystemdUnit(t *testing.T) {
	text := readFile(t, "deploy/morningai.service")
	settings := map[string][]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	line := strings.Fields(settings["ExecStart"][0])
	if line[0] != installed {
		t.Errorf("it starts %s", line[0])
	}
	env := map[string]string{}
	for _, pair := range settings["Environment"] {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	values, err := readEnvFile(filepath.Join(root, "deploy/morningai.env"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		env[name] = value
	}
	c := accepts(t, "the unit", env, line[1:]...)
	if c.EnvFile != "/etc/morningai/morningai.env" || !strings.HasSuffix(c.Serve.Data, "%S/morningai") {
		t.Errorf("settings from %s, data in %s", c.EnvFile, c.Serve.Data)
	}
	stop, err := time.ParseDuration(settings["TimeoutStopSec"][0])
	if err != nil || stop < c.Serve.Grace+10*time.Second {
		t.Errorf("%v to stop, with %v for running tasks, %v", stop, c.Serve.Grace, err)
	}
	for name, want := range map[string]string{"Type": "notify", "WatchdogSec": "30s", "ExecReload": "/bin/kill -HUP $MAINPID", "NoNewPrivileges": "yes",
		"ProtectSystem": "strict", "StateDirectory": "morningai", "CapabilityBoundingSet": "", "KillSignal": "SIGTERM",
		"Restart": "always", "RestartPreventExitStatus": fmt.Sprint(exitUsage, exitRefused), "StartLimitIntervalSec": "0", "LimitCORE": "0"} {
		if got := settings[name]; len(got) == 0 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// With commented settings too.
	commented := regexp.MustCompile(`(?m)^#(MORNINGAI_\w+)=(\S+)$`).FindAllStringSubmatch(readFile(t, "deploy/morningai.env"), -1)
	for _, m := range commented {
		env[m[1]] = m[2]
	}
	accepts(t, "morningai.env", env, line[1:]...)
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd is not here to read the unit")
		return
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "morningai.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, installed, path)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(verify, "verify", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "morningai.service:") {
		t.Errorf("%v: %s", err, out)
	}
}

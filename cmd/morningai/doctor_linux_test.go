package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/RC918/morningai/internal/doctor"
	"github.com/RC918/morningai/internal/redistest"
)

// diagnose runs the program, under another if wrap has one, and returns the
// status and the text of one check.
func diagnose(t *testing.T, wrap []string, check string, args ...string) doctor.Finding {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	// Under its own name the test binary behaves like the program.
	link := filepath.Join(t.TempDir(), "morningai")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	line := append(append(append([]string{}, wrap...), link, "doctor", "--json"), args...)
	out, err := exec.Command(line[0], line[1:]...).Output()
	if ee, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || ee.ExitCode() != exitFailed) {
		t.Fatalf("%v: %s", err, out)
	}
	var report doctor.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if (report.Status == doctor.StatusWrong) != (err != nil) {
		t.Errorf("the status is %s and the error %v", report.Status, err)
	}
	for _, f := range report.Findings {
		if f.Name == check {
			return f
		}
	}
	t.Fatalf("no check is called %s", check)
	return doctor.Finding{}
}

// A disk that takes long to confirm.
func TestDoctorFindsSlowSyncs(t *testing.T) {
	t.Parallel()
	slow := []string{"strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=150000"}
	if f := diagnose(t, slow, "data.sync", "--data", t.TempDir()); f.Status != doctor.StatusWrong || f.Fix == "" {
		t.Errorf("%+v", f)
	}
	if f := diagnose(t, nil, "data.sync", "--data", t.TempDir()); f.Status != doctor.StatusOK {
		t.Errorf("%+v", f)
	}
}

// A disk that is small.
func TestDoctorFindsFullDisk(t *testing.T) {
	t.Parallel()
	own := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		own = []string{"unshare", "--map-root-user", "--mount"}
	}
	data := t.TempDir()
	small := append(own, "sh", "-c", `mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"`, data)
	if f := diagnose(t, small, "data.space", "--data", data); f.Status != doctor.StatusWrong || f.Fix == "" {
		t.Errorf("%+v", f)
	}
}

// A worker that was killed is missed while no other runs.
func TestDoctorFindsKilledWorker(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "yes")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	cmd := exec.Command(path, "serve", "--listen", "127.0.0.1:0", "--data", data, "--docs", t.TempDir(), "--redis", s.URL(), "--node", "gone")
	cmd.Args[0] = "morningai"
	d, err := startDaemon(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer d.kill()
	if f := diagnose(t, nil, "work.sessions", "--data", data, "--redis", s.URL()); f.Status != doctor.StatusOK {
		t.Errorf("%+v", f)
	}
	d.kill()
	if f := diagnose(t, nil, "work.sessions", "--data", data, "--redis", s.URL()); f.Status != doctor.StatusWrong || f.Seen != "no heartbeat of gone (0 tasks running)" {
		t.Errorf("%+v", f)
	}
}

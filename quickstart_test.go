package morningai_test

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// The program that the documentation shows compiles and runs as written, also
// a second time on the file of the first.
func TestQuickstartProgram(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "quickstart")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, filepath.Join("testdata", "quickstart", "main.go"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for range 2 {
		run := exec.CommandContext(t.Context(), program)
		run.Dir = folder
		out, err := run.CombinedOutput()
		if want := "hello Ada <nil>\n"; err != nil || string(out) != want {
			t.Errorf("printed %q, %v; want %q", out, err, want)
		}
	}
}

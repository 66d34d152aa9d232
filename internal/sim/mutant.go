package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Mutant is a package with one guard removed, as a replacement in one of its
// files, and the test that must fail on it because a promise is broken.
type Mutant struct {
	Name string
	// File is relative to the folder of the test. Old must occur in it once.
	File, Old, New string
	Test           string // a pattern for -run
	First          uint64 // the first seed for the test
	Seeds          int    // and how many; 0: its own
	// Only are the files of tests to build; all if there are none. What a test does
	// not need, engines above all, makes most of the time that a build takes.
	Only []string
}

// Check builds the tests of the package in the present folder with the
// replacement, without touching the file, and runs the test, which must tell of
// a seed that breaks promises.
func (m Mutant) Check(t *testing.T) {
	t.Helper()
	path, err := filepath.Abs(m.File)
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.Old); n != 1 {
		t.Fatalf("%s has what is to be replaced %d times, not once:\n%s", m.File, n, m.Old)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	changed := write("changed.go", []byte(strings.Replace(string(text), m.Old, m.New, 1)))
	replace := map[string]string{path: changed}
	if len(m.Only) > 0 {
		tests, err := filepath.Glob(filepath.Join(here, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			if !slices.Contains(m.Only, filepath.Base(test)) {
				replace[test] = "" // it is not there
			}
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "mutant.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-s -w", "-overlay", write("overlay.json", overlay), "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("it does not build: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), binary, "-test.run", m.Test, "-test.timeout", "5m")
	run.Env = append(os.Environ(), rangeVariable+"=", soakVariable+"=")
	if m.Seeds > 0 {
		run.Env = append(run.Env, fmt.Sprintf("%s=%d:%d", rangeVariable, m.First, m.Seeds))
	}
	out, err := run.CombinedOutput()
	told := strings.Contains(string(out), breaksPromises)
	switch {
	case err == nil:
		t.Errorf("no seed notices it")
	case !told:
		t.Errorf("it fails in another way than by breaking promises: %v\n%s", err, cut(string(out), 4000))
	default:
		t.Log(firstBroken(string(out)))
	}
}

func cut(text string, most int) string {
	if len(text) > most {
		return text[:most] + " …"
	}
	return text
}

// firstBroken is the line that says which seed it was, and what is broken.
func firstBroken(out string) string {
	_, rest, _ := strings.Cut(out, breaksPromises)
	lines := strings.SplitN(rest, "\n", 3)
	return cut(strings.TrimSpace(strings.Join(lines[:min(2, len(lines))], " ")), 300)
}

package depcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/RC918/morningai"

// tree is what the rules look at: the module's packages and the text of its files.
type tree struct {
	packages []*pkg
	files    map[string]string // by slash-separated path from the root
	dirs     []string
}

// pkg is one package as the go command lists it.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Export     string // file with the compiled package's types
	Standard   bool
}

// own shortens an import path to the path from the root, "." for the root; ok
// is false for other modules.
func own(importPath string) (rel string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// goList lists packages with the go command.
func goList(t *testing.T, dir string, args ...string) []*pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Deps,Export,Standard"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []*pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("read what go list says: %v", err)
		}
		packages = append(packages, p)
	}
}

// load reads the repository, the tests and the benchmarks' own module included.
func load(t *testing.T) *tree {
	t.Helper()
	top := root(t)
	out := &tree{packages: goList(t, top, "./..."), files: map[string]string{}}
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" || rel == "bin" || rel == "dist" || path.Base(rel) == "rapid" {
				return filepath.SkipDir
			}
			out.dirs = append(out.dirs, rel)
			return nil
		}
		if ext := path.Ext(rel); !slices.Contains([]string{".go", ".md", ".sql", ".lua", ".yml", ".yaml", ".json", ".sh", ".mod", ""}, ext) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if len(text) < 1<<20 && !bytes.ContainsRune(text, 0) {
			out.files[rel] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("read the repository: %v", err)
	}
	if len(out.packages) == 0 || len(out.files) == 0 {
		t.Fatal("the repository seems empty")
	}
	return out
}

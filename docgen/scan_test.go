package docgen

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai"
)

func scanAll(t *testing.T, dir string) (paths []string, skipped map[string]string) {
	t.Helper()
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	found, skips, err := f.scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	skipped = map[string]string{}
	for _, s := range skips {
		skipped[s.Path] = s.Reason
	}
	for _, c := range found {
		if _, reason := f.read(c.path); reason != "" {
			skipped[c.path] = reason
			continue
		}
		paths = append(paths, c.path)
	}
	return paths, skipped
}

func TestScanTakesDocumentsOnly(t *testing.T) {
	docs := write(t, map[string]string{
		"a.md": "# A", "b.MARKDOWN": "# B", "sub/c.mdx": "# C", "d.txt": "d", "e.go": "e", ".hidden.md": "h", ".git/f.md": "f",
		"node_modules/g.md": "g", "vendor/x/h.md": "h", "docs/faq/i.md": "i", "docs/j.md": "# J", "docs/faq.md": "# F", "other/faq/k.md": "# K",
		"nul.md": "a\x00b", "latin1.md": "na\xefve caf\xe9", "stray.md": strings.Repeat("plain text ", 200) + "\xff", "bom.md": "\uFEFF# Bom",
	})
	if err := os.Truncate(filepath.Join(docs, "a.md"), 3); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(docs, "huge.md")
	if err := os.WriteFile(huge, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<30); err != nil { // without writing a gigabyte
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(docs, "folder.md"), 0o755); err != nil {
		t.Fatal(err)
	}
	paths, skipped := scanAll(t, docs)
	want := []string{"a.md", "b.MARKDOWN", "bom.md", "docs/faq.md", "docs/j.md", "other/faq/k.md", "stray.md", "sub/c.mdx"}
	if !slices.Equal(paths, want) {
		t.Errorf("documents %q, want %q", paths, want)
	}
	for name, reason := range map[string]string{"nul.md": "binary: it contains NUL bytes", "latin1.md": "not UTF-8", "huge.md": "larger than 4 MiB"} {
		if skipped[name] != reason {
			t.Errorf("%s is skipped because %q, want %q", name, skipped[name], reason)
		}
	}
	if len(skipped) != 3 {
		t.Errorf("skipped %v", skipped)
	}
}

func TestScanFollowsNoLinkOut(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("links need a privilege here; the walk treats them like other files that are not regular")
		return
	}
	outside := write(t, map[string]string{"secret.md": "# Secret"})
	docs := write(t, map[string]string{"a.md": "# A", "..data/real.md": "# Real"})
	for name, target := range map[string]string{
		"loop": ".", "self.md": "self.md", "broken.md": "gone.md", "out.md": filepath.Join(outside, "secret.md"), "outdir": outside,
		"mounted.md": "..data/real.md", "twice.md": "a.md", "device.md": "/dev/zero",
	} {
		if err := os.Symlink(target, filepath.Join(docs, name)); err != nil {
			t.Fatal(err)
		}
	}
	paths, skipped := scanAll(t, docs)
	if want := []string{"a.md", "mounted.md"}; !slices.Equal(paths, want) {
		t.Errorf("documents %q, want %q; skipped %v", paths, want, skipped)
	}
	for _, name := range []string{"self.md", "broken.md", "out.md", "device.md"} {
		if skipped[name] == "" {
			t.Errorf("%s is not reported", name)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	docs := write(t, map[string]string{"a.md": "# A"})
	index := filepath.Join(t.TempDir(), "i.db")
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"no folder":       {Options{Docs: filepath.Join(docs, "gone"), Index: index}, morningai.ErrNotFound},
		"a file":          {Options{Docs: filepath.Join(docs, "a.md"), Index: index}, morningai.ErrInvalidInput},
		"index no file":   {Options{Docs: docs, Index: docs}, morningai.ErrInvalidInput},
		"no index":        {Options{Docs: docs}, morningai.ErrInvalidInput},
		"index in a file": {Options{Docs: docs, Index: filepath.Join(docs, "a.md", "i.db")}, morningai.ErrStorageFailed},
		"bad repo":        {Options{Docs: docs, Index: index, Repo: "a b"}, morningai.ErrInvalidInput},
	} {
		g, err := Open(context.Background(), c.o)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if g != nil {
			t.Errorf("%s: a generator beside the error", name)
		}
	}
}

func TestRepositoryOfOrigin(t *testing.T) {
	for url, want := range map[string]string{
		"https://github.com/o/n.git": "o/n", "git@github.com:o/n.git": "o/n", "ssh://git@host:22/o/n": "o/n", "https://host/group/o/n/": "o/n",
		"/srv/git/n": "", "../n": "", "file:///srv/o/n": "", "https://host/n": "", "": "",
	} {
		if got := ownerAndName(url); got != want {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
	dir := write(t, map[string]string{".git/config": "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@github.com:o/n.git\n", "docs/a.md": "# A"})
	if got := Repository(filepath.Join(dir, "docs")); got != "o/n" {
		t.Errorf("repository %q", got)
	}
	if got := layoutOf(filepath.Join(dir, "docs")).repoPath("a.md"); got != "docs/a.md" {
		t.Errorf("path %q", got)
	}
}

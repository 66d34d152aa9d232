package address

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWriteReadRemove(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an empty folder: %v", err)
	}
	first := Note{URL: "http://127.0.0.1:1", Instance: "a", PID: 1}
	second := Note{URL: "http://127.0.0.1:2", Instance: "b", PID: 2}
	for _, n := range []Note{first, second} {
		if err := Write(dir, n); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(dir); err != nil || got != n {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil {
		t.Fatal(err)
	} else if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := Remove(dir, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err != nil {
		t.Error("another instance's note was removed")
	}
	for range 2 {
		if err := Remove(dir, "b"); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReadDamaged(t *testing.T) {
	for _, content := range []string{"", "{", "{}", `{"url":"http://127.0.0.1:1"}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestWriteIntoMissingFolder(t *testing.T) {
	if err := Write(filepath.Join(t.TempDir(), "none"), Note{URL: "u", Instance: "i"}); err == nil {
		t.Error("no error")
	}
}

func TestDataFolder(t *testing.T) {
	for _, c := range []struct {
		goos string
		env  map[string]string
		want string
	}{
		{"linux", map[string]string{"HOME": "/home/a"}, "/home/a/.local/state/morningai"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "/s"}, "/s/morningai"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "s"}, "/home/a/.local/state/morningai"},
		{"darwin", map[string]string{"HOME": "/Users/a", "XDG_STATE_HOME": "/s"}, "/Users/a/Library/Application Support/morningai"},
		{"windows", map[string]string{"LocalAppData": "/C/Local", "HOME": "/x"}, "/C/Local/morningai"},
		{"linux", nil, ""},
		{"darwin", nil, ""},
		{"windows", map[string]string{"HOME": "/x"}, ""},
	} {
		got, err := dataFolder(c.goos, func(k string) string { return c.env[k] })
		if filepath.ToSlash(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %v: %q, %v", c.goos, c.env, got, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	link := filepath.Join(other, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	print := func(instance, folder string) string {
		t.Helper()
		f, err := Fingerprint(instance, folder)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if print("a", dir) != print("a", link) {
		t.Error("a link leads to another fingerprint")
	}
	if print("a", dir) == print("a", other) || print("a", dir) == print("b", dir) {
		t.Error("other folders and runs share a fingerprint")
	}
	if _, err := Fingerprint("a", filepath.Join(dir, "none")); err == nil {
		t.Error("a missing folder has a fingerprint")
	}
}

package keptlog_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/keptlog"
)

func open(t *testing.T, folder string, most int64) (*keptlog.Log, *slog.Logger) {
	t.Helper()
	l, err := keptlog.Open(folder, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, slog.New(l.Handler(slog.LevelDebug))
}

func read(t *testing.T, folder string, f keptlog.Filter) string {
	t.Helper()
	lines, err := keptlog.Read(t.Context(), folder, f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range lines {
		out = append(out, l.Message)
	}
	return strings.Join(out, " ")
}

func TestFilters(t *testing.T) {
	folder := t.TempDir()
	if _, err := keptlog.Read(t.Context(), folder, keptlog.Filter{}); !errors.Is(err, keptlog.ErrNone) {
		t.Fatal(err)
	}
	_, log := open(t, folder, keptlog.Least)
	log.Debug("a", "trace_id", "T1", "task_id", "K1")
	log.Info("b", "trace_id", "T2", "took", time.Second)
	between := time.Now()
	log.Warn("c", "note", "T1")
	log.Error("d", "trace_id", "T1", "n", 3)
	for want, f := range map[string]keptlog.Filter{
		"a b c d": {Level: slog.LevelDebug},
		"b c d":   {},
		"c d":     {Since: between, Level: slog.LevelDebug},
		"d":       {Level: slog.LevelError},
		"a d":     {TraceID: "T1", Level: slog.LevelDebug},
		"a":       {TraceID: "K1", Level: slog.LevelDebug},
		"":        {TraceID: "T", Level: slog.LevelDebug},
		"b c d ":  {Limit: 3, Level: slog.LevelDebug},
	} {
		if got := read(t, folder, f); got != strings.TrimSpace(want) {
			t.Errorf("%+v: got %q, want %q", f, got, want)
		}
	}
	lines, err := keptlog.Read(t.Context(), folder, keptlog.Filter{TraceID: "T2"})
	if err != nil || len(lines) != 1 || lines[0].Attrs["took"] != "1s" || lines[0].Level != "INFO" || time.Since(lines[0].At) > time.Minute {
		t.Errorf("%+v, %v", lines, err)
	}
}

// Old lines make way, and never more is kept than was said.
func TestBound(t *testing.T) {
	folder := t.TempDir()
	l, log := open(t, folder, keptlog.Least)
	for i := range 2000 {
		log.Info(fmt.Sprint("line", i), "text", strings.Repeat("x", 100))
	}
	var sum int64
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if sum > keptlog.Least || sum < keptlog.Least/2 {
		t.Errorf("%d bytes are kept of at most %d", sum, keptlog.Least)
	}
	got := read(t, folder, keptlog.Filter{})
	if !strings.HasSuffix(got, " line1998 line1999") || strings.Contains(got, "line0 ") {
		t.Errorf("the newest lines are %q", got[max(0, len(got)-50):])
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log.Info("after the end")
	if _, err := l.Write([]byte("{}\n")); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
	// Another run goes on, also after half a line.
	if err := os.WriteFile(filepath.Join(folder, "log.jsonl"), []byte(`{"time":"20`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, log = open(t, folder, keptlog.Least)
	log.Info("next run")
	if got := read(t, folder, keptlog.Filter{Limit: 1}); got != "next run" {
		t.Errorf("got %q", got)
	}
}

func TestReadingWhileWriting(t *testing.T) {
	folder := t.TempDir()
	_, log := open(t, folder, keptlog.Least)
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := range 500 {
				log.Info("x", "trace_id", fmt.Sprint(i), "n", n, "text", strings.Repeat("y", 200))
			}
		})
	}
	for range 20 {
		for _, l := range must(keptlog.Read(t.Context(), folder, keptlog.Filter{}))(t) {
			if l.Message != "x" || l.TraceID == "" {
				t.Errorf("%+v", l)
			}
		}
	}
	writers.Wait()
}

// A folder that is away costs the lines of that time, and none after it.
func TestGoesOnAfterAFailure(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	away := folder + ".away"
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	l, log := open(t, folder, keptlog.Least)
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	var failed error
	for i := 0; failed == nil && i < 1000; i++ { // until the first file is full
		_, failed = l.Write([]byte(strings.Repeat("x", 1000) + "\n"))
	}
	if !errors.Is(failed, fs.ErrNotExist) {
		t.Fatalf("a file that cannot be made is told as %v", failed)
	}
	if err := os.Rename(away, folder); err != nil {
		t.Fatal(err)
	}
	log.Info("back")
	if got := read(t, folder, keptlog.Filter{}); got != "back" {
		t.Errorf("%q is kept afterwards", got)
	}
}

// Whoever reads while the files change their names gets what was written before, and
// misses nothing in between.
func TestReadingWhileFilesTurn(t *testing.T) {
	folder := t.TempDir()
	_, log := open(t, folder, keptlog.Least)
	var written atomic.Int64
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := range int64(20_000) {
			log.Info("x", "n", n, "text", strings.Repeat("y", 1000))
			written.Store(n)
		}
	})
	defer writer.Wait()
	for before := int64(0); before < 19_999; {
		before = written.Load()
		lines, err := keptlog.Read(t.Context(), folder, keptlog.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		last := int64(-1)
		for _, l := range lines {
			n := int64(l.Attrs["n"].(float64))
			if last >= 0 && n != last+1 {
				t.Fatalf("line %d is followed by %d", last, n)
			}
			last = n
		}
		if last < before && before > 0 {
			t.Fatalf("the newest line is %d though %d was written", last, before)
		}
	}
}

func must(lines []keptlog.Line, err error) func(*testing.T) []keptlog.Line {
	return func(t *testing.T) []keptlog.Line {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		return lines
	}
}

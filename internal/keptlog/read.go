package keptlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Line is one line of a log.
type Line struct {
	At      time.Time      `json:"at"`
	Level   string         `json:"level" enum:"DEBUG,INFO,WARN,ERROR"`
	Message string         `json:"message"`
	TraceID string         `json:"trace_id,omitempty" doc:"absent on lines that are about no task"`
	TaskID  string         `json:"task_id,omitempty"`
	Attrs   map[string]any `json:"attrs" doc:"what else the line says"`
}

// MaxLines is how many lines somebody may ask for at once.
const MaxLines = 10_000

// Filter selects lines; zero fields select all.
type Filter struct {
	TraceID string // also the id of a task
	Since   time.Time
	Level   slog.Level // and above
	Limit   int        // of the newest lines
}

// ParseSince reads a time such as 2026-01-02T15:04:05Z, or a duration such as 15m
// back from now.
func ParseSince(text string, now time.Time) (at time.Time, ok bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, true
	}
	d, err := time.ParseDuration(text)
	return now.Add(-d), err == nil && d >= 0
}

// ErrNone says that the folder holds no log.
var ErrNone = errors.New("the folder holds no log")

// Read returns the newest lines that the filter selects, oldest first. It may be
// called while a Log writes, in this process or another.
func Read(ctx context.Context, folder string, f Filter) ([]Line, error) {
	opened, err := openFiles(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("read the kept log: %w", err)
	}
	var files []io.Reader
	for _, file := range opened {
		defer file.Close()
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, ErrNone
	}
	k := keeper{filter: f, wanted: []byte(f.TraceID)}
	lines := bufio.NewReaderSize(io.MultiReader(files...), 64<<10)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text, err := lines.ReadBytes('\n')
		if err == nil { // what has no end yet is still being written
			k.consider(text)
		}
		if errors.Is(err, io.EOF) {
			return k.kept(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the kept log: %w", err)
		}
	}
}

// openFiles opens what the folder holds, the older file first. If the log turns to
// a new file meanwhile, the one in the middle is neither of the two: it looks again.
func openFiles(ctx context.Context, folder string) ([]*os.File, error) {
	for {
		before := older(folder)
		var files []*os.File
		var err error
		for _, name := range []string{previous, current} {
			file, openErr := os.Open(filepath.Join(folder, name))
			if openErr == nil {
				files = append(files, file)
			} else if !errors.Is(openErr, fs.ErrNotExist) {
				err = openErr
			}
		}
		after := older(folder)
		if err == nil && (before == nil && after == nil || before != nil && after != nil && os.SameFile(before, after)) {
			return files, nil
		}
		for _, file := range files {
			err = errors.Join(err, file.Close())
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
	}
}

// older tells the older file of the folder from others; nil if there is none.
func older(folder string) fs.FileInfo {
	info, err := os.Stat(filepath.Join(folder, previous))
	if err != nil {
		return nil
	}
	return info
}

// keeper keeps the newest lines.
type keeper struct {
	filter Filter
	wanted []byte
	ring   []Line
	next   int // where the next one goes, once the ring is full
}

func (k *keeper) consider(text []byte) {
	if !bytes.Contains(text, k.wanted) {
		return
	}
	line, ok := parse(text)
	if !ok || line.At.Before(k.filter.Since) {
		return
	}
	var level slog.Level
	if level.UnmarshalText([]byte(line.Level)) != nil || level < k.filter.Level {
		return
	}
	if want := k.filter.TraceID; want != "" && line.TraceID != want && line.TaskID != want {
		return
	}
	if k.filter.Limit <= 0 || len(k.ring) < k.filter.Limit {
		k.ring = append(k.ring, line)
		return
	}
	k.ring[k.next] = line
	k.next = (k.next + 1) % len(k.ring)
}

func (k *keeper) kept() []Line {
	return append(append([]Line{}, k.ring[k.next:]...), k.ring[:k.next]...)
}

// parse takes a line apart. A damaged one is passed over.
func parse(text []byte) (Line, bool) {
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return Line{}, false
	}
	take := func(name string) string {
		s, _ := all[name].(string)
		delete(all, name)
		return s
	}
	at, err := time.Parse(time.RFC3339Nano, take(slog.TimeKey))
	l := Line{At: at.UTC(), Level: take(slog.LevelKey), Message: take(slog.MessageKey), TraceID: take("trace_id"), TaskID: take("task_id"), Attrs: all}
	return l, err == nil && l.Message != ""
}

// Package keptlog keeps the last log lines of a node in its data folder, so that
// what happened to a task can be asked for afterwards, also of a node that does not
// run any more. It is bounded, and best effort: a line that cannot be written is not
// kept, and nobody waits for the disk to confirm one.
package keptlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	current  = "log.jsonl"
	previous = "log.1.jsonl"
	// Least is the smallest bound that makes sense.
	Least = 64 << 10
)

// Log writes the lines of one node. Its methods may be called from any number of
// goroutines.
type Log struct {
	folder string
	most   int64 // of one of the two files

	mu     sync.Mutex
	file   *os.File // nil when it could not be opened again, and after Close
	size   int64
	closed bool
}

// Open goes on with what the folder holds. No more than most bytes are kept. The
// caller closes the log.
func Open(folder string, most int64) (*Log, error) {
	if most < Least {
		return nil, fmt.Errorf("the kept log must have at least %d bytes", Least)
	}
	l := &Log{folder: folder, most: most / 2}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(filepath.Join(l.folder, current), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the kept log: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		// The last line of a process that was killed may lack its end.
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			_, err = f.WriteString("\n")
			size++
		}
	}
	if err != nil {
		return fmt.Errorf("open the kept log: %w", errors.Join(err, f.Close()))
	}
	l.file, l.size = f, size
	return nil
}

// Write takes one whole line, as a [slog.JSONHandler] writes it.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, fs.ErrClosed
	}
	if l.file == nil { // what has failed in a turn may work by now
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	if l.size > 0 && l.size+int64(len(line)) > l.most {
		if err := l.turn(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return n, err
}

// turn begins a new file; the one before the last is gone. Called with mu held.
func (l *Log) turn() error {
	err := l.file.Close()
	l.file = nil
	if err == nil {
		err = os.Rename(filepath.Join(l.folder, current), filepath.Join(l.folder, previous))
	}
	return errors.Join(err, l.open())
}

// Close ends the log. What was written stays.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// Handler returns what keeps records from a level on. Durations are kept as text.
func (l *Log) Handler(level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindDuration:
			a.Value = slog.StringValue(a.Value.Duration().String())
		case slog.KindTime:
			a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
		}
		return a
	}})
}

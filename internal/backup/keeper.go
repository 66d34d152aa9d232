package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// Schedule says which backups a keeper makes.
type Schedule struct {
	Folder string
	Every  time.Duration
	Keep   int // so many stay, the newest
}

const (
	namePrefix = "morningai-"
	nameSuffix = ".backup"
	nameTime   = "20060102T150405Z"
	retryAfter = time.Minute
	// partAge is how old a file that is not whole has to be to be nobody's.
	partAge = 24 * time.Hour
)

// Keeper makes backups of one engine from time to time, and removes old ones.
type Keeper struct {
	schedule Schedule
	source   Source
	log      *slog.Logger
	remove   func(path string) error

	mu     sync.Mutex
	status Status
}

// Status says how a keeper fares.
type Status struct {
	LastAt time.Time // when the newest backup was begun; zero if there is none
	Path   string    // of it
	Bytes  int64
	Next   time.Time
	Failed error // why the last try failed; nil if it did not
	Since  time.Time
	Made   int64 // by this process
	Fails  int64
}

// NewKeeper prepares the folder and looks for the backups in it.
func NewKeeper(s Schedule, source Source, log *slog.Logger) (*Keeper, error) {
	if s.Every < time.Second || s.Keep < 1 {
		return nil, morningai.InvalidInput("schedule backups", morningai.FieldError{Location: "every, keep", Message: "must be 1s and 1, or more"})
	}
	if err := os.MkdirAll(s.Folder, 0o700); err != nil {
		return nil, aboutFile("the folder", s.Folder, err)
	}
	k := &Keeper{schedule: s, source: source, log: log, remove: os.Remove}
	if err := k.removeParts(); err != nil {
		return nil, err
	}
	all, err := k.list()
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		newest := all[len(all)-1]
		k.status.LastAt, k.status.Path = newest.at, newest.path
		if info, err := os.Stat(newest.path); err == nil {
			k.status.Bytes = info.Size()
		}
	}
	return k, nil
}

// Status returns how it fares now.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Run makes backups until ctx ends. After a failure it tries again soon.
func (k *Keeper) Run(ctx context.Context) {
	for {
		wait := k.untilNext(time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		report, err := k.make(ctx)
		if ctx.Err() != nil {
			return // what was begun has left nothing
		}
		k.note(report, err)
	}
}

// untilNext is the time until the next backup, which it puts on record.
func (k *Keeper) untilNext(now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.due(now)
	if k.status.Failed != nil {
		next = now.Add(min(retryAfter, k.schedule.Every))
	}
	k.status.Next = next
	return max(next.Sub(now), 0)
}

// due is when the newest backup will be old enough. Called with mu held.
func (k *Keeper) due(now time.Time) time.Time {
	if at := k.status.LastAt; !at.IsZero() && at.Before(now) {
		return at.Add(k.schedule.Every)
	}
	return now
}

// note puts a try on record. What was made counts, even if something failed then.
func (k *Keeper) note(report *made, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := &k.status
	if err != nil {
		if s.Fails++; s.Failed == nil {
			s.Since = time.Now()
			k.log.Error("a scheduled backup failed; it is tried again each minute", "error", err)
		}
	} else if s.Failed != nil {
		s.Since = time.Time{}
		k.log.Info("scheduled backups are made again")
	}
	s.Failed = err
	if report == nil {
		return
	}
	s.LastAt, s.Path, s.Bytes = report.at, report.path, report.report.Size
	s.Made++
	k.log.Info("a backup was made", "file", report.path, "tasks", report.report.Tasks, "bytes", report.report.Size, "took", time.Since(report.at).Round(time.Millisecond))
	if report.report.Undelivered > 0 {
		k.log.Warn("the backup lacks what the journal had not delivered to Redis", "entries", report.report.Undelivered)
	}
}

type made struct {
	at     time.Time
	path   string
	report *Report
}

// make makes a backup if one is due, and removes old ones: if these cannot be
// removed, new ones are not made any sooner for that.
func (k *Keeper) make(ctx context.Context) (*made, error) {
	at := time.Now()
	k.mu.Lock()
	due := k.due(at)
	k.mu.Unlock()
	if due.After(at) {
		return nil, k.prune()
	}
	path := filepath.Join(k.schedule.Folder, namePrefix+at.UTC().Format(nameTime)+nameSuffix)
	report, err := WriteFile(ctx, path, false, k.source.Key, func(w io.Writer) error {
		_, err := Create(ctx, k.source, w)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &made{at, path, report}, k.prune()
}

type stored struct {
	at   time.Time
	path string
}

// list returns the backups of the folder, oldest first. Files with other names are
// somebody else's.
func (k *Keeper) list() ([]stored, error) {
	entries, err := os.ReadDir(k.schedule.Folder)
	if err != nil {
		return nil, aboutFile("the folder", k.schedule.Folder, err)
	}
	var all []stored
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if at, err := time.Parse(namePrefix+nameTime+nameSuffix, e.Name()); err == nil {
			all = append(all, stored{at, filepath.Join(k.schedule.Folder, e.Name())})
		}
	}
	slices.SortFunc(all, func(a, b stored) int { return a.at.Compare(b.at) })
	return all, nil
}

// prune removes the oldest beyond those that stay. A new one is whole by then.
func (k *Keeper) prune() error {
	all, err := k.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, old := range all[:max(0, len(all)-k.schedule.Keep)] {
		if err := k.remove(old.path); err != nil {
			errs = append(errs, &morningai.Error{Code: morningai.CodeStorageFailed, Op: "remove old backup", Err: err,
				Detail: fmt.Sprintf("the old backup %s cannot be removed", old.path), Hint: "remove it, or see what keeps the server from it, before the disk is full"})
		}
	}
	return errors.Join(errs...)
}

// removeParts removes what a process that was killed has left.
func (k *Keeper) removeParts() error {
	parts, err := filepath.Glob(filepath.Join(k.schedule.Folder, "."+namePrefix+"*"+partSuffix))
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for _, path := range parts {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > partAge {
			if err := os.Remove(path); err != nil {
				return aboutFile("the leftover", path, err)
			}
		}
	}
	return nil
}

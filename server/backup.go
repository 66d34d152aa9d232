package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/backup"
	"github.com/RC918/morningai/redis"
	"github.com/RC918/morningai/resilient"
	"github.com/RC918/morningai/sqlite"
)

// Place is where tasks live while no server is asked: in a data folder, or in a
// Redis, which has no journal then.
type Place struct {
	Data  string // data folder; beside a Redis it is where its reports of outages are kept
	Redis Redis  // the address, and whether eviction is accepted
	// How long ended tasks stay, as on the servers of the place.
	RetainSucceeded, RetainFailed time.Duration
}

// holding is an open place.
type holding struct {
	engine    morningai.Engine
	incidents func(context.Context) ([]morningai.Incident, error)
	put       func(context.Context, []morningai.Incident) error
	release   []func() error
}

func (h *holding) close() error {
	var errs []error
	for i := len(h.release) - 1; i >= 0; i-- {
		errs = append(errs, h.release[i]())
	}
	return errors.Join(errs...)
}

// holds reports whether there is a file of tasks in the folder.
func (p *Place) holds() (bool, error) {
	_, err := os.Stat(filepath.Join(p.Data, tasksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unusable(p.Data, "cannot be read", err)
	}
	return true, nil
}

// read opens a place that must be there.
func (p *Place) read(ctx context.Context) (*holding, error) {
	if p.Redis.URL != "" {
		return p.openRedis(ctx)
	}
	there, err := p.holds()
	if err != nil {
		return nil, err
	}
	if !there {
		e := &morningai.Error{Code: morningai.CodeNotFound, Op: "open data folder", Detail: fmt.Sprintf("the folder %s holds no tasks", p.Data),
			Hint: "give the data folder of a server without Redis"}
		if _, err := os.Stat(filepath.Join(p.Data, journalFile)); err == nil {
			e.Hint = "its server keeps them in a Redis; give that with --redis"
		}
		return nil, e
	}
	return p.openFolder(ctx)
}

// write opens a place that may be made. data names what was in the Redis whose tasks
// are put in: a Redis without any data is that one again, to the servers whose
// journals know it.
func (p *Place) write(ctx context.Context, data morningai.ID) (*holding, error) {
	if p.Redis.URL != "" {
		there, err := p.exists(ctx)
		if err != nil {
			return nil, err
		}
		if there {
			data = morningai.ID{} // it has a name
		}
		return p.openRedis(ctx, redis.WithDataSet(morningai.DataSet{ID: data}))
	}
	if err := prepareFolder(p.Data); err != nil {
		return nil, err
	}
	return p.openFolder(ctx)
}

// openFolder does not wait for the disk at each write: the file is synced when it
// is closed, and until then it says of itself that it is not complete.
func (p *Place) openFolder(ctx context.Context) (*holding, error) {
	engine, err := sqlite.Open(ctx, filepath.Join(p.Data, tasksFile), sqlite.WithRetention(p.RetainSucceeded, p.RetainFailed),
		sqlite.WithLogger(quiet()), sqlite.WithUnfinishedRestore(), sqlite.WithSync(sqlite.SyncNormal))
	if err != nil {
		return nil, err
	}
	h := &holding{engine: engine, release: []func() error{engine.Close}}
	h.keepIncidents(engine)
	return h, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// keepIncidents reads and writes reports of outages in a journal.
func (h *holding) keepIncidents(journal morningai.Journal) {
	h.incidents = func(ctx context.Context) ([]morningai.Incident, error) { return resilient.Incidents(ctx, journal) }
	h.put = func(ctx context.Context, all []morningai.Incident) error {
		return resilient.PutIncidents(ctx, journal, all)
	}
}

// exists reports whether tasks were ever kept in the Redis.
func (p *Place) exists(ctx context.Context) (bool, error) {
	try, cancel := context.WithTimeout(ctx, redisOpenTime)
	defer cancel()
	return redis.Exists(try, p.Redis.URL)
}

func (p *Place) openRedis(ctx context.Context, more ...redis.Option) (_ *holding, err error) {
	opts := []redis.Option{redis.WithLogger(quiet()), redis.WithTimeout(copyTimeout), redis.WithRetention(p.RetainSucceeded, p.RetainFailed)}
	opts = append(opts, more...)
	if p.Redis.AllowEviction {
		opts = append(opts, redis.WithAnyEviction())
	}
	try, cancel := context.WithTimeout(ctx, redisOpenTime)
	defer cancel()
	engine, err := redis.Open(try, p.Redis.URL, opts...)
	if err != nil {
		return nil, err
	}
	h := &holding{engine: engine, release: []func() error{engine.Close}}
	if p.Data == "" {
		return h, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if err := prepareFolder(p.Data); err != nil {
		return nil, err
	}
	journal, err := sqlite.Open(ctx, filepath.Join(p.Data, journalFile), sqlite.WithLogger(quiet()))
	if err != nil {
		return nil, err
	}
	h.release = append(h.release, journal.Close)
	h.keepIncidents(journal)
	return h, nil
}

// copyTimeout is for one call while everything is copied: nobody waits for it.
const copyTimeout = 20 * time.Second

// Codes of errors that only backups have.
const (
	CodeDamaged   = backup.CodeDamaged   // the file is no backup, or not any more what was written
	CodeUntrusted = backup.CodeUntrusted // it is not signed by the key
)

// BackupReport says what a backup holds.
type BackupReport = backup.Report

// BackupFile says where a backup is, or is to be written.
type BackupFile struct {
	Path      string
	Overwrite bool   // a file of that name
	KeyFile   string // with the key to sign with, or to check the signature; "": neither
}

func (f *BackupFile) key() ([]byte, error) {
	if f.KeyFile == "" {
		return nil, nil
	}
	return backup.ReadKey(f.KeyFile)
}

// CreateBackup writes a backup of a place that no server uses, or of a Redis, which
// servers may use. The file appears when it is whole and was read back.
func CreateBackup(ctx context.Context, from Place, to BackupFile, version string) (_ *BackupReport, err error) {
	key, err := to.key()
	if err != nil {
		return nil, err
	}
	h, err := from.read(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if r, ok := h.engine.(morningai.Restorer); ok {
		state, err := r.RestoreState(ctx)
		if err != nil {
			return nil, err
		}
		if state.Unfinished != 0 {
			return nil, &morningai.Error{Code: morningai.CodeConflict, Op: "create backup", Detail: "a restore or migration into this place was interrupted: it holds a part only",
				Hint: "repeat that first"}
		}
	}
	return backup.WriteFile(ctx, to.Path, to.Overwrite, key, func(w io.Writer) error {
		_, err := backup.Create(ctx, backup.Source{Engine: h.engine, Incidents: h.incidents, Program: version, Key: key}, w)
		return err
	})
}

// SaveBackup writes a file of a backup that comes as a stream, in the same way.
func SaveBackup(ctx context.Context, to BackupFile, stream func(io.Writer) error) (*BackupReport, error) {
	key, err := to.key()
	if err != nil {
		return nil, err
	}
	return backup.WriteFile(ctx, to.Path, to.Overwrite, key, stream)
}

// VerifyBackup reads the whole of a backup.
func VerifyBackup(ctx context.Context, from BackupFile) (*BackupReport, error) {
	key, err := from.key()
	if err != nil {
		return nil, err
	}
	return backup.VerifyFile(ctx, from.Path, key)
}

// Restored says what a restore has done.
type Restored = backup.Restored

// RestoreBackup puts a backup into a place that no server uses. See
// [backup.Restore] for what holds when it is refused or interrupted.
func RestoreBackup(ctx context.Context, from BackupFile, to Place, merge bool, progress func(done, total int64)) (_ *Restored, err error) {
	key, err := from.key()
	if err != nil {
		return nil, err
	}
	var h *holding
	defer func() {
		if h != nil {
			err = errors.Join(err, h.close())
		}
	}()
	return backup.Restore(ctx, from.Path, key, func(ctx context.Context, report *backup.Report) (backup.Target, error) {
		var err error
		if h, err = to.write(ctx, report.Data); err != nil {
			return backup.Target{}, err
		}
		return backup.Target{Engine: h.engine, Incidents: h.put, Merge: merge, Progress: progress}, nil
	})
}

// Migration says what is, or would be, moved.
type Migration = backup.Migration

// Migrate moves everything from one place to another. Unless apply is set, it looks
// at both and changes neither.
func Migrate(ctx context.Context, from, to Place, apply, merge bool, progress func(done, total int64)) (_ *Migration, err error) {
	source, err := from.read(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	target, err := to.target(ctx, apply)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	m := &backup.Mover{From: backup.Source{Engine: source.engine, Incidents: source.incidents}, Name: "migrate " + from.name(),
		To: backup.Target{Engine: target.engine, Incidents: target.put, Merge: merge, Progress: progress}, Keep: to.keeps}
	plan, err := m.Plan(ctx)
	if err != nil || !apply {
		return plan, err
	}
	return m.Apply(ctx, plan)
}

// target opens what a migration goes to. One that is only looked at is not made.
func (p *Place) target(ctx context.Context, create bool) (*holding, error) {
	if create {
		return p.write(ctx, morningai.ID{})
	}
	var there bool
	var err error
	if p.Redis.URL != "" {
		there, err = p.exists(ctx)
	} else {
		there, err = p.holds()
	}
	if err != nil || !there {
		return &holding{}, err
	}
	return p.read(ctx)
}

// name tells a place from others, without a password.
func (p *Place) name() string {
	if p.Redis.URL == "" {
		if full, err := filepath.Abs(p.Data); err == nil {
			return full
		}
		return p.Data
	}
	scheme, rest, _ := strings.Cut(p.Redis.URL, "://")
	return scheme + "://" + rest[strings.LastIndex(rest, "@")+1:]
}

// keeps is for how long the place keeps a record that has ended.
func (p *Place) keeps(r *morningai.Record) time.Duration {
	switch {
	case r.Retention != nil:
		return *r.Retention
	case r.Task.State == morningai.StateFailed:
		return p.RetainFailed
	case r.Task.State == morningai.StateCanceled && p.Redis.URL != "":
		return p.RetainFailed
	}
	return p.RetainSucceeded
}

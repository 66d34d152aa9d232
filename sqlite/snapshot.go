package sqlite

import (
	"context"

	"github.com/RC918/morningai"
)

var (
	_ morningai.Snapshotter = (*Engine)(nil)
	_ morningai.Restorer    = (*Engine)(nil)
)

const snapshotPage = 500

// Snapshot implements morningai.Snapshotter. It reads in one transaction on a
// connection of its own: until it returns, the log of writes is not reused and
// grows.
func (e *Engine) Snapshot(ctx context.Context, each func([]morningai.Record) error) (err error) {
	e.gate.RLock()
	if e.closed {
		e.gate.RUnlock()
		return errClosed
	}
	e.snapshots.Add(1) // Close waits for it
	e.gate.RUnlock()
	defer e.snapshots.Done()
	r, err := openReader(e.path)
	if err != nil {
		return storageError("snapshot", err)
	}
	defer func() {
		if closing := r.c.close(); closing != nil && err == nil {
			err = storageError("snapshot", closing)
		}
	}()
	// What runs is copied before the rows are read: a task that ends in between
	// has a row that knows it.
	entries := e.snapshotRuns()
	if err := r.c.run("BEGIN"); err != nil {
		return storageError("snapshot", err)
	}
	for after := int64(0); ; {
		if err := e.ready(ctx); err != nil {
			return err
		}
		rows, err := e.exportRows(r, after, snapshotPage)
		if err != nil {
			return storageError("snapshot", err)
		}
		if len(rows) == 0 {
			return nil
		}
		after = rows[len(rows)-1].seq
		records := make([]morningai.Record, len(rows))
		for i, found := range rows {
			if records[i], err = e.record(r, found, entries[found.seq]); err != nil {
				return storageError("snapshot", err)
			}
		}
		if err := each(records); err != nil {
			return err
		}
	}
}

// exportRows reads rows in order of acceptance.
func (e *Engine) exportRows(r *reader, after int64, limit int) ([]*row, error) {
	r.export.int(1, after)
	r.export.int(2, int64(limit))
	var rows []*row
	for {
		ok, err := r.export.step()
		if err != nil || !ok {
			return rows, err
		}
		found, err := e.scanRow(r.export)
		if err != nil {
			r.export.reset()
			return nil, err
		}
		rows = append(rows, found)
	}
}

const (
	metaGeneration = "generation"
	metaUnfinished = "unfinished"
)

// RestoreState implements morningai.Restorer.
func (e *Engine) RestoreState(ctx context.Context) (s morningai.RestoreState, err error) {
	err = e.read(ctx, "restore state", func(r *reader) error {
		s, err = readRestoreState(r.c)
		return err
	})
	return s, err
}

func readRestoreState(c *conn) (s morningai.RestoreState, err error) {
	if s.Generation, err = c.number("SELECT value FROM meta WHERE key='" + metaGeneration + "'"); err != nil {
		return s, err
	}
	s.Unfinished, err = c.number("SELECT value FROM meta WHERE key='" + metaUnfinished + "'")
	return s, err
}

// SetRestoreState implements morningai.Restorer.
func (e *Engine) SetRestoreState(ctx context.Context, s morningai.RestoreState) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	return e.submit(ctx, &restoreWork{s})
}

type restoreWork struct{ morningai.RestoreState }

func (*restoreWork) size() int { return 1 }

func (w *restoreWork) apply(t *txn) error {
	stored, err := readRestoreState(t.e.w)
	if err != nil {
		return err
	}
	if err := t.e.sql.setMeta(metaGeneration, max(stored.Generation, w.Generation)); err != nil {
		return err
	}
	return t.e.sql.setMeta(metaUnfinished, w.Unfinished)
}

// checkComplete refuses a file that a restore has left half done.
func (e *Engine) checkComplete() error {
	s, err := readRestoreState(e.w)
	if err != nil || s.Unfinished == 0 || e.cfg.unfinished {
		return err
	}
	return &morningai.Error{Code: morningai.CodeConflict, Op: "open engine", Detail: "the task file holds a part of a backup: its restore was interrupted",
		Hint: "repeat the restore or the migration that was interrupted, then start again; or delete the file to begin anew"}
}

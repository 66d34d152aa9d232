package sqlite

import (
	"context"
	"errors"

	driver "modernc.org/sqlite"
)

func isUnavailable(err error) bool { return errors.Is(err, driver.ErrFdatasyncUnavailable) }

// reader is one read-only connection. Reads are short, so that the log of
// recent writes can be reused.
type reader struct {
	c                         *conn
	byID, bySeq, span, export *stmt
	runDesc, allDesc          *stmt
	attempts, steps, logs     *stmt
	notes                     *stmt
	noteByKey, noteByAlt      *stmt
	pages, free               *stmt
}

func openReader(path string) (*reader, error) {
	c, err := openConn(path, true)
	if err != nil {
		return nil, err
	}
	r := &reader{c: c}
	fail := func(err error) (*reader, error) { return nil, joinErrors(err, c.close()) }
	for _, sql := range []string{"PRAGMA query_only=1", "PRAGMA cache_size=-2000"} {
		if err := c.run(sql); err != nil {
			return fail(err)
		}
	}
	if err := r.prepare(); err != nil {
		return fail(err)
	}
	return r, nil
}

func (r *reader) prepare() error {
	for _, p := range []struct {
		s   **stmt
		sql string
	}{
		{&r.byID, "SELECT " + rowColumns + " FROM tasks WHERE id=?"},
		{&r.bySeq, "SELECT " + rowColumns + " FROM tasks WHERE seq=?"},
		{&r.span, "SELECT " + rowColumns + " FROM tasks WHERE seq>=? AND seq<=? ORDER BY seq LIMIT ?"},
		{&r.export, "SELECT " + rowColumns + " FROM tasks WHERE seq>? ORDER BY seq LIMIT ?"},
		{&r.runDesc, "SELECT seq FROM tasks WHERE slot=? AND seq<? ORDER BY seq DESC LIMIT ?"},
		{&r.allDesc, "SELECT " + rowColumns + " FROM tasks WHERE seq<? ORDER BY seq DESC LIMIT ?"},
		{&r.attempts, "SELECT number,life,node,started,finished,outcome,error,stack FROM attempts WHERE seq=? ORDER BY number"},
		{&r.steps, "SELECT name,data FROM steps WHERE seq=?"},
		{&r.logs, "SELECT attempt,at,level,message,attrs FROM logs WHERE seq=? ORDER BY n"},
		{&r.notes, "SELECT seq,key,alt,data FROM notes WHERE seq>? AND seq<=? ORDER BY seq"},
		{&r.noteByKey, "SELECT seq,key,alt,data FROM notes WHERE kind=? AND key=?"},
		{&r.noteByAlt, "SELECT seq,key,alt,data FROM notes WHERE kind=? AND alt=? ORDER BY seq"},
		{&r.pages, "PRAGMA page_count"}, {&r.free, "PRAGMA freelist_count"},
	} {
		s, err := r.c.prepare(p.sql)
		if err != nil {
			return err
		}
		*p.s = s
	}
	return nil
}

func (e *Engine) openReaders() error {
	e.readers = make(chan *reader, readerCount)
	for range readerCount {
		r, err := openReader(e.path)
		if err != nil {
			for range readerCount - len(e.readers) {
				e.readers <- nil
			}
			return err
		}
		e.readers <- r
	}
	var err error
	e.claims, err = openReader(e.path)
	return err
}

// read runs fn with a connection of the pool. The pool is emptied by Close.
func (e *Engine) read(ctx context.Context, op string, fn func(r *reader) error) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	select {
	case r := <-e.readers:
		defer func() { e.readers <- r }()
		if e.isClosed() {
			return errClosed
		}
		if err := fn(r); err != nil {
			return storageError(op, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.stop:
		return errClosed
	}
}

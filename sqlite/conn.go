package sqlite

import (
	"fmt"
	"unsafe"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // sets up the library that modernc.org/sqlite/lib exports
	lib "modernc.org/sqlite/lib"
)

// conn is one connection, used by one goroutine at a time. It drives the
// translated C interface directly: database/sql and its driver cost several
// allocations per bound value, which is most of the time of a small insert.
type conn struct {
	tls   *libc.TLS
	db    uintptr
	stmts []*stmt
	arena arena
}

// dbError is what SQLite answered.
type dbError struct {
	op    string
	code  int32 // extended result code
	errno int32 // of the operating system; 0 if it was not involved
	text  string
}

func (e *dbError) Error() string {
	if e.errno != 0 {
		return fmt.Sprintf("%s: %s (%d, errno %d)", e.op, e.text, e.code, e.errno)
	}
	return fmt.Sprintf("%s: %s (%d)", e.op, e.text, e.code)
}

// ptr turns an address outside the Go heap into a pointer.
func ptr(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func bytesAt(p uintptr, n int) []byte { return unsafe.Slice((*byte)(ptr(p)), n) }

func openConn(path string, readOnly bool) (*conn, error) {
	c := &conn{tls: libc.NewTLS()}
	name, err := libc.CString(path)
	if err != nil {
		c.tls.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	out := c.malloc(8)
	flags := int32(lib.SQLITE_OPEN_READWRITE | lib.SQLITE_OPEN_CREATE | lib.SQLITE_OPEN_NOMUTEX)
	if readOnly {
		flags = lib.SQLITE_OPEN_READONLY | lib.SQLITE_OPEN_NOMUTEX
	}
	*(*uintptr)(ptr(out)) = 0
	rc := lib.Xsqlite3_open_v2(c.tls, name, out, flags, 0)
	c.db = *(*uintptr)(ptr(out))
	c.free(out)
	libc.Xfree(c.tls, name)
	if rc != lib.SQLITE_OK {
		err := c.fail("open database", rc)
		lib.Xsqlite3_close_v2(c.tls, c.db)
		c.tls.Close()
		return nil, err
	}
	lib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	lib.Xsqlite3_busy_timeout(c.tls, c.db, 10_000)
	return c, nil
}

func (c *conn) malloc(n int) uintptr { return lib.Xsqlite3_malloc(c.tls, int32(n)) }
func (c *conn) free(p uintptr)       { lib.Xsqlite3_free(c.tls, p) }

func (c *conn) fail(op string, rc int32) error {
	e := &dbError{op: op, code: rc, text: libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))}
	if c.db != 0 {
		e.text = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
		switch rc & 0xff {
		case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_FULL:
			e.errno = lib.Xsqlite3_system_errno(c.tls, c.db)
		}
	}
	return e
}

// close releases the connection and its statements.
func (c *conn) close() error {
	for _, s := range c.stmts {
		lib.Xsqlite3_finalize(c.tls, s.p)
	}
	c.stmts = nil
	c.arena.release(c)
	var err error
	if rc := lib.Xsqlite3_close_v2(c.tls, c.db); rc != lib.SQLITE_OK {
		err = c.fail("close database", rc)
	}
	c.db = 0
	c.tls.Close()
	return err
}

// run executes one statement without values, such as a pragma.
func (c *conn) run(sql string) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	defer s.finalize()
	return s.exec()
}

// number runs a query that answers one number; 0 if it has no row.
func (c *conn) number(sql string) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.finalize()
	if ok, err := s.step(); err != nil || !ok {
		return 0, err
	}
	return s.colInt(0), nil
}

// script executes statements separated by semicolons.
func (c *conn) script(sql string) error {
	text, err := libc.CString(sql)
	if err != nil {
		return fmt.Errorf("run script: %w", err)
	}
	defer libc.Xfree(c.tls, text)
	if rc := lib.Xsqlite3_exec(c.tls, c.db, text, 0, 0, 0); rc != lib.SQLITE_OK {
		return c.fail("run script", rc)
	}
	return nil
}

// inTransaction reports whether a transaction is open; some errors end it.
func (c *conn) inTransaction() bool { return lib.Xsqlite3_get_autocommit(c.tls, c.db) == 0 }

// stmt is a prepared statement. Errors of binding surface at the next step.
type stmt struct {
	c   *conn
	p   uintptr
	err error
}

func (c *conn) prepare(sql string) (*stmt, error) {
	text, err := libc.CString(sql)
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", err)
	}
	defer libc.Xfree(c.tls, text)
	out := c.malloc(8)
	defer c.free(out)
	*(*uintptr)(ptr(out)) = 0
	if rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, lib.SQLITE_PREPARE_PERSISTENT, out, 0); rc != lib.SQLITE_OK {
		return nil, c.fail("prepare statement", rc)
	}
	s := &stmt{c: c, p: *(*uintptr)(ptr(out))}
	c.stmts = append(c.stmts, s)
	return s, nil
}

func (s *stmt) finalize() {
	lib.Xsqlite3_finalize(s.c.tls, s.p)
	for i, o := range s.c.stmts {
		if o == s {
			s.c.stmts = append(s.c.stmts[:i], s.c.stmts[i+1:]...)
			break
		}
	}
}

func (s *stmt) check(rc int32) {
	if rc != lib.SQLITE_OK && s.err == nil {
		s.err = s.c.fail("bind value", rc)
	}
}

func (s *stmt) int(i int, v int64) {
	s.check(lib.Xsqlite3_bind_int64(s.c.tls, s.p, int32(i), v))
}

func (s *stmt) null(i int) { s.check(lib.Xsqlite3_bind_null(s.c.tls, s.p, int32(i))) }

// intOrNull binds 0 as NULL, which takes no space in a row.
func (s *stmt) intOrNull(i int, v int64) {
	if v == 0 {
		s.null(i)
		return
	}
	s.int(i, v)
}

// blob binds a copy; nil and empty are NULL.
func (s *stmt) blob(i int, b []byte) {
	if len(b) == 0 {
		s.null(i)
		return
	}
	p := s.c.arena.take(s.c, len(b))
	copy(bytesAt(p, len(b)), b)
	s.check(lib.Xsqlite3_bind_blob(s.c.tls, s.p, int32(i), p, int32(len(b)), 0))
}

// text binds a copy; the empty string is NULL.
func (s *stmt) text(i int, t string) {
	if t == "" {
		s.null(i)
		return
	}
	p := s.c.arena.take(s.c, len(t))
	copy(bytesAt(p, len(t)), t)
	s.check(lib.Xsqlite3_bind_text(s.c.tls, s.p, int32(i), p, int32(len(t)), 0))
}

// step advances to the next row. Without one, or after an error, the statement
// is reset.
func (s *stmt) step() (bool, error) {
	if s.err != nil {
		err := s.err
		s.reset()
		return false, err
	}
	switch rc := lib.Xsqlite3_step(s.c.tls, s.p); rc {
	case lib.SQLITE_ROW:
		return true, nil
	case lib.SQLITE_DONE:
		s.reset()
		return false, nil
	default:
		err := s.c.fail("run statement", rc)
		s.reset()
		return false, err
	}
}

// exec runs the statement to its end.
func (s *stmt) exec() error {
	for {
		if more, err := s.step(); err != nil || !more {
			return err
		}
	}
}

// reset makes the statement ready to run again and releases what was bound.
func (s *stmt) reset() {
	lib.Xsqlite3_reset(s.c.tls, s.p)
	s.c.arena.reset(s.c)
	s.err = nil
}

func (s *stmt) colInt(i int) int64 { return lib.Xsqlite3_column_int64(s.c.tls, s.p, int32(i)) }

// colRaw returns the bytes of a column, valid until the next step or reset.
func (s *stmt) colRaw(i int) []byte {
	p := lib.Xsqlite3_column_blob(s.c.tls, s.p, int32(i))
	if p == 0 {
		return nil
	}
	return bytesAt(p, int(lib.Xsqlite3_column_bytes(s.c.tls, s.p, int32(i))))
}

func (s *stmt) colBlob(i int) []byte {
	raw := s.colRaw(i)
	if raw == nil {
		return nil
	}
	return append(make([]byte, 0, len(raw)), raw...)
}

func (s *stmt) colText(i int) string { return string(s.colRaw(i)) }

// arena holds bound bytes outside the Go heap until the statement has run.
// Chunks never move, so addresses given out stay good.
type arena struct {
	chunks []chunk
	cur    int
}

type chunk struct {
	p         uintptr
	size, use int
}

const chunkSize = 64 << 10

func (a *arena) take(c *conn, n int) uintptr {
	for ; a.cur < len(a.chunks); a.cur++ {
		k := &a.chunks[a.cur]
		if k.use+n <= k.size {
			p := k.p + uintptr(k.use)
			k.use += n
			return p
		}
	}
	size := max(chunkSize, n)
	a.chunks = append(a.chunks, chunk{p: c.malloc(size), size: size, use: n})
	return a.chunks[a.cur].p
}

// reset forgets the contents and gives back what a rare large value needed.
func (a *arena) reset(c *conn) {
	for len(a.chunks) > 4 {
		last := len(a.chunks) - 1
		c.free(a.chunks[last].p)
		a.chunks = a.chunks[:last]
	}
	for i := range a.chunks {
		a.chunks[i].use = 0
	}
	a.cur = 0
}

func (a *arena) release(c *conn) {
	for _, k := range a.chunks {
		c.free(k.p)
	}
	a.chunks = nil
}

package docgen

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/RC918/morningai"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IndexPath names the index of one documents folder within a data folder. Each
// documents folder has its own, so that questions about different folders do
// not undo each other's work.
func IndexPath(dataDir, docsDir string) string {
	abs, err := filepath.Abs(docsDir)
	if err != nil {
		abs = docsDir
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(dataDir, "documents-"+hex.EncodeToString(sum[:6])+".db")
}

const schema = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
	id INTEGER PRIMARY KEY,
	path TEXT NOT NULL UNIQUE,
	size INTEGER NOT NULL,
	mtime_ns INTEGER NOT NULL,
	hash BLOB NOT NULL,
	read_ns INTEGER NOT NULL,    -- when it was read, to distrust times that may hide a later change
	reason TEXT NOT NULL,        -- why it is no document; '' if it is one
	lang TEXT NOT NULL,
	title TEXT NOT NULL,
	refs TEXT NOT NULL           -- link reference definitions, JSON
);
CREATE TABLE sections (
	id INTEGER PRIMARY KEY,
	file INTEGER NOT NULL,
	position INTEGER NOT NULL,
	level INTEGER NOT NULL,
	part INTEGER NOT NULL,
	heading TEXT NOT NULL,
	parents TEXT NOT NULL,       -- JSON
	anchor TEXT NOT NULL,
	body TEXT NOT NULL
);
CREATE UNIQUE INDEX sections_by_file ON sections (file, position);
CREATE VIRTUAL TABLE words USING fts5 (title, headings, body, code, content='', contentless_delete=1,
	tokenize="unicode61 remove_diacritics 0 categories 'L* N* M* Co' tokenchars '_'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, 'row');
`

const schemaVersion = 1

// index is the full-text index of one documents folder.
type index struct {
	path string
	key  string // what the index must have been made for
	db   *sql.DB
}

// openIndex opens or creates the index at path. A file that is damaged, no
// database, or of another version is replaced.
func openIndex(ctx context.Context, path, docs string) (*index, error) {
	if path == "" {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "open index", Detail: "no path for the index of documents"}
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "open index", Detail: "the index " + path + " is not a file"}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, storageError("open index", err)
	}
	x := &index{path: path, key: fmt.Sprintf("schema %d analyser %d of %s", schemaVersion, analyserVersion, docs)}
	err := x.open(ctx)
	if damaged(err) {
		if err = x.replace(ctx); err == nil {
			return x, nil
		}
	}
	if err != nil {
		return nil, errors.Join(storageError("open index", err), x.close())
	}
	return x, nil
}

func (x *index) open(ctx context.Context) error {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(20000)", "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-16000)", "temp_store(MEMORY)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: uriPath(x.path), RawQuery: q.Encode()}).String())
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(4)
	x.db = db
	return x.prepare(ctx)
}

// uriPath gives a path the form that SQLite takes in a file URI; a drive letter
// needs a slash before it.
func uriPath(p string) string {
	p = filepath.ToSlash(p)
	if filepath.VolumeName(filepath.FromSlash(p)) != "" && !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return p
}

// prepare creates the tables, or drops and creates them if they are of another
// version or folder.
func (x *index) prepare(ctx context.Context) error {
	if key, err := x.storedKey(ctx, x.db); err != nil || key == x.key {
		return err
	}
	return x.write(ctx, func(tx *sql.Tx) error {
		key, err := x.storedKey(ctx, tx) // another process may have been faster
		if err != nil || key == x.key {
			return err
		}
		for _, table := range []string{"vocabulary", "words", "sections", "files", "meta"} {
			if _, err := tx.ExecContext(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO meta VALUES ('key', ?)", x.key)
		return err
	})
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// storedKey returns what the index was made for, "" if it is new.
func (x *index) storedKey(ctx context.Context, q queryer) (string, error) {
	var tables int
	if err := q.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").Scan(&tables); err != nil || tables == 0 {
		return "", err
	}
	var key string
	err := q.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'key'").Scan(&key)
	if errors.Is(err, sql.ErrNoRows) || sqliteCode(err) == sqlite3.SQLITE_ERROR { // a table meta of something else
		return "", nil
	}
	return key, err
}

func (x *index) write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// replace throws a damaged index away and starts a new one.
func (x *index) replace(ctx context.Context) error {
	if err := x.close(); err != nil && !damaged(err) {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(x.path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return x.open(ctx)
}

func (x *index) close() error {
	if x.db == nil {
		return nil
	}
	err := x.db.Close()
	x.db = nil
	return err
}

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// damaged reports whether an error says that the file is broken or no database.
// FTS5 reports a broken index as SQLITE_CORRUPT too.
func damaged(err error) bool {
	code := sqliteCode(err)
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// storageError words what went wrong with the index file for an operator.
func storageError(op string, err error) error {
	e := &morningai.Error{Code: morningai.CodeStorageFailed, Op: op, Detail: "the index of the documents cannot be used", Err: err,
		Hint: "the data folder must be writable"}
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL:
		e.Code, e.Hint = morningai.CodeStorageFull, "free some disk space"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		e.Code, e.Hint = morningai.CodeLocked, "another process is writing the index; try again"
	}
	return e
}

// statistics about the whole index that ranking needs.
func (x *index) sectionCount(ctx context.Context) (int, error) {
	var n int
	err := x.db.QueryRowContext(ctx, "SELECT count(*) FROM sections").Scan(&n)
	return n, err
}

// languages lists the languages of the documents.
func (x *index) languages(ctx context.Context) ([]language, error) {
	rows, err := x.db.QueryContext(ctx, "SELECT DISTINCT lang FROM files WHERE reason = '' ORDER BY lang")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var langs []language
	for rows.Next() {
		var lang language
		if err := rows.Scan(&lang); err != nil {
			return nil, err
		}
		langs = append(langs, lang)
	}
	return langs, rows.Err()
}

// title returns the title of a document, "" if there is none at the path.
func (x *index) title(ctx context.Context, path string) (string, error) {
	var title string
	err := x.db.QueryRowContext(ctx, "SELECT title FROM files WHERE path = ? AND reason = ''", path).Scan(&title)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return title, err
}

// frequency counts the sections that contain a term. The vocabulary is quick
// but may still count deleted sections, so small counts are made sure of.
func (x *index) frequency(ctx context.Context, term string) (int, error) {
	var n int
	err := x.db.QueryRowContext(ctx, "SELECT doc FROM vocabulary WHERE term = ?", term).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil || n > 32 {
		return n, err
	}
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM words WHERE words MATCH ?", quoteTerm(term)).Scan(&n)
	return n, err
}

// beginningWith returns terms of the documents that begin with a stem and have
// up to more characters besides.
func (x *index) beginningWith(ctx context.Context, stem string, more int) ([]string, error) {
	const most = 8
	rows, err := x.db.QueryContext(ctx, "SELECT term FROM vocabulary WHERE term > ?1 AND term < ?1 || char(1114111) AND length(term) <= length(?1) + ?2 AND instr(term, '_') = 0 LIMIT ?3",
		stem, more, most)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var terms []string
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	return terms, rows.Err()
}

// pairs returns, by character, the pairs of Han characters, or of one and kana,
// that the documents have. It reads all of them: it is for few sections.
func (x *index) pairs(ctx context.Context) (pairs map[rune][]string, err error) {
	rows, err := x.db.QueryContext(ctx, "SELECT term FROM vocabulary WHERE term >= char(0x3005) AND length(term) = 2")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	pairs = map[rune][]string{}
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		for i, r := range t {
			if scriptOf(r) == scriptHan && (i == 0 || !strings.HasPrefix(t, string(r))) {
				pairs[r] = append(pairs[r], t)
			}
		}
	}
	return pairs, rows.Err()
}

// quoteTerm makes a term a string of FTS5's query syntax, in which nothing has
// a meaning of its own.
func quoteTerm(term string) string { return `"` + strings.ReplaceAll(term, `"`, `""`) + `"` }

// matchAny builds the query for any of the terms. It is "" if there are none,
// which must not be handed to MATCH.
func matchAny(terms []string) string {
	var b strings.Builder
	for _, t := range terms {
		if t == "" || strings.ContainsRune(t, 0) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(" OR ")
		}
		b.WriteString(quoteTerm(t))
	}
	return b.String()
}

// search returns the ids of the sections that match any of the terms, the best
// by BM25 first.
func (x *index) search(ctx context.Context, terms []string, limit int) ([]int64, error) {
	match := matchAny(terms)
	if match == "" {
		return nil, nil
	}
	rows, err := x.db.QueryContext(ctx, "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 4.0, 3.0, 1.0, 0.7), rowid LIMIT "+strconv.Itoa(limit), match)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

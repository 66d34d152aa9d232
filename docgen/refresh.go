package docgen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"path"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// settle is how long after a change a file's time is trusted: clocks of file
	// systems are coarse, and a second change may leave the same time.
	settle = 2 * time.Second
	// batch is how many files one transaction takes, so that other processes
	// get their turn.
	batch = 128
)

type storedFile struct {
	id      int64
	size    int64
	mtimeNS int64
	readNS  int64
	hash    []byte
	reason  string
}

// prepared is a file that was read and analysed, ready to be written.
type prepared struct {
	candidate
	readNS int64
	hash   []byte
	reason string
	same   bool // the content is the stored one
	doc    document
	words  [][4]string
}

// refresh brings the index up to date with the folder: files of the same size
// and time are taken as unchanged, others are read, those of another content
// are replaced, and vanished ones removed. It reports files done and files to
// do. Processes may refresh at the same time; both end with the same index.
func (x *index) refresh(ctx context.Context, f *folder, progress func(done, total int)) ([]Skipped, error) {
	found, skipped, err := f.scan(ctx)
	if err != nil {
		return nil, err
	}
	stored, err := x.files(ctx)
	if err != nil {
		return nil, err
	}
	var todo []candidate
	present := make(map[string]bool, len(found))
	for _, c := range found {
		present[c.path] = true
		s, known := stored[c.path]
		if known && s.size == c.size && s.mtimeNS == c.mtimeNS && s.readNS-c.mtimeNS > int64(settle) {
			if s.reason != "" {
				skipped = append(skipped, Skipped{c.path, s.reason})
			}
			continue
		}
		todo = append(todo, c)
	}
	var gone []string
	for p := range stored {
		if !present[p] {
			gone = append(gone, p)
		}
	}
	if err := x.remove(ctx, gone); err != nil {
		return nil, err
	}
	more, err := x.update(ctx, f, todo, stored, progress)
	return append(skipped, more...), err
}

func (x *index) files(ctx context.Context) (map[string]storedFile, error) {
	rows, err := x.db.QueryContext(ctx, "SELECT id, path, size, mtime_ns, read_ns, hash, reason FROM files")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	stored := map[string]storedFile{}
	for rows.Next() {
		var s storedFile
		var p string
		if err := rows.Scan(&s.id, &p, &s.size, &s.mtimeNS, &s.readNS, &s.hash, &s.reason); err != nil {
			return nil, err
		}
		stored[p] = s
	}
	return stored, rows.Err()
}

func (x *index) remove(ctx context.Context, paths []string) error {
	for len(paths) > 0 {
		n := min(batch, len(paths))
		err := x.write(ctx, func(tx *sql.Tx) error {
			for _, p := range paths[:n] {
				if err := deleteFile(ctx, tx, p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		paths = paths[n:]
	}
	return nil
}

// update reads and analyses on all cores and writes in batches.
func (x *index) update(ctx context.Context, f *folder, todo []candidate, stored map[string]storedFile, progress func(done, total int)) ([]Skipped, error) {
	var skipped []Skipped
	workers := min(max(1, runtime.GOMAXPROCS(0)), 8)
	pool := make([]*analyser, workers)
	for i := range pool {
		pool[i] = newAnalyser()
	}
	total := len(todo)
	for done := 0; done < total; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := todo[done:min(done+batch, total)]
		ready := make([]prepared, len(part))
		var wg sync.WaitGroup
		for w := range min(workers, len(part)) {
			wg.Go(func() {
				for i := w; i < len(part); i += workers {
					ready[i] = prepareFile(f, part[i], stored[part[i].path], pool[w])
				}
			})
		}
		wg.Wait()
		for _, p := range ready {
			if p.reason != "" {
				skipped = append(skipped, Skipped{p.path, p.reason})
			}
		}
		err := x.write(ctx, func(tx *sql.Tx) error { return putFiles(ctx, tx, ready) })
		if err != nil {
			return nil, err
		}
		done += len(part)
		if progress != nil && total > batch {
			progress(done, total)
		}
	}
	return skipped, nil
}

func prepareFile(f *folder, c candidate, known storedFile, a *analyser) prepared {
	p := prepared{candidate: c, readNS: time.Now().UnixNano()}
	text, reason := f.read(c.path)
	sum := sha256.Sum256([]byte(reason + "\x00" + text))
	p.hash, p.reason = sum[:], reason
	if bytes.Equal(known.hash, p.hash) {
		p.same = true
		return p
	}
	if reason != "" {
		return p
	}
	p.doc = split(c.path, text)
	for i := range p.doc.sections {
		p.words = append(p.words, columns(a, c.path, p.doc.title, &p.doc.sections[i], p.doc.lang))
	}
	return p
}

// columns are the four texts of a section that the index takes: title and file
// name, headings, text, code.
func columns(a *analyser, name, title string, s *section, lang language) [4]string {
	prose, code := proseAndCode(s.body)
	return [4]string{
		a.terms(title+" \n "+titleFromName(name)+" \n "+path.Base(path.Dir(name)), lang),
		a.terms(strings.Join(append(s.parents[:len(s.parents):len(s.parents)], s.heading), " \n "), lang),
		a.terms(prose, lang),
		a.terms(code, langEnglish),
	}
}

func putFiles(ctx context.Context, tx *sql.Tx, ready []prepared) error {
	section, err := tx.PrepareContext(ctx, "INSERT INTO sections (file, position, level, part, heading, parents, anchor, body) VALUES (?,?,?,?,?,?,?,?)")
	if err != nil {
		return err
	}
	defer section.Close()
	words, err := tx.PrepareContext(ctx, "INSERT INTO words (rowid, title, headings, body, code) VALUES (?,?,?,?,?)")
	if err != nil {
		return err
	}
	defer words.Close()
	for i := range ready {
		p := &ready[i]
		// Another process may have written this file, the same content or an
		// older one, since it was compared.
		var hash []byte
		err := tx.QueryRowContext(ctx, "SELECT hash FROM files WHERE path = ?", p.path).Scan(&hash)
		if err != nil && err != sql.ErrNoRows {
			return err
		}
		if bytes.Equal(hash, p.hash) {
			_, err := tx.ExecContext(ctx, "UPDATE files SET size = ?, mtime_ns = ?, read_ns = ? WHERE path = ?", p.size, p.mtimeNS, p.readNS, p.path)
			if err != nil {
				return err
			}
			continue
		}
		if p.same {
			continue // changed by another process meanwhile; the next refresh sees to it
		}
		if hash != nil {
			if err := deleteFile(ctx, tx, p.path); err != nil {
				return err
			}
		}
		refs, err := json.Marshal(p.doc.refs)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "INSERT INTO files (path, size, mtime_ns, hash, read_ns, reason, lang, title, refs) VALUES (?,?,?,?,?,?,?,?,?)",
			p.path, p.size, p.mtimeNS, p.hash, p.readNS, p.reason, string(p.doc.lang), p.doc.title, string(refs))
		if err != nil {
			return err
		}
		file, err := res.LastInsertId()
		if err != nil {
			return err
		}
		for j, s := range p.doc.sections {
			parents, err := json.Marshal(s.parents)
			if err != nil {
				return err
			}
			res, err := section.ExecContext(ctx, file, s.position, s.level, s.part, s.heading, string(parents), s.anchor, s.body)
			if err != nil {
				return err
			}
			row, err := res.LastInsertId()
			if err != nil {
				return err
			}
			w := p.words[j]
			if _, err := words.ExecContext(ctx, row, w[0], w[1], w[2], w[3]); err != nil {
				return err
			}
		}
	}
	return nil
}

// deleteFile removes what the index has of a path.
func deleteFile(ctx context.Context, tx *sql.Tx, p string) error {
	for _, q := range []string{
		"DELETE FROM words WHERE rowid IN (SELECT id FROM sections WHERE file = (SELECT id FROM files WHERE path = ?))",
		"DELETE FROM sections WHERE file = (SELECT id FROM files WHERE path = ?)",
		"DELETE FROM files WHERE path = ?",
	} {
		if _, err := tx.ExecContext(ctx, q, p); err != nil {
			return err
		}
	}
	return nil
}

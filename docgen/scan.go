package docgen

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/RC918/morningai"
)

// MaxFileSize is the size in bytes over which a file is not a document.
const MaxFileSize = 4 << 20

// extensions of files that are documents.
var extensions = []string{".md", ".markdown", ".mdown", ".mkd", ".mdx"}

// skippedDirs are folders of other people's documents, and of examples for tests.
var skippedDirs = []string{"node_modules", "vendor", "testdata", "bower_components", "__pycache__", "site-packages"}

// Skipped is a file that looks like a document and is not used as one.
type Skipped struct {
	Path   string // relative to the documents folder, with slashes
	Reason string
}

// candidate is a file that looks like a document.
type candidate struct {
	path    string // relative to the root, with slashes
	size    int64
	mtimeNS int64
}

// folder is the documents folder. Files are opened through an os.Root, so that
// no link leads out of it, not even one made while it is read.
type folder struct {
	dir    string // as resolved, without links
	root   *os.Root
	layout layout
}

func openFolder(dir string) (*folder, error) {
	const op = "open documents"
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: op, Detail: "the documents folder has no absolute path", Err: err}
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(resolved); err == nil && !info.IsDir() {
			return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: op, Detail: "the documents folder " + abs + " is a file",
				Hint: "name the folder that holds the Markdown files"}
		}
	}
	if err != nil {
		return nil, &morningai.Error{Code: morningai.CodeNotFound, Op: op, Detail: "the documents folder " + abs + " cannot be opened",
			Hint: "name an existing folder of Markdown files", Err: reasonOf(err)}
	}
	root, err := os.OpenRoot(resolved)
	if err != nil {
		return nil, &morningai.Error{Code: morningai.CodeNotFound, Op: op, Detail: "the documents folder " + abs + " cannot be opened", Err: reasonOf(err)}
	}
	return &folder{dir: resolved, root: root, layout: layoutOf(resolved)}, nil
}

func (f *folder) close() error { return f.root.Close() }

// reasonOf is the cause of a path error without the path.
func reasonOf(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// scan lists the documents. Folders that cannot be read are reported, not
// fatal; only an unreadable root is an error.
func (f *folder) scan(ctx context.Context) (found []candidate, skipped []Skipped, err error) {
	seen := map[string]bool{}
	var links []string
	skip := func(p, reason string) { skipped = append(skipped, Skipped{p, reason}) }
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := fs.ReadDir(f.root.FS(), dir)
		if err != nil {
			if dir == "." {
				return &morningai.Error{Code: morningai.CodeNotFound, Op: "read documents", Detail: "the documents folder cannot be read", Err: reasonOf(err)}
			}
			skip(dir, "the folder cannot be read: "+reasonOf(err).Error())
		}
		for _, e := range entries {
			p := path.Join(dir, e.Name())
			switch {
			case !utf8.ValidString(p):
				if isDocument(p) {
					skip(strings.ToValidUTF8(p, "\uFFFD"), "the name is not UTF-8")
				}
			case e.IsDir():
				if f.excluded(p) {
					continue
				}
				if depth >= maxDepth {
					skip(p, "the folder is nested too deep")
					continue
				}
				if err := walk(p, depth+1); err != nil {
					return err
				}
			case e.Type()&fs.ModeSymlink != 0:
				links = append(links, p)
			case !isDocument(p):
			default:
				f.add(p, e, &found, skip)
				seen[p] = true
			}
		}
		return nil
	}
	if err := walk(".", 0); err != nil {
		return nil, nil, err
	}
	for _, p := range links {
		f.addLink(p, seen, &found, skip)
	}
	slices.SortFunc(found, func(a, b candidate) int { return strings.Compare(a.path, b.path) })
	return found, skipped, nil
}

const maxDepth = 64

func isDocument(p string) bool {
	return slices.Contains(extensions, strings.ToLower(path.Ext(p))) && !strings.HasPrefix(path.Base(p), ".")
}

// excluded reports whether a folder holds no sources: hidden, of others, or
// docs/faq, where answers are published.
func (f *folder) excluded(p string) bool {
	name := path.Base(p)
	return strings.HasPrefix(name, ".") || slices.Contains(skippedDirs, name) || strings.EqualFold(f.layout.repoPath(p), faqDir)
}

func (f *folder) add(p string, e fs.DirEntry, found *[]candidate, skip func(p, reason string)) {
	if !e.Type().IsRegular() {
		skip(p, "not a regular file")
		return
	}
	info, err := e.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist): // went away meanwhile
	case err != nil:
		skip(p, "cannot be read: "+reasonOf(err).Error())
	case info.Size() > MaxFileSize:
		skip(p, "larger than 4 MiB")
	default:
		*found = append(*found, candidate{p, info.Size(), info.ModTime().UnixNano()})
	}
}

// addLink takes a link to a document inside the folder that the walk has not
// met, as mounted configuration has them. Links to folders are not followed:
// what they lead to is either met anyway, or outside.
func (f *folder) addLink(p string, seen map[string]bool, found *[]candidate, skip func(p, reason string)) {
	if !isDocument(p) {
		return
	}
	target, err := filepath.EvalSymlinks(filepath.Join(f.dir, filepath.FromSlash(p)))
	if err != nil {
		skip(p, "a link that leads nowhere or in a circle")
		return
	}
	rel, err := filepath.Rel(f.dir, target)
	if err != nil || !filepath.IsLocal(rel) {
		skip(p, "a link that leads out of the documents folder")
		return
	}
	rel = filepath.ToSlash(rel)
	if seen[rel] || strings.HasPrefix(strings.ToLower(f.layout.repoPath(rel)), faqDir+"/") {
		return
	}
	seen[rel] = true
	info, err := f.root.Stat(filepath.FromSlash(p))
	switch {
	case err != nil:
		skip(p, "cannot be read: "+reasonOf(err).Error())
	case !info.Mode().IsRegular():
		skip(p, "not a regular file")
	case info.Size() > MaxFileSize:
		skip(p, "larger than 4 MiB")
	default:
		*found = append(*found, candidate{p, info.Size(), info.ModTime().UnixNano()})
	}
}

// read returns the text of a document, or the reason why it is none. It reads
// no more than MaxFileSize, whatever the file has grown to.
func (f *folder) read(p string) (text, reason string) {
	file, err := f.root.Open(filepath.FromSlash(p))
	if err != nil {
		return "", "cannot be read: " + reasonOf(err).Error()
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxFileSize+1))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return "", "cannot be read: " + reasonOf(err).Error()
	case len(data) > MaxFileSize:
		return "", "larger than 4 MiB"
	case bytes.IndexByte(data, 0) >= 0:
		return "", "binary: it contains NUL bytes"
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if !utf8.Valid(data) {
		if invalidBytes(data) > len(data)/1000 {
			return "", "not UTF-8"
		}
		data = bytes.ToValidUTF8(data, []byte("\uFFFD")) // a stray byte in a long text
	}
	if generated(data) {
		return "", "written by this program"
	}
	return string(data), ""
}

func invalidBytes(data []byte) (n int) {
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			n++
		}
		data = data[size:]
	}
	return n
}

// generatedEnd is how the documents of this package end.
var generatedEnd = regexp.MustCompile("\n---\n" + footerLine + "[^\n]+\n\n---\n\n\\*\\*Metadata\\*\\*:\n(?:- [^\n]*\n)*- Trace ID: `[^\n]*\n(?:- [^\n]*\n?)*\\s*$")

// generated reports whether a document ends the way those of this package do:
// an answer is no source for the next one, wherever it was saved.
func generated(data []byte) bool {
	tail := bytes.ReplaceAll(data[max(0, len(data)-8<<10):], []byte("\r\n"), []byte("\n"))
	return generatedEnd.Match(tail)
}

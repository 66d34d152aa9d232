package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/charmbracelet/x/term"
	"github.com/schollz/progressbar/v3"
)

// checkOut finds out before the work whether its result can be written.
func checkOut(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return usage(path+" is a folder", "name a file with --out")
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return usage("the folder of "+path+" does not exist", "create it first")
	}
	return nil
}

// writeOut writes the whole document or nothing: readers see the file that was
// there or the new one. What is not a regular file, such as /dev/stdout, is
// written to as it is.
func writeOut(path, document string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, []byte(document), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved // replace what the link names, not the link
	}
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(document)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// bar shows how far something is, on a terminal only.
type bar struct {
	w    io.Writer
	what string
	tty  bool
	bar  *progressbar.ProgressBar
}

func newBar(w io.Writer, what string) *bar {
	f, ok := w.(*os.File)
	return &bar{w: w, what: what, tty: ok && term.IsTerminal(f.Fd())}
}

// set shows that done of total are through.
func (b *bar) set(done, total int) {
	if !b.tty || total == 0 {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(b.what),
			progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
	}
	b.bar.ChangeMax(total)
	b.draw(b.bar.Set(done))
}

// clear takes the bar off the screen.
func (b *bar) clear() {
	if b.bar != nil {
		b.draw(b.bar.Clear())
	}
}

// draw stops drawing when the terminal is gone; the work goes on.
func (b *bar) draw(err error) {
	if err != nil {
		b.tty, b.bar = false, nil
	}
}

// describe says what is done now.
func (b *bar) describe(what string) {
	b.what = what
	if b.bar != nil {
		b.bar.Describe(what)
	}
}

// add shows that some more is through.
func (b *bar) add(n int) {
	if b.bar != nil {
		b.draw(b.bar.Add(n))
	}
}

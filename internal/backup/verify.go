package backup

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/RC918/morningai"
)

// Report is what a backup was found to hold when all of it was read.
type Report struct {
	Manifest
	Contents Contents
	Signed   bool
	Trusted  bool // signed by the key that was given
	Size     int64
	sum      []byte
	// signature is where the blocks after the manifest begin.
	signature int64
	// sums are those of the file after each block.
	sums [][]byte
}

// VerifyFile reads a whole backup, and returns what is in it. Everything that is
// wrong with it is an error: ErrDamaged, morningai.ErrNewerFormat, or, with a key,
// ErrUntrusted.
func VerifyFile(ctx context.Context, path string, key []byte) (_ *Report, err error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return verify(ctx, f, key)
}

func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, aboutFile("the backup", path, err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(aboutFile("the backup", path, errors.Join(err, fs.ErrInvalid)), f.Close())
	}
	return f, nil
}

func verify(ctx context.Context, f io.ReadSeeker, key []byte) (*Report, error) {
	return readAll(ctx, f, key, nil, func([]morningai.Record) error { return nil })
}

// readAll reads a file from its beginning. If it was read before, nothing of it
// may have changed.
func readAll(ctx context.Context, f io.ReadSeeker, key []byte, before *Report, each func([]morningai.Record) error) (*Report, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r, err := newReader(f)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if before != nil {
		r.known = before.sums
	}
	found, err := r.read(ctx, key, each)
	if err != nil {
		return nil, err
	}
	return &Report{Manifest: found.manifest, Contents: found.Contents, Signed: found.signed, Trusted: found.signed && key != nil,
		Size: r.at, sum: found.sum, signature: found.signature, sums: r.sums}, nil
}

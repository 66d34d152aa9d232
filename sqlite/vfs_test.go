package sqlite

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// faults is a layer between SQLite and the operating system that fails the
// chosen writes and syncs of the files in one folder. It is the default VFS of
// this test binary; folders that nobody has armed pass through.
type faults struct {
	mu      sync.Mutex
	folders map[string]*disk
	files   map[uintptr]*disk
	base    uintptr // the VFS below
	methods map[uintptr]uintptr
	orig    map[uintptr]lib.Tsqlite3_io_methods // by our copy
}

// disk decides about the files of one folder.
type disk struct {
	mu     sync.Mutex
	ops    int   // writes and syncs so far; armed, those of the kind that fails
	from   int   // the first that fails, from 1; 0: none
	count  int   // how many fail from there on
	write  int32 // what a failing write answers
	sync   int32 // what a failing sync answers; 0: syncs do not fail
	failed int
}

// refuse reports what to answer instead of doing it; 0 is to do it.
func (d *disk) refuse(code int32) int32 {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.from != 0 && code == 0 {
		return 0 // of the kind that does not fail
	}
	d.ops++
	if d.from == 0 || d.ops < d.from || d.ops >= d.from+d.count {
		return 0
	}
	d.failed++
	return code
}

func (d *disk) arm(from, count int, write, sync int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops, d.failed, d.from, d.count, d.write, d.sync = 0, 0, from, count, write, sync
}

func (d *disk) seen() (ops, failed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops, d.failed
}

func (d *disk) codes() (write, sync int32) {
	if d == nil {
		return 0, 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write, d.sync
}

var (
	theLayer  = faults{folders: map[string]*disk{}, files: map[uintptr]*disk{}, methods: map[uintptr]uintptr{}, orig: map[uintptr]lib.Tsqlite3_io_methods{}}
	layerOnce sync.Once
)

func layer() *faults { return &theLayer }

// register puts the layer in front of the operating system.
func (f *faults) register() {
	tls := libc.NewTLS()
	f.base = lib.Xsqlite3_vfs_find(tls, 0)
	const size = unsafe.Sizeof(lib.Tsqlite3_vfs{})
	shim := lib.Xsqlite3_malloc(tls, int32(size))
	copyMemory(shim, f.base, int(size))
	v := (*lib.Tsqlite3_vfs)(ptr(shim))
	name, err := libc.CString("faults")
	if err != nil {
		panic(err)
	}
	v.FzName = name
	v.FxOpen = address(faultyOpen)
	lib.Xsqlite3_vfs_register(tls, shim, 1)
}

// address returns a function in the form that the translated C code calls. It
// must be a function of the package: the garbage collector sees no address.
func address[F any](fn F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{fn}))
}

// call makes such an address callable again.
func call[F any](p uintptr) F {
	return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p}))
}

// copyMemory stands alone because the compiler (1.26) cannot inline a copy of
// constant size between two addresses.
//
//go:noinline
func copyMemory(to, from uintptr, n int) { copy(bytesAt(to, n), bytesAt(from, n)) }

// newDisk returns the disk under a fresh folder.
func newDisk(t *testing.T) (*disk, string) {
	t.Helper()
	dir := t.TempDir()
	d := &disk{}
	f := layer()
	layerOnce.Do(f.register)
	f.mu.Lock()
	f.folders[dir] = d
	f.mu.Unlock()
	return d, filepath.Join(dir, "tasks.db")
}

func faultyOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	f := layer()
	v := (*lib.Tsqlite3_vfs)(ptr(f.base))
	rc := call[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](v.FxOpen)(tls, f.base, name, file, flags, out)
	if rc != 0 || name == 0 {
		return rc
	}
	dir := filepath.Dir(libc.GoString(name))
	f.mu.Lock()
	defer f.mu.Unlock()
	var d *disk
	for folder, candidate := range f.folders {
		if dir == folder || strings.HasSuffix(dir, folder) {
			d = candidate
		}
	}
	if d == nil {
		return rc
	}
	f.files[file] = d
	methods := (*uintptr)(ptr(file))
	ours := f.methods[*methods]
	if ours == 0 {
		const size = unsafe.Sizeof(lib.Tsqlite3_io_methods{})
		ours = lib.Xsqlite3_malloc(tls, int32(size))
		copyMemory(ours, *methods, int(size))
		m := (*lib.Tsqlite3_io_methods)(ptr(ours))
		f.orig[ours] = *m
		f.methods[*methods] = ours
		m.FxWrite, m.FxSync, m.FxTruncate, m.FxClose = address(faultyWrite), address(faultySync), address(faultyTruncate), address(faultyClose)
	}
	*methods = ours
	return rc
}

func (f *faults) of(file uintptr) (*disk, lib.Tsqlite3_io_methods) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files[file], f.orig[*(*uintptr)(ptr(file))]
}

func faultyWrite(tls *libc.TLS, file, data uintptr, n int32, at int64) int32 {
	d, m := layer().of(file)
	w, _ := d.codes()
	if rc := d.refuse(w); rc != 0 {
		return rc
	}
	return call[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](m.FxWrite)(tls, file, data, n, at)
}

func faultySync(tls *libc.TLS, file uintptr, flags int32) int32 {
	d, m := layer().of(file)
	_, s := d.codes()
	if rc := d.refuse(s); rc != 0 {
		return rc
	}
	return call[func(*libc.TLS, uintptr, int32) int32](m.FxSync)(tls, file, flags)
}

func faultyTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	d, m := layer().of(file)
	w, _ := d.codes()
	if rc := d.refuse(w); rc != 0 {
		return rc
	}
	return call[func(*libc.TLS, uintptr, int64) int32](m.FxTruncate)(tls, file, size)
}

func faultyClose(tls *libc.TLS, file uintptr) int32 {
	f := layer()
	_, m := f.of(file)
	f.mu.Lock()
	delete(f.files, file)
	f.mu.Unlock()
	return call[func(*libc.TLS, uintptr) int32](m.FxClose)(tls, file)
}

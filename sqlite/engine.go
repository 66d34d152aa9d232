// Package sqlite is the embedded engine: tasks in one SQLite file, written by
// one process, without a server.
//
// Every write waits for the disk (see [WithSync]) before it is acknowledged;
// writes that wait at the same time share one commit. The order of ready tasks
// and the tasks that run are held in memory and rebuilt from the file at start.
// After a crash the file is consistent, everything acknowledged is in it, and
// what was running is queued again with its attempt recorded as lost. A claim
// does not wait for the disk but is in the next commit, which is made for it
// after a millisecond if no other is due: only an attempt that began a moment
// before the crash may leave no trace.
package sqlite

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
)

// Engine is a morningai.Engine on a SQLite file.
type Engine struct {
	cfg   config
	path  string
	lock  *fileLock
	names *names

	w       *conn // the writer goroutine's
	sql     writerSQL
	readers chan *reader

	reqs      chan *request
	poke      chan struct{} // wakes the writer for a refill
	tick      chan struct{} // wakes the clock to look again
	stop      chan struct{}
	writerEnd chan struct{}
	clockEnd  chan struct{}
	gate      sync.RWMutex   // held while a request is handed to the writer
	closed    bool           // guarded by gate
	snapshots sync.WaitGroup // those under way; gate is held to add one
	closeOnce sync.Once
	closeErr  error
	failed    atomic.Pointer[morningai.Error]

	era      int64  // crashes so far
	lastSeq  int64  // the writer's
	expiryN  int64  // the writer's
	listN    int64  // the writer's: the last row of claims
	buf      []byte // the writer's, to encode rows in
	last     *txn   // the writer's: room for the next transaction
	recent   recentIDs
	noted    recentIDs // keys of notes; the writer's
	own      *reader   // the writer's, on its connection
	maxPages int64
	tight    int // bytes of the largest request that found the disk full; 0: none since a probe of that size

	events   *eventLog
	erasures erasures
	journal  struct { // set at start
		id    morningai.ID
		since time.Time
	}

	// claimsMu guards the connection of claims; it may be taken under mu.
	claimsMu sync.Mutex
	// mu guards what follows. It is never held over a commit.
	mu         sync.Mutex
	claims     *reader // for claims; guarded by claimsMu besides
	cold       []*run  // whose first rows are to be read ahead
	readyTurn  int64   // grows when rows of ready tasks are worked on, and when they come back
	queues     map[string]*queue
	counts     map[countKey]int64
	kinds      map[morningai.NoteKind]noteKind
	running    map[int64]*entry
	byID       map[morningai.ID]*entry
	unlisted   []*entry // running, and no commit has written it down, in order of claim
	unmarked   []*entry // running without a row in leases, in order of claim
	orphans    map[*entry]struct{}
	sessions   map[morningai.SessionID]*session
	members    map[morningai.ID]morningai.Member
	waiters    waiterList
	cache      cache
	refills    []*run
	nextDue    int64 // the earliest scheduled task; 0 if none
	nextExpiry int64 // the earliest bucket; 0 if none
	rateWake   time.Time
	trim       map[string]bool // queues over WithMaxEnded
	traffic    traffic
}

type countKey struct {
	line   *line
	status status
	prio   int
}

var _ morningai.Engine = (*Engine)(nil)

// Open opens or creates the task file at path; its folder must exist. The
// file stays locked until Close or the end of the process; a file that is in
// use is a morningai.ErrLocked that names the holder, one that a newer version
// has written is a morningai.ErrNewerFormat, and one that is another program's
// database is refused without being changed.
func Open(ctx context.Context, path string, opts ...Option) (*Engine, error) {
	cfg := newConfig(opts)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, morningai.InvalidInput("open engine", morningai.FieldError{Location: "path", Message: "must not be empty"})
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "open engine", Detail: "the path of the task file is not a regular file",
			Hint: "give the path of a file inside an existing folder"}
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, path: path, lock: lock, names: newNames(),
		reqs: make(chan *request, 4096), poke: make(chan struct{}, 1), tick: make(chan struct{}, 1), stop: make(chan struct{}),
		writerEnd: make(chan struct{}), clockEnd: make(chan struct{}),
		queues: map[string]*queue{}, counts: map[countKey]int64{}, kinds: map[morningai.NoteKind]noteKind{}, running: map[int64]*entry{}, byID: map[morningai.ID]*entry{},
		orphans: map[*entry]struct{}{}, sessions: map[morningai.SessionID]*session{}, members: map[morningai.ID]morningai.Member{}, trim: map[string]bool{},
		cache: cache{rows: map[int64]*row{}},
	}
	if err := e.start(); err != nil {
		return nil, cannotOpen(path, joinErrors(err, joinErrors(e.closeFiles(), lock.release())))
	}
	go e.writeLoop()
	go e.clockLoop()
	return e, nil
}

// Capabilities implements morningai.Engine.
func (e *Engine) Capabilities() morningai.Capabilities {
	return morningai.Capabilities{Name: durable, Durable: durable, Reports: 512}
}

const durable = "sqlite"

// Close implements morningai.Engine. Tasks that still run are noted, so that
// the next start records their attempts as lost.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		e.gate.Lock()
		e.closed = true
		e.gate.Unlock()
		close(e.stop)
		e.snapshots.Wait() // those under way notice stop
		<-e.clockEnd
		close(e.reqs)
		<-e.writerEnd
		e.mu.Lock()
		e.waiters.wakeAll()
		e.mu.Unlock()
		e.events.close()
		e.closeErr = joinErrors(e.closeFiles(), e.lock.release())
	})
	if e.closeErr != nil {
		return storageError("close engine", e.closeErr)
	}
	return nil
}

func (e *Engine) closeFiles() error {
	var errs []error
	if e.readers != nil {
		for range cap(e.readers) {
			if r, ok := <-e.readers; ok && r != nil {
				errs = append(errs, r.c.close())
			}
		}
	}
	e.mu.Lock()
	if e.claims != nil {
		e.claimsMu.Lock()
		errs = append(errs, e.claims.c.close())
		e.claims = nil
		e.claimsMu.Unlock()
	}
	e.mu.Unlock()
	if e.w != nil {
		errs = append(errs, e.w.close())
		e.w = nil
	}
	return errors.Join(errs...)
}

// isClosed reports whether Close has begun.
func (e *Engine) isClosed() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// ready is the check that every call begins with.
func (e *Engine) ready(ctx context.Context) error {
	if e.isClosed() {
		return errClosed
	}
	return ctx.Err()
}

func (e *Engine) now() time.Time { return e.cfg.clock().UTC().Truncate(time.Microsecond) }

// look makes the clock goroutine compute its next moment again.
func (e *Engine) look() {
	select {
	case e.tick <- struct{}{}:
	default:
	}
}

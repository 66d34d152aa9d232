// Package morningaitest helps to test programs that use morningai: run tasks
// inline without a server, move a clock instead of waiting for it, and check
// what was enqueued.
//
// The tasks are on a real embedded engine in a temporary folder, and the
// handlers run on a real worker, so that what holds in a test holds in
// production: typed payloads, retries, durable steps, unique keys, cancels.
// Only time is different: it stands still until [Kit.Advance] moves it.
//
//	func TestWelcome(t *testing.T) {
//		kit := morningaitest.New(t)
//		declareHandlers(kit.App) // the program's own function
//		signUp(t.Context(), kit.App, "ada@example.com")
//		morningaitest.RequireEnqueued(t, kit.App, "welcome", morningaitest.InQueue("mail"))
//		if _, err := kit.Work(t.Context()); err != nil {
//			t.Fatal(err)
//		}
//	}
package morningaitest

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/sqlite"
)

// Kit is an app on a temporary engine whose clock stands still. Nothing runs
// except inside [Kit.Work] and [Run].
type Kit struct {
	// App takes handlers, middleware and tasks as in the program. Handlers are
	// declared before the first Work, which starts the app; the kit also stops
	// it.
	App *morningai.App

	engine *gatedEngine
	clock  *clock

	working sync.Mutex // one Work at a time
	started bool       // guarded by working
	closed  bool       // guarded by working
}

// New returns a kit for one test and closes it when the test ends. The options
// go to [morningai.New]; unless they say otherwise the app runs one handler at
// a time, in the order in which tasks become ready, and logs nothing.
func New(t testing.TB, opts ...morningai.AppOption) *Kit {
	t.Helper()
	kit, err := Open(context.Background(), t.TempDir(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kit.Close(); err != nil {
			t.Error(err)
		}
	})
	return kit
}

// closeGrace is how long a handler that still runs may go on after Close.
const closeGrace = time.Second

// Open is [New] without a test: the engine's file is in dir, and the caller
// closes the kit.
func Open(ctx context.Context, dir string, opts ...morningai.AppOption) (*Kit, error) {
	c := &clock{now: time.Now().UTC().Truncate(time.Millisecond)}
	inner, err := sqlite.Open(ctx, filepath.Join(dir, "tasks.db"), sqlite.WithClock(c.read), sqlite.WithSync(sqlite.SyncNormal))
	if err != nil {
		return nil, err
	}
	engine := newGatedEngine(inner, c)
	defaults := []morningai.AppOption{
		morningai.WithConcurrency(1), morningai.WithGrace(closeGrace), morningai.WithLogger(slog.New(slog.DiscardHandler)),
	}
	return &Kit{App: morningai.New(engine, append(defaults, opts...)...), engine: engine, clock: c}, nil
}

// Now is what the kit's clock shows. It begins at the time of [New].
//
// Times that the program computes, such as those given to [morningai.Delay] and
// [morningai.At], and the waits before retries, count from the moment of the
// call. The kit puts them as far ahead of its own clock, rounded up to 10 ms.
// Times read from tasks are the kit's.
func (k *Kit) Now() time.Time { return k.clock.read() }

// Advance moves the clock forward, so that tasks which wait for a time or for
// their retry, and limits by rate, become due for the next [Kit.Work]. It runs
// nothing itself. A negative d does nothing.
func (k *Kit) Advance(d time.Duration) {
	k.clock.advance(d)
	k.engine.changed()
}

// Work runs every task that is ready and has a handler, and what those tasks
// enqueue, until nothing is left to run, and returns how many attempts it has
// run. What a handler returns is in its task's record and not an error of Work.
//
// Tasks that are not due, in paused queues or over a limit are left. A task
// that always makes itself ready again, as with Snooze(0), keeps Work going
// until ctx ends. The first call starts the app, and returns what is wrong with
// its handlers and options.
func (k *Kit) Work(ctx context.Context) (attempts int, err error) {
	k.working.Lock()
	defer k.working.Unlock()
	if k.closed {
		return 0, &morningai.Error{Code: morningai.CodeClosed, Op: "work", Detail: "the kit has been closed"}
	}
	if !k.started {
		if err := k.App.Start(ctx); err != nil {
			return 0, err
		}
		k.started = true
	}
	return k.engine.work(ctx)
}

// Close stops the app and releases the engine. A handler that still runs has a
// second to return before its context is cancelled.
func (k *Kit) Close() error {
	k.working.Lock()
	defer k.working.Unlock()
	k.closed = true
	var stopErr error
	if k.started {
		stopErr = k.App.Stop(context.Background())
	}
	k.App.Close()
	return errors.Join(stopErr, k.engine.Close())
}

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(max(d, 0))
}

// granule hides how long the calls between taking a time and storing it took.
const granule = 10 * time.Millisecond

// translate turns a time by the program's clock into one by the kit's.
func (c *clock) translate(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	ahead := time.Until(t)
	if rest := ahead % granule; rest > 0 {
		ahead += granule - rest
	}
	return c.read().Add(max(ahead, 0))
}

package morningai

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What an app does unless an option says otherwise.
const (
	DefaultConcurrency = 32               // handlers at once
	DefaultGrace       = 25 * time.Second // for running handlers when the app stops
	DefaultLease       = 15 * time.Second // how long others wait before they call a silent worker dead
)

const (
	minLease       = 100 * time.Millisecond
	maxLease       = time.Hour
	maxGrace       = 24 * time.Hour
	maxQueueWeight = 10_000
)

// App is a [Client] that also runs tasks: it claims those whose types it has
// handlers for, runs up to its concurrency of them at once, and records what
// became of each.
type App struct {
	*Client

	logger      *slog.Logger
	node        string
	concurrency int
	slots       atomic.Int32 // handlers at once: concurrency, until it is changed
	queues      map[string]int
	grace       time.Duration
	lease       time.Duration
	sources     []Engine
	successes   slog.Level // at which attempts that succeeded are logged
	exclusive   []string   // types

	mu         sync.Mutex
	phase      appPhase
	declared   []declaration
	middleware []Middleware
	crew       *crew
	stopped    chan struct{} // closed when the first Stop is through
	stopErr    error         // written before that

	ended    tally
	watchers []func(Attempted) // fixed at the start
	around   StepMiddleware    // may be nil
}

type appPhase uint8

const (
	phaseNew appPhase = iota
	phaseStarted
	phaseStopping
)

type declaration struct {
	taskType   string
	handler    HandlerFunc
	middleware []Middleware
}

// AppOption configures an [App]. Wrong values make [App.Start] fail.
type AppOption func(*App)

// WithConcurrency bounds how many handlers run at once.
func WithConcurrency(n int) AppOption { return func(a *App) { a.concurrency = n } }

// WithQueues makes the app serve only the named queues, and gives each a weight
// from 1 to 10,000: while all have work, a queue of weight 6 gets twice the
// turns of one of weight 3. A queue without work leaves its turns to the
// others. Without this option all queues are served as one.
func WithQueues(weights map[string]int) AppOption {
	return func(a *App) { a.queues = maps.Clone(weights) }
}

// WithLogger sets where the app logs; [slog.Default] unless given.
func WithLogger(logger *slog.Logger) AppOption {
	return func(a *App) {
		if logger != nil {
			a.logger = logger
		}
	}
}

// WithSuccessLevel sets the level at which attempts that succeeded are logged;
// slog.LevelDebug unless given. Those that fail are logged as warnings and errors.
func WithSuccessLevel(level slog.Level) AppOption { return func(a *App) { a.successes = level } }

// WithGrace bounds how long running handlers may go on after [App.Stop] before
// their contexts are cancelled, and how long one may ignore its timeout before
// its attempt is failed without it.
func WithGrace(d time.Duration) AppOption { return func(a *App) { a.grace = d } }

// WithLease sets how long the other members wait, in unbroken contact with the
// engine, before they call this worker dead and its tasks go to others.
func WithLease(d time.Duration) AppOption { return func(a *App) { a.lease = d } }

// WithExclusive makes all tasks of these types exclusive where this app runs them,
// as [Exclusive] does for a single one.
func WithExclusive(taskTypes ...string) AppOption {
	return func(a *App) { a.exclusive = append(a.exclusive, taskTypes...) }
}

// WithNode names the process for people; the host's name unless given.
func WithNode(name string) AppOption { return func(a *App) { a.node = name } }

// WithSources makes the app run tasks of other engines too, with the same
// handlers and in the same slots. What becomes of a task is recorded with the
// engine that handed it out. The app enqueues and reads with its own engine
// alone. Whoever gives an engine closes it, after Stop.
func WithSources(engines ...Engine) AppOption {
	return func(a *App) { a.sources = append(a.sources, engines...) }
}

// New returns an app on the engine. It does nothing until Start. The caller
// closes the engine, after Stop.
func New(engine Engine, opts ...AppOption) *App {
	a := &App{
		Client:      NewClient(engine),
		logger:      slog.Default(),
		concurrency: DefaultConcurrency,
		grace:       DefaultGrace,
		lease:       DefaultLease,
		successes:   slog.LevelDebug,
		stopped:     make(chan struct{}),
	}
	for _, opt := range opts {
		opt(a)
	}
	if a.node == "" {
		a.node = hostName()
	}
	return a
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "unnamed" // the name is for people only
	}
	return cutText(name, MaxName)
}

// SetConcurrency changes how many handlers run at once while the app runs. Those
// that run already go on, also if there are more of them than that.
func (a *App) SetConcurrency(n int) error {
	if n < 1 || n > MaxConcurrency {
		return InvalidInput("set concurrency", FieldError{"concurrency", fmt.Sprintf("must be 1 to %d", MaxConcurrency)})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.concurrency = n
	if a.phase == phaseStarted {
		a.slots.Store(int32(n))
		for _, w := range a.crew.workers {
			w.notify()
			w.tighten()
		}
	}
	return nil
}

// Lease is how long others wait before they call this app's worker dead.
func (a *App) Lease() time.Duration { return a.lease }

// Grace is how long running handlers may go on after Stop.
func (a *App) Grace() time.Duration { return a.grace }

// HandleFunc declares the handler of a task type on raw JSON; see [Handle] for
// the typed form and for what its errors mean.
func (a *App) HandleFunc(taskType string, fn HandlerFunc, mw ...Middleware) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase != phaseNew {
		a.logger.Error("a handler was declared after the app was started and is not served", "type", taskType)
		return
	}
	a.declared = append(a.declared, declaration{taskType, fn, slices.Clone(mw)})
}

// Use adds middleware around every handler, declared before or after; the one
// added first is outermost. It has no effect once the app is started.
func (a *App) Use(mw ...Middleware) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.middleware = append(a.middleware, mw...)
}

// UseSteps has f called before each step that runs, and sets aside one given
// before. It has no effect once the app is started.
func (a *App) UseSteps(f StepMiddleware) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseNew {
		a.around = f
	}
}

// Types returns the task types the app has handlers for, sorted.
func (a *App) Types() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	types := make([]string, 0, len(a.declared))
	for i := range a.declared {
		types = append(types, a.declared[i].taskType)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Start registers the app with the engine and begins to run tasks. Errors of
// configuration, such as a type declared twice, surface here. ctx bounds the
// start only; the app runs until Stop. After an error Start may be called
// again. An app without handlers runs nothing, but takes part in noticing
// workers that died.
func (a *App) Start(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.phase {
	case phaseStarted:
		return &Error{Code: CodeWrongState, Op: "start", Detail: "the app was started before"}
	case phaseStopping:
		return &Error{Code: CodeClosed, Op: "start", Detail: "the app has been stopped", Hint: "make a new one"}
	}
	handlers, err := a.handlers()
	if err != nil {
		return err
	}
	if err := a.checkOptions(); err != nil {
		return err
	}
	a.slots.Store(int32(a.concurrency))
	c, err := hire(ctx, a, handlers)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	a.crew, a.phase = c, phaseStarted
	return nil
}

// handlers returns every handler with its middleware. Called with mu held.
func (a *App) handlers() (map[string]HandlerFunc, error) {
	out := make(map[string]HandlerFunc, len(a.declared))
	for _, d := range a.declared {
		_, twice := out[d.taskType]
		problem := ""
		switch {
		case !ValidName(d.taskType):
			problem = fmt.Sprintf("the task type %q is not a name: it %s", cutText(d.taskType, MaxName), NameRule)
		case twice:
			problem = fmt.Sprintf("two handlers are declared for the task type %s", d.taskType)
		case d.handler == nil:
			problem = fmt.Sprintf("the handler of the task type %s is nil", d.taskType)
		}
		if problem != "" {
			return nil, &Error{Code: CodeInvalidInput, Op: "start", Detail: problem}
		}
		out[d.taskType] = chain(chain(d.handler, d.middleware), a.middleware)
	}
	return out, nil
}

func (a *App) checkOptions() error {
	var bad []FieldError
	add := func(ok bool, location, message string) {
		if !ok {
			bad = append(bad, FieldError{location, message})
		}
	}
	add(a.engine != nil && !slices.Contains(a.sources, nil), "engine", "must not be nil")
	add(a.concurrency >= 1 && a.concurrency <= MaxConcurrency, "concurrency", fmt.Sprintf("must be 1 to %d", MaxConcurrency))
	add(a.lease >= minLease && a.lease <= maxLease, "lease", fmt.Sprintf("must be %v to %v", minLease, maxLease))
	add(a.grace >= 0 && a.grace <= maxGrace, "grace", fmt.Sprintf("must be 0s to %v", maxGrace))
	add(len(a.node) <= MaxName && validText(a.node), "node", fmt.Sprintf("must be at most %d bytes of UTF-8 without NUL", MaxName))
	for _, name := range a.exclusive {
		add(ValidName(name), "exclusive", "each type "+NameRule)
	}
	for name, weight := range a.queues {
		add(ValidName(name), "queues", "each name "+NameRule)
		add(weight >= 1 && weight <= maxQueueWeight, "queues", fmt.Sprintf("each weight must be 1 to %d", maxQueueWeight))
	}
	if len(bad) > 0 {
		return InvalidInput("start", slices.Compact(bad)...)
	}
	return nil
}

// Stop drains the app. No task is claimed any more; running handlers have the
// grace time, or until ctx ends, to finish. Then their contexts are cancelled,
// and what does not finish goes back to its queue without counting as a
// failure. Outcomes are recorded before Stop returns; if some could not be, or
// handlers ignored their contexts, the error says so. Every call waits until
// the first one is through, or until its own ctx ends. The engine stays open.
func (a *App) Stop(ctx context.Context) error {
	a.mu.Lock()
	first := a.phase != phaseStopping
	c := a.crew
	a.phase = phaseStopping
	a.mu.Unlock()
	if !first {
		select {
		case <-a.stopped:
			return a.stopErr
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c != nil {
		a.stopErr = c.stop(ctx)
	}
	a.pump.release()
	close(a.stopped)
	return a.stopErr
}

// Execute runs the handler of a granted task in the calling goroutine, under
// ctx, and returns the outcome without recording it. It is for those who claim
// and finish tasks themselves, such as tests; an app that was started does
// both. Steps, progress and log lines are recorded as always. The error says
// that there is no outcome, because the app has no handler for the type or its
// declarations are wrong.
func (a *App) Execute(ctx context.Context, g Grant) (Report, error) {
	a.mu.Lock()
	handlers, err := a.handlers()
	a.mu.Unlock()
	if err != nil {
		return Report{}, err
	}
	handler := handlers[g.Task.Type]
	if handler == nil {
		return Report{}, &Error{Code: CodeInvalidInput, Op: "execute", Detail: "the app has no handler for the task's type"}
	}
	e := newExecution(a, handler, &g)
	e.begin(ctx)
	var report Report
	e.invoke(func(e *execution, end *attemptEnd) {
		if ctx.Err() != nil && end.err != nil && end.cut == interruptNone {
			end.cut = interruptDrain // as when an app stops
		}
		report = e.report(end)
	})
	return report, e.flushLines(ctx)
}

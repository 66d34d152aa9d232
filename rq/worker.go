package rq

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
)

// Handler runs a job. What it returns is written as JSON, or as a pickle of the
// same plain value if the job came as one. An error fails the job, which RQ tries
// again if it has retries left. The context is cancelled when the job's timeout is
// over, when the job is stopped, and when the worker is told to give it up.
type Handler func(ctx context.Context, job *Job) (any, error)

// WorkerConfig says what a worker does.
type WorkerConfig struct {
	Name   string   // in RQ's list of workers; made if ""
	Queues []string // the first one that has work is served
	// Handlers run jobs by the function that they call.
	Handlers map[string]Handler
	// Otherwise runs those of every other function; nil leaves them where they are.
	Otherwise Handler
	// Route is the queue that jobs go to which this worker cannot run: of a function
	// without a handler, with arguments that are not plain, or with callbacks in
	// Python. "" leaves them in their queue for a Python worker.
	Route       string
	Burst       bool         // end when there is nothing left to do
	NoScheduler bool         // leave jobs that are due to other schedulers
	Logger      *slog.Logger // slog.Default() if nil
}

// Worker takes the place of one Python worker: to RQ's commands, to `rq info` and
// to jobs it looks the same. It runs one job at a time; more at once takes more
// workers.
type Worker struct {
	client *Client
	cfg    WorkerConfig
	log    *slog.Logger
	number string // what the scheduler's lock is held with

	mu       sync.Mutex
	current  *run
	stopping bool          // no other job is begun
	nudge    chan struct{} // holds a token when stopping was set
	passed   map[string]bool
	told     map[string]bool // functions that the log has been told of
}

// NewWorker returns a worker. The error is a morningai.ErrInvalidInput if the
// configuration is wrong.
func (c *Client) NewWorker(cfg WorkerConfig) (*Worker, error) {
	var bad []morningai.FieldError
	if len(cfg.Queues) == 0 {
		bad = append(bad, morningai.FieldError{Location: "queues", Message: "must name at least one"})
	}
	for _, q := range append(cfg.Queues[:len(cfg.Queues):len(cfg.Queues)], cfg.Route) {
		if q != cfg.Route && !validQueue(q) || q == cfg.Route && q != "" && !validQueue(q) {
			bad = append(bad, morningai.FieldError{Location: "queues", Message: "each must be 1 to 256 bytes of text in one line"})
		}
	}
	for _, q := range cfg.Queues {
		if q == cfg.Route {
			bad = append(bad, morningai.FieldError{Location: "route", Message: "must be another queue than those that the worker serves"})
		}
	}
	for f, h := range cfg.Handlers {
		if !ValidFunc(f) || h == nil {
			bad = append(bad, morningai.FieldError{Location: "handlers", Message: "must be functions by import paths such as app.tasks.resize"})
		}
	}
	if len(cfg.Handlers) == 0 && cfg.Otherwise == nil {
		bad = append(bad, morningai.FieldError{Location: "handlers", Message: "must be at least one"})
	}
	if cfg.Name == "" {
		cfg.Name = fmt.Sprintf("morningai-%08x%08x", rand.Uint32(), rand.Uint32())
	}
	if !ValidID(cfg.Name) {
		bad = append(bad, morningai.FieldError{Location: "name", Message: "must be 1 to 256 of the characters A-Z a-z 0-9 _ -"})
	}
	if len(bad) > 0 {
		return nil, morningai.InvalidInput("rq worker", bad...)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Worker{client: c, cfg: cfg, log: cfg.Logger.With("worker", cfg.Name), number: fmt.Sprint(100_000_000 + rand.Uint32N(900_000_000)),
		nudge: make(chan struct{}, 1), passed: map[string]bool{}, told: map[string]bool{}}, nil
}

// Name is the worker's in RQ's list.
func (w *Worker) Name() string { return w.cfg.Name }

var (
	//go:embed lua/worker.lua
	workerLua string
	//go:embed lua/take.lua
	takeLua string
	//go:embed lua/run.lua
	runLua string
	//go:embed lua/maintain.lua
	maintainLua string
)

var (
	scriptWorker   = redis.NewScript(commonLua + workerLua)
	scriptTake     = redis.NewScript(commonLua + takeLua)
	scriptRun      = redis.NewScript(commonLua + runLua)
	scriptMaintain = redis.NewScript(commonLua + maintainLua)
)

const (
	pollBusy = 20 * time.Millisecond // after a job: there may be more
	pollMost = 250 * time.Millisecond
	awayMost = 2 * time.Second // between tries while Redis is away
)

// Run works until ctx ends, a shutdown command comes, or, with Burst, nothing is
// left. A job that runs then is finished first. While Redis is away it waits; a
// job that has ended meanwhile is recorded afterwards. It returns an error if the
// worker could not be put on record.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.birth(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { w.listen(ctx) })
	others.Go(func() { w.keepHouse(ctx) })
	w.work(ctx)
	cancel()
	others.Wait()
	return w.death()
}

// Stop has the worker end after the job that it runs, as a shutdown command does.
func (w *Worker) Stop() {
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

func (w *Worker) isStopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopping
}

// work takes one job after another.
func (w *Worker) work(ctx context.Context) {
	pause, failing := pollBusy, false
	for ctx.Err() == nil && !w.isStopping() {
		did, err := w.once(ctx)
		switch {
		case err != nil:
			if !failing && ctx.Err() == nil {
				w.log.Warn("RQ's queues cannot be read, trying again", "error", err)
			}
			failing, pause = true, min(max(2*pause, pollMost), awayMost)
		case did:
			failing, pause = false, pollBusy
			continue
		case w.cfg.Burst:
			return
		default:
			failing, pause = false, min(2*pause, pollMost)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-w.nudge:
		}
		timer.Stop()
	}
}

// once looks for a job and runs it. It reports whether it found anything to do.
func (w *Worker) once(ctx context.Context) (bool, error) {
	args := append([]string{"peek", decimal(len(w.cfg.Queues))}, w.cfg.Queues...)
	for id := range w.passed {
		args = append(args, id)
	}
	reply, err := w.client.eval(ctx, scriptTake, args...)
	if err != nil || len(reply) < 3 {
		return false, err
	}
	queue, id, hash := word(reply[0]), word(reply[1]), pairs(reply[2])
	if len(hash) == 0 {
		_, err := w.client.eval(ctx, scriptTake, "drop", queue, id)
		return true, err
	}
	job := parseHash(id, hash)
	job.Queue = queue
	handler, reason := w.handlerOf(job)
	if handler == nil {
		return true, w.pass(ctx, job, reason)
	}
	return true, w.begin(ctx, job, handler)
}

// handlerOf returns what runs a job, or why nothing here can.
func (w *Worker) handlerOf(job *Job) (Handler, string) {
	h := w.cfg.Handlers[job.Func]
	if h == nil {
		h = w.cfg.Otherwise
	}
	switch {
	case h == nil:
		return nil, "no handler of this worker runs its function"
	case !ValidID(job.ID):
		return nil, "its id is not one that every version of RQ accepts"
	case job.Unreadable != nil:
		return nil, "its arguments are " + job.Unreadable.Error()
	case len(job.callbacks) > 0:
		return nil, "it calls back into Python when it ends"
	}
	return h, ""
}

const mostPassed = 2000

// pass leaves a job to Python workers.
func (w *Worker) pass(ctx context.Context, job *Job, reason string) error {
	if key := job.Func + "\x00" + reason; !w.told[key] && len(w.told) < mostPassed {
		w.told[key] = true
		w.log.Warn("a job is left to Python workers", "job", job.ID, "queue", job.Queue, "function", job.Func, "reason", reason, "route", w.cfg.Route)
	}
	if w.cfg.Route != "" && w.cfg.Route != job.Queue && ValidID(job.ID) {
		_, err := w.client.eval(ctx, scriptTake, "route", job.Queue, job.ID, w.cfg.Route)
		return err
	}
	if len(w.passed) >= mostPassed {
		w.passed = map[string]bool{} // most of them are gone by now
	}
	w.passed[job.ID] = true
	return nil
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown" // for people only
	}
	return name
}

func (w *Worker) onRecord(ctx context.Context, what string) ([]any, error) {
	args := append([]string{what, w.cfg.Name, decimal(len(w.cfg.Queues))}, w.cfg.Queues...)
	return w.client.eval(ctx, scriptWorker, append(args, "pid", decimal(os.Getpid()), "hostname", hostName(), "ip_address", "", "version", "1.13.0", "python_version", "go")...)
}

func (w *Worker) birth(ctx context.Context) error {
	reply, err := w.onRecord(ctx, "birth")
	if err != nil {
		return err
	}
	if word(reply[0]) == "taken" {
		return &morningai.Error{Code: morningai.CodeConflict, Op: "rq worker", Detail: "a worker of this name is at work",
			Hint: "give another name, or wait until RQ has forgotten one that died, which takes eight minutes"}
	}
	return nil
}

func (w *Worker) death() error {
	ctx := context.Background()
	for _, q := range w.cfg.Queues {
		if _, err := w.client.eval(ctx, scriptMaintain, "unlock", q, w.number); err != nil {
			return unrecorded(err)
		}
	}
	_, err := w.onRecord(ctx, "death")
	return unrecorded(err)
}

// unrecorded is nil while Redis is away: RQ forgets the worker by itself.
func unrecorded(err error) error {
	if errors.Is(err, morningai.ErrUnavailable) {
		return nil
	}
	return err
}

// listen carries out commands until ctx ends.
func (w *Worker) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = w.client.conn.Subscribe(ctx, "rq:pubsub:"+w.cfg.Name, w.obey) // what is wrong with Redis is told by the loop that works
		timer := time.NewTimer(pollMost)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (w *Worker) obey(message string) {
	var order command
	if err := json.Unmarshal([]byte(message), &order); err != nil {
		w.log.Warn("a command that cannot be read was ignored")
		return
	}
	switch order.Command {
	case "shutdown":
		w.log.Info("told to shut down")
		w.Stop()
	case "kill-horse":
		w.interrupt("", errKilled)
	case "stop-job":
		w.interrupt(order.JobID, errStopped)
	}
}

// interrupt ends the job under way, if it is the one meant.
func (w *Worker) interrupt(id string, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil && (id == "" || id == w.current.job.ID) {
		w.current.cancel(why)
	}
}

const (
	houseEvery    = time.Second
	beatEvery     = 10
	cleanEvery    = 600
	cleanedLate   = "Moved to FailedJobRegistry, due to AbandonedJobError: the worker that ran the job is gone"
	cleanedUnused = "Moved to FailedJobRegistry, due to AbandonedJobError: the job was stuck in the intermediate queue"
)

// keepHouse beats, moves what is due and cleans up, until ctx ends. What fails
// for Redis is tried again with the next tick.
func (w *Worker) keepHouse(ctx context.Context) {
	ticker := time.NewTicker(houseEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		if n%beatEvery == 0 && !w.isBusy() {
			_, _ = w.onRecord(ctx, "beat")
		}
		for _, q := range w.cfg.Queues {
			if !w.cfg.NoScheduler {
				_, _ = w.client.eval(ctx, scriptMaintain, "due", q, w.number)
			}
			if n%cleanEvery == 0 {
				w.clean(ctx, q)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Worker) clean(ctx context.Context, queue string) {
	reply, err := w.client.eval(ctx, scriptMaintain, "clean", queue, packTrace(cleanedLate), packTrace(cleanedUnused))
	if err != nil {
		return
	}
	for _, id := range words([]any(reply)) {
		w.log.Warn("the worker of a job is gone", "job", id, "queue", queue)
	}
}

func (w *Worker) isBusy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current != nil
}

package rq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// run is a job under way.
type run struct {
	job     *Job
	started string // as it was written
	at      time.Time
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when the handler has returned
	value   any
	err     error
	trace   string // of a panic
}

var (
	errStopped = errors.New("the job was stopped")
	errKilled  = errors.New("the job was killed by a command")
	errTimeout = errors.New("the job took longer than its timeout")
)

const (
	runBeat  = 10 * time.Second
	runGrace = 10 * time.Second // for a handler whose context has ended

	lastTries = 10 // to record an end, of a worker that is to end
)

// begin starts a job, waits for its end, and records it.
func (w *Worker) begin(ctx context.Context, job *Job, handler Handler) error {
	now := w.client.now()
	reply, err := w.client.conn.Eval(ctx, scriptTake, nil, unix(now), stamp(now), "start", job.Queue, job.ID, w.cfg.Name)
	if err != nil {
		// It may have been started: then it is ours, and nobody else runs it.
		if !w.startedAt(job.ID, stamp(now)) {
			return err
		}
	} else if word(reply[0]) != "started" {
		return nil
	}
	// The end of the worker's own context does not end the job.
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r := &run{job: job, started: stamp(now), at: time.Now(), cancel: cancel, ended: make(chan struct{})}
	job.Status, job.StartedAt, job.Worker = Started, now, w.cfg.Name
	w.mu.Lock()
	w.current = r
	w.mu.Unlock()
	limit := make(<-chan time.Time)
	if job.Timeout > 0 {
		timer := time.NewTimer(job.Timeout)
		defer timer.Stop()
		limit = timer.C
	}
	go r.call(runCtx, handler)
	err = w.attend(ctx, runCtx, r, limit)
	w.mu.Lock()
	w.current = nil
	w.mu.Unlock()
	<-r.ended // a handler that ignores its context keeps the worker
	return err
}

// startedAt finds out whether a start whose answer was lost has taken place.
func (w *Worker) startedAt(id, at string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		reply, err := w.client.conn.Read(ctx, []string{"HMGET", jobKey(id), "worker_name", "started_at"})
		if err == nil {
			h := words(reply[0])
			return h[0] == w.cfg.Name && h[1] == at
		}
		pause(ctx, pollMost)
	}
	return false
}

func (r *run) call(ctx context.Context, handler Handler) {
	defer close(r.ended)
	defer func() {
		if v := recover(); v != nil {
			r.err = fmt.Errorf("panic: %v", v)
			r.trace = string(debug.Stack())
		}
	}()
	r.value, r.err = handler(ctx, r.job)
}

// attend keeps a job alive until it ends, or has been told to and does not.
func (w *Worker) attend(worker, ctx context.Context, r *run, limit <-chan time.Time) error {
	ticker := time.NewTicker(runBeat)
	defer ticker.Stop()
	told := ctx.Done()
	var grace <-chan time.Time
	for {
		select {
		case <-r.ended:
			return w.record(worker, ctx, r, r.err)
		case <-limit:
			limit = nil
			r.cancel(errTimeout)
		case <-told:
			told = nil
			timer := time.NewTimer(runGrace)
			defer timer.Stop()
			grace = timer.C
		case <-grace:
			return w.record(worker, ctx, r, context.Cause(ctx))
		case <-ticker.C:
			reply, err := w.keep(r, "beat")
			if err == nil && word(reply[0]) == "lost" {
				w.log.Warn("a running job was given to another worker or has been lost; what becomes of it here is dropped", "job", r.job.ID)
				r.cancel(errKilled)
			}
		}
	}
}

func (w *Worker) keep(r *run, what string, more ...string) ([]any, error) {
	took := strconv.FormatFloat(time.Since(r.at).Seconds(), 'f', 6, 64)
	return w.client.eval(context.Background(), scriptRun, append([]string{what, r.job.ID, r.job.Queue, w.cfg.Name, r.started, took}, more...)...)
}

// record tells RQ how a job has ended, for as long as Redis is away too: what was
// done is not to be done again. A worker that is to end tries for a while more.
func (w *Worker) record(worker, ctx context.Context, r *run, failure error) error {
	what, text, status := "finish", "", ""
	if cause := context.Cause(ctx); cause != nil && failure != nil {
		failure = cause
	}
	if failure == nil {
		var err error
		if text, err = r.result(); err != nil {
			failure = fmt.Errorf("the result cannot be written: %w", err)
		}
	}
	if failure != nil {
		what, text = "fail", packTrace(r.traceback(failure))
		if errors.Is(failure, errStopped) {
			status = "stopped"
		}
	}
	left := lastTries
	for wait, told := pollMost, false; ; wait = min(2*wait, awayMost) {
		reply, err := w.keep(r, what, text, status)
		if err == nil {
			w.report(r, word(reply[0]), failure)
			return nil
		}
		if worker.Err() != nil {
			left--
		}
		if !errors.Is(err, morningai.ErrUnavailable) || left == 0 {
			return err
		}
		if !told {
			told = true
			w.log.Warn("a job has ended while Redis is away; it is recorded when it is back", "job", r.job.ID, "error", err)
		}
		pause(context.Background(), wait)
	}
}

func (w *Worker) report(r *run, became string, failure error) {
	attrs := []any{"job", r.job.ID, "queue", r.job.Queue, "function", r.job.Func, "took", time.Since(r.at)}
	switch {
	case became == "lost" || became == "gone":
		w.log.Warn("the end of a job was dropped: it is gone from Redis, or another worker has it", attrs...)
	case failure != nil:
		w.log.Warn("job failed", append(attrs, "became", became, "error", failure)...)
	default:
		w.log.Info("job finished", attrs...)
	}
}

func (r *run) result() (string, error) {
	var value json.RawMessage
	switch v := r.value.(type) {
	case nil:
	case json.RawMessage:
		value = v
	default:
		var err error
		if value, err = json.Marshal(v); err != nil {
			return "", err
		}
	}
	if len(value) > 0 && !json.Valid(value) {
		return "", errors.New("it is not JSON")
	}
	return r.job.serializer.packResult(value)
}

// traceback is in the form that Python shows, with the error as its last line.
func (r *run) traceback(err error) string {
	name := "HandlerError"
	switch {
	case errors.Is(err, errStopped):
		name = "StoppedJobError"
	case errors.Is(err, errTimeout):
		name = "rq.timeouts.JobTimeoutException"
	case errors.Is(err, errKilled):
		name = "AbandonedJobError"
	}
	var b strings.Builder
	b.WriteString("Traceback (most recent call last):\n  Handler of " + r.job.Func + " in Go\n")
	if r.trace != "" {
		b.WriteString(r.trace + "\n")
	}
	b.WriteString(name + ": " + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " ") + "\n")
	return b.String()
}

func jobKey(id string) string { return "rq:job:" + id }

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

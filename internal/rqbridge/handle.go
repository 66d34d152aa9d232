package rqbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/rq"
)

// Codes of the errors of tasks that RQ has run.
const (
	codeFailed     = "rq_failed"      // the function has raised an exception
	codeWorkerLost = "rq_worker_lost" // its worker died while it ran
	codeTimeout    = morningai.ErrorCodeTimeout
	codeCanceled   = "rq_canceled" // canceled or stopped in RQ
	codeDeleted    = "rq_deleted"  // removed from RQ before it had ended, or before its end was seen
	codeConflict   = "rq_conflict" // a job of another program has the id
)

const (
	// resultKept is how long RQ keeps a result that was not recorded yet.
	resultKept  = 7 * 24 * time.Hour
	cancelEvery = time.Second
	sendLeast   = 100 * time.Millisecond
	sendMost    = 2 * time.Second
)

// delivery is one attempt of a task: its job, from the sending to the end.
type delivery struct {
	b     *Bridge
	task  *morningai.Task
	grant grant
	spec  rq.Spec
	f     *follow

	shown      progress
	unrecorded bool // the mark of the delivery has still to be kept
	begun      bool // the job may have started
	canceling  bool
}

// progress is what readers of the task see.
type progress struct {
	Status        rq.Status `json:"rq_status"`
	MaybeRepeated bool      `json:"maybe_repeated,omitempty"`
	ResultLost    bool      `json:"result_lost,omitempty"`
}

func (b *Bridge) handle(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
	b.mu.Lock()
	g, ok := b.granted[task.ID]
	b.mu.Unlock()
	if !ok {
		return nil, errors.New("the task was given back")
	}
	d := &delivery{b: b, task: task, grant: g}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	// Its own job is what a task has in RQ: delivered before, by whoever had the
	// task then, or now.
	err := d.send(ctx)
	if err != nil && !(ctx.Err() != nil && b.isCanceled(task.ID)) { // what is canceled may be in RQ all the same
		return nil, d.judge(err)
	}
	var untrack func()
	d.f, untrack = b.track(d.spec.ID)
	defer untrack()
	result, err := d.follow(ctx)
	return result, d.judge(err)
}

func (d *delivery) prepare() error {
	p, ok := read(d.task.Payload)
	var args []json.RawMessage
	var kwargs map[string]json.RawMessage
	if !ok || json.Unmarshal(p.Args, &args) != nil || json.Unmarshal(p.Kwargs, &kwargs) != nil {
		return forGood(morningai.ErrorCodePayload, "the payload is not one of RQ")
	}
	d.spec = rq.Spec{ID: d.task.ID.String(), Queue: d.task.Queue, Func: d.grant.function, Timeout: d.grant.timeout.Truncate(time.Second),
		ResultTTL: resultKept, Meta: map[string]any{"morningai_trace_id": d.task.TraceID.String()}}
	if d.spec.Timeout == 0 {
		d.spec.Timeout = time.Second
	}
	for _, v := range args {
		d.spec.Args = append(d.spec.Args, v)
	}
	d.spec.Kwargs = make(map[string]any, len(kwargs))
	for k, v := range kwargs {
		d.spec.Kwargs[k] = v
	}
	if json.Unmarshal(d.task.Progress, &d.shown) != nil {
		d.shown = progress{} // there is none yet
	}
	d.shown.Status = ""
	d.begun = d.grant.memo.begun
	d.shown.MaybeRepeated = d.shown.MaybeRepeated || d.grant.memo.repeated
	if n := d.task.MaxAttempts; n != morningai.DefaultMaxAttempts {
		d.spec.Retries = n - 1 // RQ's own
	}
	return nil
}

// send delivers the job, or finds that it is there. While Redis is away it waits.
func (d *delivery) send(ctx context.Context) error {
	for wait := sendLeast; ; wait = min(2*wait, sendMost) {
		lost := d.grant.known.Sender != ""
		// A cancel in the middle must find what was sent before it: the call is
		// waited for, and bounded by itself.
		m, status, err := d.b.sender.Send(context.WithoutCancel(ctx), d.spec, d.task.Life, d.grant.known)
		if err == nil {
			if m != d.grant.known {
				d.sent(ctx, m, status, lost)
				return nil
			}
			if d.grant.memo.repeated { // told of the attempt that was superseded when Redis lost it
				d.warn(ctx)
				d.record(ctx)
			}
			d.show(ctx, status)
			return nil
		}
		if !errors.Is(err, morningai.ErrUnavailable) {
			return err
		}
		if pause(ctx, wait); ctx.Err() != nil {
			return ctx.Err() // whether the job is in RQ is open
		}
	}
}

// sent takes note of a delivery. again says that an earlier one is lost.
func (d *delivery) sent(ctx context.Context, m rq.Mark, status rq.Status, again bool) {
	d.grant.deliveries++
	d.grant.known, d.unrecorded = m, true
	// An attempt before this one has delivered the job, and what it has recorded of
	// that is lost too.
	forgotten := d.f == nil && !again && d.task.Life == 1 && d.task.Attempt > 1 && status == rq.Queued
	if again || forgotten {
		unknown := d.f == nil && d.grant.memo.life == 0 // nobody here has seen the job
		d.shown.MaybeRepeated = d.shown.MaybeRepeated || d.begun || unknown
		d.warn(ctx)
		d.begun = false
		d.shown.Status = ""
	}
	d.remember()
	d.record(ctx)
	d.show(ctx, status)
}

func (d *delivery) warn(ctx context.Context) {
	morningai.Logger(ctx).Warn("Redis had lost the job, and it was delivered to RQ again", "maybe_repeated", d.shown.MaybeRepeated)
}

func (d *delivery) remember() {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	if len(d.b.memos) >= mostMemos*len(d.b.apps) {
		clear(d.b.memos)
	}
	d.b.memos[d.task.ID] = memo{d.task.Life, d.grant.known, d.begun, d.shown.MaybeRepeated}
}

// record keeps the mark of the delivery with the task, so that whoever gets the
// task next can tell a job that is lost from one that was removed. The job
// carries it too; so a Redis that is being repaired is tried again later.
func (d *delivery) record(ctx context.Context) {
	data, err := json.Marshal(d.grant.known)
	if err != nil {
		return // two plain fields are always written
	}
	points := []morningai.Checkpoint{{Lease: d.grant.lease, Kind: morningai.CheckpointStep,
		Name: stepName(d.task.Life, d.grant.deliveries), Data: data}}
	if d.shown.MaybeRepeated {
		points = append(points, morningai.Checkpoint{Lease: d.grant.lease, Kind: morningai.CheckpointRepeat})
	}
	errs, err := d.b.engine.Checkpoint(ctx, points)
	d.unrecorded = errors.Join(append(errs, err)...) != nil
}

// show tells readers where the job is. That it fails is the reader's loss alone.
func (d *delivery) show(ctx context.Context, status rq.Status) {
	if d.shown.Status == status || status == "" {
		return
	}
	d.shown.Status = status
	_ = morningai.ReportProgress(ctx, d.shown)
}

// follow waits for the end of the job. A cancel of the task is one of the job,
// whose end is waited for all the same.
func (d *delivery) follow(ctx context.Context) (json.RawMessage, error) {
	live := ctx
	ticker := time.NewTicker(cancelEvery)
	defer ticker.Stop()
	for {
		select {
		case l := <-d.f.updates:
			over, result, err := d.seen(live, l)
			if over {
				return result, err
			}
		case <-live.Done():
			if d.canceling || !d.b.isCanceled(d.task.ID) || d.b.ctx.Err() != nil {
				return nil, live.Err()
			}
			d.canceling, live = true, d.b.ctx
			if d.cancel(live) {
				return nil, canceled(morningai.ErrorCodeCanceled, "the task was canceled, and its job in RQ with it")
			}
		case <-ticker.C:
			if d.canceling && d.cancel(live) {
				return nil, canceled(morningai.ErrorCodeCanceled, "the task was canceled, and its job in RQ with it")
			}
		}
	}
}

// cancel takes the job out of RQ, or tells its worker to stop it. It reports
// whether the job will not run; otherwise its end is still to be seen.
func (d *delivery) cancel(ctx context.Context) bool {
	err := d.b.client.Cancel(ctx, d.spec.ID)
	if err == nil || errors.Is(err, morningai.ErrNotFound) {
		return true
	}
	if errors.Is(err, morningai.ErrWrongState) {
		_ = d.b.client.Stop(ctx, d.spec.ID) // it is told again until the job has ended
	}
	return false
}

// seen acts on what is to be seen of the job.
func (d *delivery) seen(ctx context.Context, l rq.Look) (over bool, _ json.RawMessage, _ error) {
	switch {
	case l.Status == "":
		d.begun = d.begun || l.Begun
		if d.canceling {
			return true, nil, canceled(morningai.ErrorCodeCanceled, "the task was canceled, and its job is gone from RQ")
		}
		if err := d.send(ctx); err != nil && ctx.Err() == nil {
			return true, nil, err
		}
		return false, nil, nil
	case l.Status.Ended():
		return d.end(ctx)
	case l.Overdue:
		if err := d.b.sender.GiveUp(ctx, d.spec.ID); err != nil {
			return false, nil, nil // the next look tries again
		}
	}
	if d.begun != l.Begun {
		d.begun = l.Begun
		d.remember()
	}
	if d.unrecorded && !d.canceling {
		d.record(ctx)
	}
	if !d.canceling {
		d.show(ctx, l.Status)
	}
	return false, nil, nil
}

// end makes the end of the job that of the task.
func (d *delivery) end(ctx context.Context) (bool, json.RawMessage, error) {
	job, err := d.b.client.Get(ctx, d.spec.ID)
	if err != nil || !job.Status.Ended() {
		return false, nil, nil // the next look tells
	}
	d.show(ctx, job.Status)
	r := job.Result
	switch job.Status {
	case rq.Finished:
		lost := ""
		if r == nil || r.Type != rq.Successful || r.Unreadable != nil {
			lost = "the job has finished, and what it returned is kept nowhere or can be read by Python alone"
		} else if len(r.Value) > morningai.MaxPayload {
			lost = "the job has finished, and what it returned is too large to be kept here"
		}
		if lost != "" {
			d.shown.Status, d.shown.ResultLost = "", true
			d.show(ctx, job.Status)
			morningai.Logger(ctx).Warn(lost)
			return true, json.RawMessage("null"), nil
		}
		return true, r.Value, nil
	case rq.Canceled, rq.Stopped:
		return true, nil, canceled(codeCanceled, "the job was "+string(job.Status)+" in RQ")
	}
	if r == nil || r.Trace == "" {
		return true, nil, forGood(codeFailed, "the job has failed in RQ, which has kept no reason")
	}
	morningai.Logger(ctx).Error("the job has failed in RQ", "traceback", r.Trace)
	return true, nil, forGood(failure(r), r.Exception())
}

// judge makes the errors of the delivery those of the task.
func (d *delivery) judge(err error) error {
	switch {
	case errors.Is(err, rq.ErrDeleted):
		return canceled(codeDeleted, "the job was removed from RQ before its end was seen")
	case errors.Is(err, rq.ErrForeign):
		return forGood(codeConflict, "a job of another program, or an earlier run of this one, has the task's id in RQ")
	case errors.Is(err, morningai.ErrInvalidInput):
		return forGood(morningai.ErrorCodePayload, err.Error())
	}
	return err
}

func forGood(code, message string) error {
	return fmt.Errorf("%w: %w", morningai.ErrSkipRetry, &morningai.TaskError{Code: code, Message: message})
}

func canceled(code, message string) error {
	return fmt.Errorf("%w: %w", morningai.ErrCancel, &morningai.TaskError{Code: code, Message: message})
}

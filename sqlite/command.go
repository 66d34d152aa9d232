package sqlite

import (
	"context"

	"github.com/RC918/morningai"
)

type commandWork struct {
	cmds    []morningai.Command
	results []morningai.CommandResult
}

func (w *commandWork) size() int { return len(w.cmds) }

// Command implements morningai.Engine.
func (e *Engine) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	w := &commandWork{cmds: append([]morningai.Command(nil), cmds...), results: make([]morningai.CommandResult, len(cmds))}
	if len(cmds) == 0 {
		return w.results, nil
	}
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.results, nil
}

func (w *commandWork) apply(t *txn) error {
	for i, c := range w.cmds {
		res, err := t.command(c)
		if err != nil {
			return err
		}
		res.Task.Payload = clone(res.Task.Payload)
		w.results[i] = res
	}
	return nil
}

// command carries out one order. What has taken effect already succeeds
// whatever the version says, so that repeats do.
func (t *txn) command(c morningai.Command) (res morningai.CommandResult, err error) {
	op := string(c.Kind)
	var carry func(*item) (done bool, refused, err error)
	switch c.Kind {
	case morningai.CommandCancel:
		carry = func(it *item) (bool, error, error) { return t.cancel(it, c.Error) }
	case morningai.CommandRetry:
		carry = t.retry
	case morningai.CommandRun:
		carry = t.runNow
	case morningai.CommandDelete:
		carry = t.remove
	default:
		return morningai.CommandResult{Err: morningai.InvalidInput("command", morningai.FieldError{Location: "kind", Message: "must be cancel, retry, run or delete"})}, nil
	}
	it, err := t.find(c.ID)
	if err != nil {
		return res, err
	}
	if it == nil || !it.row.shown(t.nowUS) {
		if it != nil && it.row.flags&flagDeleted != 0 && c.Kind == morningai.CommandDelete {
			return morningai.CommandResult{Task: t.task(it)}, nil
		}
		return morningai.CommandResult{Err: notFound(op)}, nil
	}
	if c.Version != 0 && c.Version != t.version(it) && !t.effective(it, c.Kind) {
		return morningai.CommandResult{Err: &morningai.Error{Code: morningai.CodeConflict, Op: op,
			Detail: "the task has changed since that version", Hint: "read it again"}}, nil
	}
	before := t.task(it)
	done, refused, err := carry(it)
	if err != nil {
		return res, err
	}
	if refused != nil {
		return morningai.CommandResult{Err: refused}, nil
	}
	res = morningai.CommandResult{Task: t.task(it), UniqueKey: it.row.ukey, Retention: it.row.retention}
	if c.Kind == morningai.CommandDelete && done {
		res.Task = before
	}
	return res, nil
}

// effective reports whether the command changes nothing because it has been
// carried out.
func (t *txn) effective(it *item, kind morningai.CommandKind) bool {
	switch kind {
	case morningai.CommandCancel:
		return it.row.status == stCanceled || it.running && it.run.cancel
	case morningai.CommandRetry, morningai.CommandRun:
		return it.running || it.row.status == stQueued
	}
	return false
}

// cancel ends a task that does not run, with the error that readers shall see of
// it, and asks for the end of one that does.
func (t *txn) cancel(it *item, why *morningai.TaskError) (done bool, refused, err error) {
	switch {
	case it.row.status == stCanceled:
		return true, nil, nil
	case it.row.status.ended():
		return false, wrongState("cancel", "the task has ended"), nil
	case it.running:
		if it.run.cancel {
			return true, nil, nil
		}
		t.touch(it)
		it.edit().flags |= flagCancel
		it.run.cancel = true
		it.mark = it.mark || !it.entry.marked
		t.cancels = append(t.cancels, it.entry)
		return true, nil, nil
	}
	if err := t.keepAttempt(it); err != nil {
		return false, nil, err
	}
	text := canceledText
	if why != nil {
		if text, err = errorText(why); err != nil {
			return false, nil, err
		}
	}
	t.touch(it)
	r := it.edit()
	r.finished, r.err, r.runAt = t.nowUS, text, 0
	t.traffic[trafficCanceled]++
	return true, nil, t.end(it, stCanceled)
}

func (t *txn) retry(it *item) (done bool, refused, err error) {
	switch it.row.status {
	case stSucceeded:
		return false, wrongState("retry", "the task has succeeded"), nil
	case stScheduled, stBlocked:
		return false, wrongState("retry", "the task has not failed"), nil
	case stQueued:
		return true, nil, nil
	case stRetrying:
		t.soon(it)
		return true, nil, nil
	}
	if it.row.ukey != "" {
		holder, _, err := t.holder(it.row.ukey)
		if err != nil {
			return false, nil, err
		}
		if holder != nil {
			return false, &morningai.Error{Code: morningai.CodeConflict, Op: "retry", Detail: "another live task holds the unique key"}, nil
		}
		if err := t.holdKey(it); err != nil {
			return false, nil, err
		}
	}
	if err := t.keepAttempt(it); err != nil {
		return false, nil, err
	}
	t.touch(it)
	r := it.edit()
	r.life++
	r.failures, r.finished, r.expires, r.result, r.progress, r.err = 0, 0, 0, nil, nil, ""
	r.status = stQueued
	t.event(morningai.EventQueued, it)
	return true, nil, nil
}

func (t *txn) runNow(it *item) (done bool, refused, err error) {
	switch {
	case it.running || it.row.status == stQueued:
		return true, nil, nil
	case it.row.status.due():
		t.soon(it)
		return true, nil, nil
	}
	return false, wrongState("run", "only a scheduled task can be run now"), nil
}

// soon makes a scheduled task ready.
func (t *txn) soon(it *item) {
	t.touch(it)
	r := it.edit()
	r.status, r.runAt = stQueued, 0
	t.event(morningai.EventQueued, it)
}

func (t *txn) remove(it *item) (done bool, refused, err error) {
	if it.running {
		return false, wrongState("delete", "the task is running; cancel it first"), nil
	}
	if err := t.freeKey(it); err != nil {
		return false, nil, err
	}
	t.touch(it)
	r := it.edit()
	r.status |= stHidden
	r.flags |= flagDeleted
	r.expires = t.nowUS
	t.event(morningai.EventDeleted, it)
	return true, nil, nil
}

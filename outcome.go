package morningai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// What a handler returns, alone or wrapped with %w, to say more than "try
// again".
var (
	// ErrSkipRetry makes the task fail for good.
	ErrSkipRetry = errors.New("no retry")
	// ErrCancel makes the task end as canceled.
	ErrCancel = errors.New("canceled by the handler")
)

type snoozeError struct{ d time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("snoozed for %v", e.d) }

// Snooze makes the task run again after d, without counting as a failure.
func Snooze(d time.Duration) error { return &snoozeError{d} }

type retryAfterError struct {
	d   time.Duration
	err error
}

func (e *retryAfterError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("retry after %v", e.d)
	}
	return e.err.Error()
}

func (e *retryAfterError) Unwrap() error { return e.err }

// RetryAfter is the failure err, with the wait until the next attempt chosen
// by the handler. It counts as a failure.
func RetryAfter(d time.Duration, err error) error { return &retryAfterError{d, err} }

// skipRetry marks an error as final.
func skipRetry(err error) error { return &finalError{err} }

type finalError struct{ error }

func (e *finalError) Unwrap() []error { return []error{e.error, ErrSkipRetry} }

// interruption says why a handler's context was cancelled before its timeout.
type interruption int32

const (
	interruptNone   interruption = iota
	interruptCancel              // the task's cancel was requested
	interruptDrain               // the app stops and its grace time is over
	interruptLost                // the claim was superseded: there is nobody to report to
	interruptAlone               // the others may soon hand the exclusive task to another worker
)

// attemptEnd is what came out of running a handler.
type attemptEnd struct {
	result   json.RawMessage
	err      error
	stack    string // of a panic
	timedOut bool   // the deadline had passed when the handler returned
	cut      interruption
	at       time.Time
}

const maxErrorMessage = 4 << 10 // bytes kept of an error's text

// judge decides what is reported for an attempt. What the handler asks for
// goes before what interrupted it.
func (end *attemptEnd) judge(task *Task, r *Report) {
	if end.err == nil {
		if problem := resultProblem(end.result); problem != "" {
			r.Outcome, r.Error = OutcomeFailed, &TaskError{Code: ErrorCodeResult, Message: problem}
			return
		}
		r.Outcome, r.Result = OutcomeSucceeded, end.result
		return
	}
	r.Stack = end.stack
	snooze, isSnooze := errors.AsType[*snoozeError](end.err)
	switch {
	case isSnooze:
		r.Outcome, r.RunAt = OutcomeSnoozed, dueAfter(end.at, snooze.d)
	case errors.Is(end.err, ErrCancel) || end.cut == interruptCancel:
		r.Outcome, r.Error = OutcomeCanceled, describeError(end.err, ErrorCodeCanceled)
		if end.err == context.Canceled { // most handlers just hand it on
			r.Error.Message = "the task was canceled while it ran"
		}
	case errors.Is(end.err, ErrSkipRetry):
		r.Outcome, r.Error = OutcomeFailed, describeError(end.err, end.code())
	case end.cut == interruptDrain, end.cut == interruptAlone:
		r.Outcome = OutcomeReleased
	default:
		r.Error = describeError(end.err, end.code())
		failures := task.Failures + 1
		if failures >= task.MaxAttempts {
			r.Outcome = OutcomeFailed
			return
		}
		r.Outcome = OutcomeRetry
		if after, ok := errors.AsType[*retryAfterError](end.err); ok {
			r.RunAt = dueAfter(end.at, after.d)
		} else {
			r.RunAt = dueAfter(end.at, Backoff(failures))
		}
	}
}

func (end *attemptEnd) code() string {
	switch {
	case end.stack != "":
		return ErrorCodePanic
	case end.timedOut:
		return ErrorCodeTimeout
	}
	return ErrorCodeHandler
}

// describeError says what readers see of a handler's error.
func describeError(err error, code string) *TaskError {
	if te, ok := errors.AsType[*TaskError](err); ok && te != nil {
		out := &TaskError{Code: te.Code, Message: cutText(te.Message, maxErrorMessage)}
		if !ValidName(out.Code) {
			out.Code = code
		}
		return out
	}
	return &TaskError{Code: code, Message: cutText(errorText(err), maxErrorMessage)}
}

// errorText is err.Error(), also if that panics, as a nil pointer behind an
// error may.
func errorText(err error) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprintf("an error of type %T that has no text", err)
		}
	}()
	return err.Error()
}

// cutText returns s as valid UTF-8 without NUL, at most n bytes of it.
func cutText(s string, n int) string {
	if len(s) > n {
		cut := n
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	if !validText(s) {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return s
}

func resultProblem(result json.RawMessage) string {
	switch {
	case len(result) > MaxPayload:
		return fmt.Sprintf("the result is over %d bytes: keep it elsewhere and return its address", MaxPayload)
	case len(result) > 0 && !(utf8.Valid(result) && json.Valid(result)):
		return "the result is not one JSON value in UTF-8"
	}
	return ""
}

// dueAfter adds a wait to a time and stays inside the times a task can carry.
func dueAfter(now time.Time, d time.Duration) time.Time {
	at := now.Add(max(d, 0))
	if latest := maxRunAt.Add(-time.Second); at.After(latest) {
		return latest
	}
	return at
}

package morningai

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is the stable, machine-readable name of a kind of error. The same codes
// appear in the HTTP API.
type Code string

// The codes of errors that engines and the library return.
const (
	CodeInvalidInput        Code = "invalid_input"        // a field is wrong; nothing was done
	CodeTooLarge            Code = "too_large"            // over a size limit; nothing was done
	CodeNotFound            Code = "not_found"            // no such task, queue or record
	CodeConflict            Code = "conflict"             // the same id with another payload, or a version that has moved
	CodeIdempotencyConflict Code = "idempotency_conflict" // the same idempotency key with another request
	CodeWrongState          Code = "wrong_state"          // the task's state does not allow the command
	CodeStale               Code = "stale"                // the claim was superseded; its outcome is not recorded
	CodeStorageFull         Code = "storage_full"         // disk or size limit reached; nothing was accepted
	CodeStorageFailed       Code = "storage_failed"       // the disk did not confirm a write
	CodeCursorExpired       Code = "cursor_expired"       // events after the cursor are no longer kept
	CodeUnavailable         Code = "redis_unavailable"    // the shared engine does not answer, or takes no writes; what was asked may have been applied
	CodeStatusUnknown       Code = "status_unknown"       // cannot be known now: neither yes nor no
	CodeAcceptUnknown       Code = "accept_unknown"       // may have been accepted; repeating the request with Error.TaskID tells
	CodeClosed              Code = "closed"               // the engine or the app has been closed
	CodeLocked              Code = "locked"               // another process holds the storage
	CodeNewerFormat         Code = "newer_format"         // written by a newer version of this program
)

// Error is an error with a code to branch on, the operation that failed, and a
// hint for the person who has to act. Values the caller sent are never part of
// its text.
type Error struct {
	Code       Code
	Op         string        // what was being done, such as "enqueue"
	Detail     string        // what is wrong, in a sentence
	Hint       string        // what to do about it; may be empty
	Fields     []FieldError  // the fields that are wrong, for CodeInvalidInput
	RetryAfter time.Duration // when trying again makes sense; 0 if unknown
	TaskID     ID            // the task in doubt, for CodeAcceptUnknown; else zero
	Err        error         // the cause; may be nil
}

// FieldError names one wrong field of a request and says what it must be.
type FieldError struct {
	Location string `json:"location"` // such as "priority" or "body.tasks[3].delay"
	Message  string `json:"message"`
}

// Error returns operation, detail, fields, cause and hint in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	switch {
	case e.Detail != "":
		b.WriteString(e.Detail)
	case e.Code != "":
		b.WriteString(strings.ReplaceAll(string(e.Code), "_", " "))
	}
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s %s", sep, f.Location, f.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches any *Error of the same code, so that errors.Is(err, ErrNotFound)
// holds however the error was worded.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errors to compare with [errors.Is].
var (
	ErrInvalidInput  error = &Error{Code: CodeInvalidInput}
	ErrTooLarge      error = &Error{Code: CodeTooLarge}
	ErrNotFound      error = &Error{Code: CodeNotFound}
	ErrConflict      error = &Error{Code: CodeConflict}
	ErrWrongState    error = &Error{Code: CodeWrongState}
	ErrStale         error = &Error{Code: CodeStale}
	ErrStorageFull   error = &Error{Code: CodeStorageFull}
	ErrStorageFailed error = &Error{Code: CodeStorageFailed}
	ErrCursorExpired error = &Error{Code: CodeCursorExpired}
	ErrUnavailable   error = &Error{Code: CodeUnavailable}
	ErrStatusUnknown error = &Error{Code: CodeStatusUnknown}
	ErrAcceptUnknown error = &Error{Code: CodeAcceptUnknown}
	ErrClosed        error = &Error{Code: CodeClosed}
	ErrLocked        error = &Error{Code: CodeLocked}
	ErrNewerFormat   error = &Error{Code: CodeNewerFormat}
)

// CodeOf returns the code of the first *Error in err's chain, or "" if there is
// none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

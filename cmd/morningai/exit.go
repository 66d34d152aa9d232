package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1 // the thing asked about failed, or an unexpected error
	exitUsage       = 2
	exitUnreachable = 3 // no server or no Redis, or it answered 503
	exitNotFound    = 4
	exitRefused     = 5 // conflict, full, not allowed, wrong Redis
)

// exitError ends a command with a code. A nil err says that everything has been
// said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// ended ends a command whose output already says all.
func ended(code int) error { return &exitError{code: code} }

// usage is an error in how a command was called.
func usage(detail, hint string) error {
	return &exitError{exitUsage, &morningai.Error{Detail: detail, Hint: hint}}
}

// report prints the error, if there is one, and returns the exit code it
// stands for.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[*exitError](err); !ok || e.err != nil {
		fmt.Fprint(w, explain(err))
	}
	return exitCode(err)
}

// explain words an error for a person: what is wrong, each wrong field, the
// cause, and what to do, on lines of their own.
func explain(err error) string {
	var b strings.Builder
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok || e.Detail == "" {
		fmt.Fprintf(&b, "morningai: %s\n", printable(err.Error()))
		return b.String()
	}
	fmt.Fprintf(&b, "morningai: %s", printable(e.Detail))
	if _, answered := errors.AsType[*client.AnswerError](e.Err); e.Err != nil && !answered {
		fmt.Fprintf(&b, ": %s", printable(e.Err.Error()))
	}
	b.WriteString("\n")
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "  %s %s\n", printable(strings.TrimPrefix(strings.TrimPrefix(f.Location, "body."), "query.")), printable(f.Message))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "Hint: %s\n", printable(e.Hint))
	}
	return b.String()
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	code := morningai.CodeOf(err)
	if code == client.CodeUnreachable || code == server.CodeRedisUnavailable {
		return exitUnreachable
	}
	if a, ok := errors.AsType[*client.AnswerError](err); ok {
		return statusCode(a.Status)
	}
	switch code {
	case morningai.CodeInvalidInput, morningai.CodeTooLarge:
		return exitUsage
	case morningai.CodeNotFound:
		return exitNotFound
	case morningai.CodeConflict, morningai.CodeIdempotencyConflict, morningai.CodeWrongState, morningai.CodeStorageFull,
		morningai.CodeLocked, morningai.CodeNewerFormat, client.CodeForbidden, server.CodeWrongRedis, server.CodeDamaged, server.CodeUntrusted:
		return exitRefused
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitUnreachable
	}
	return exitFailed
}

func statusCode(status int) int {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return exitUsage
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict, http.StatusTooManyRequests,
		http.StatusInsufficientStorage:
		return exitRefused
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusServiceUnavailable:
		return exitUnreachable
	}
	return exitFailed
}

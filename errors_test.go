package morningai

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestErrorsCompareByCode(t *testing.T) {
	err := fmt.Errorf("outer: %w", &Error{Code: CodeStale, Op: "finish", Err: context.Canceled})
	if !errors.Is(err, ErrStale) || errors.Is(err, ErrConflict) || !errors.Is(err, context.Canceled) {
		t.Errorf("errors.Is sees the wrong thing in %v", err)
	}
	if CodeOf(err) != CodeStale || CodeOf(context.Canceled) != "" || CodeOf(nil) != "" {
		t.Error("CodeOf is wrong")
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  *Error
		want string
	}{
		{&Error{Code: CodeNotFound}, "not found"},
		{&Error{Code: CodeClosed, Op: "wait", Detail: "gone", Hint: "make a new one"}, "wait: gone (make a new one)"},
		{&Error{Code: CodeStorageFailed, Op: "enqueue", Err: errors.New("I/O")}, "enqueue: storage failed: I/O"},
		{InvalidInput("enqueue", FieldError{"a", "must be b"}).(*Error), "enqueue: 1 field is wrong: a must be b"},
		{InvalidInput("enqueue", FieldError{"a", "must be b"}, FieldError{"c", "must be d"}).(*Error),
			"enqueue: 2 fields are wrong: a must be b; c must be d"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Package wire has the JSON bodies of the HTTP API as Go types, with the way
// from and to the vocabulary of the root package. The server reads, writes and
// documents them; the client speaks with them. Tasks have their JSON form in
// the root package.
//
// Tags beside json are for the OpenAPI document; minItems and maxItems are
// obeyed by the decoder too.
package wire

import (
	"errors"
	"time"

	"github.com/RC918/morningai"
)

// Duration is a duration as a Go string such as "1m30s".
type Duration time.Duration

const durationRule = "must be a duration such as 1m30s"

// Rule says what the text form is.
func (Duration) Rule() string { return durationRule }

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	const longest = 64 // time.ParseDuration takes digits without end
	if len(text) > longest {
		return errors.New(durationRule)
	}
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New(durationRule) // its own text quotes the input
	}
	*d = Duration(v)
	return nil
}

// Rate is a number of starts per period such as "10/s".
type Rate morningai.Rate

// Rule says what the text form is.
func (Rate) Rule() string {
	return "must be a number of starts per second, minute or hour, such as 10/s, 100/m or 5000/h"
}

// MarshalText implements [encoding.TextMarshaler].
func (r Rate) MarshalText() ([]byte, error) { return []byte(morningai.Rate(r).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rate) UnmarshalText(text []byte) error {
	v, err := morningai.ParseRate(string(text))
	if err != nil {
		return err
	}
	*r = Rate(v)
	return nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

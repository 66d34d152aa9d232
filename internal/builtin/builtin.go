// Package builtin has the task types that come with the program: http, which
// sends one HTTP request, and echo, sleep and flaky for smoke tests and drills.
//
// Their payloads are decoded strictly. A payload that does not fit fails the
// task for good with code invalid_payload, because another attempt would see
// the same bytes.
package builtin

import (
	"fmt"
	"net/netip"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/RC918/morningai"
)

// Options configures the built-in types. The zero value is the safe one.
type Options struct {
	// HTTPAllow opens address ranges to the http type beside those that are
	// globally reachable.
	HTTPAllow []netip.Prefix
}

// Register declares echo, sleep, flaky and http on the app. It fails if an
// option is wrong, and then declares nothing.
func Register(app *morningai.App, opts Options) error {
	guard, err := newGuard(opts.HTTPAllow)
	if err != nil {
		return err
	}
	app.HandleFunc("echo", echo)
	app.HandleFunc("sleep", sleep)
	app.HandleFunc("flaky", flaky)
	app.HandleFunc("http", newCaller(guard, nil).handle)
	return nil
}

// decode reads a payload strictly: unknown and repeated fields, invalid UTF-8
// and fields of a wrong type are refused. rule says what the payload must be;
// the error repeats it instead of what was sent.
func decode(payload []byte, into any, rule string) error {
	err := json.Unmarshal(payload, into,
		json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))
	if err != nil || jsontext.Value(payload).Kind() != '{' {
		return badPayload(rule)
	}
	return nil
}

// badPayload fails a task for good because of its payload.
func badPayload(rule string) error {
	return forGood(&morningai.TaskError{Code: morningai.ErrorCodePayload, Message: rule})
}

// forGood marks an error as one that no further attempt can change.
func forGood(err *morningai.TaskError) error {
	return fmt.Errorf("%w: %w", morningai.ErrSkipRetry, err)
}

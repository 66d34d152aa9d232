package redis

import "github.com/RC918/morningai"

// A server closes a connection whose replies exceed its output buffer limit. So
// what breaks the connection is asked for once more in smaller portions.

var errLargeReply error = &morningai.Error{Code: CodeUnavailable, Detail: "Redis ends the connection while it answers with much data",
	Hint: "raise client-output-buffer-limit for normal clients, and see the server's log"}

// portion is how much one call asks for.
type portion struct{ now, least int }

// shrink reports whether a read that failed is to be repeated with less, and
// otherwise returns why not.
func (p *portion) shrink(err error, part *partition) (bool, error) {
	switch {
	case !broken(err):
		return false, err
	case p.now > p.least:
		p.now = max(p.now/4, p.least)
		return true, nil
	case part.poisoned(err):
		return false, errLargeReply
	}
	return false, err
}

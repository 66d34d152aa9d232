package redistest

import (
	"testing"

	"github.com/RC918/morningai/internal/fault"
)

// NewProxy is a way to a server that misbehaves when told to. It ends with the
// test.
func NewProxy(tb testing.TB, target string) *fault.Proxy {
	tb.Helper()
	p, err := fault.NewProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

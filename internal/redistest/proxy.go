package redistest

import (
	"testing"

	"github.com/RC918/morningai/internal/faultproxy"
)

// NewProxy is a way to a server that misbehaves when told to. It ends with the
// test.
func NewProxy(tb testing.TB, target string) *faultproxy.Proxy {
	tb.Helper()
	p, err := faultproxy.NewProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

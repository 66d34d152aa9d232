package redistest

import (
	"testing"
	"time"

	"github.com/RC918/morningai/internal/redisproc"
)

// Authority signs the certificates of a test.
type Authority struct {
	File string // its own certificate, in PEM form

	tb   testing.TB
	real *redisproc.Authority
}

// NewAuthority makes an authority that nobody else trusts.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	real, err := redisproc.NewAuthority(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return &Authority{File: real.File, tb: tb, real: real}
}

// Issue returns the files of a certificate for the hosts, names or addresses,
// and of its key.
func (a *Authority) Issue(name string, hosts ...string) (cert, key string) {
	a.tb.Helper()
	return a.IssueFor(24*time.Hour, name, hosts...)
}

// IssueFor is Issue of a certificate that lasts so long from now on, or has
// ended so long ago.
func (a *Authority) IssueFor(lasts time.Duration, name string, hosts ...string) (cert, key string) {
	a.tb.Helper()
	cert, key, err := a.real.Issue(lasts, name, hosts...)
	if err != nil {
		a.tb.Fatal(err)
	}
	return cert, key
}

// TLSArgs are the arguments with which a server speaks TLS on a port beside its
// own, to clients with a certificate of the authority only. The certificate it
// shows is for the hosts.
func (a *Authority) TLSArgs(port int, hosts ...string) []string {
	a.tb.Helper()
	args, err := a.real.TLSArgs(port, hosts...)
	if err != nil {
		a.tb.Fatal(err)
	}
	return args
}

// FreePort is a port that nobody listens on.
func FreePort(tb testing.TB) int {
	tb.Helper()
	port, err := redisproc.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

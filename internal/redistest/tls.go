package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/redisproc"
)

// Authority signs the certificates of a test.
type Authority struct {
	File string // its own certificate, in PEM form

	tb   testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody else trusts.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, dir: tb.TempDir()}
	a.key = a.newKey()
	draft := a.draft("authority")
	draft.IsCA, draft.BasicConstraintsValid, draft.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, draft, draft, a.key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.File = a.write("authority.crt", "CERTIFICATE", der)
	return a
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
	own := a.newKey()
	draft := a.draft(name)
	draft.NotAfter = time.Now().Add(lasts)
	draft.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			draft.IPAddresses = append(draft.IPAddresses, ip)
		} else {
			draft.DNSNames = append(draft.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, draft, a.cert, own.Public(), a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		a.tb.Fatal(err)
	}
	return a.write(name+".crt", "CERTIFICATE", der), a.write(name+".key", "EC PRIVATE KEY", private)
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	return key
}

func (a *Authority) draft(name string) *x509.Certificate {
	a.tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.tb.Fatal(err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
}

func (a *Authority) write(name, kind string, der []byte) string {
	a.tb.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return file
}

// TLSArgs are the arguments with which a server speaks TLS on a port beside its
// own, to clients with a certificate of the authority only. The certificate it
// shows is for the hosts.
func (a *Authority) TLSArgs(port int, hosts ...string) []string {
	a.tb.Helper()
	cert, key := a.Issue("server"+strconv.Itoa(port), hosts...)
	return []string{"--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", a.File, "--tls-auth-clients", "yes"}
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

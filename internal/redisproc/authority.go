package redisproc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Authority signs certificates for throw-away servers and those who use them.
type Authority struct {
	File string // its own certificate, in PEM form

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody else trusts, with its files in a folder.
func NewAuthority(dir string) (*Authority, error) {
	a := &Authority{dir: dir, File: filepath.Join(dir, "authority.crt")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	draft, err := newDraft("authority", 24*time.Hour)
	if err != nil {
		return nil, err
	}
	draft.IsCA, draft.BasicConstraintsValid, draft.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, draft, draft, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.key = key
	return a, writePEM(a.File, "CERTIFICATE", der)
}

// Issue makes the files of a certificate for the hosts, names or addresses, and of
// its key. It lasts so long from now on, or has ended so long ago.
func (a *Authority) Issue(lasts time.Duration, name string, hosts ...string) (cert, key string, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	draft, err := newDraft(name, lasts)
	if err != nil {
		return "", "", err
	}
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
		return "", "", err
	}
	private, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	return cert, key, errors.Join(writePEM(cert, "CERTIFICATE", der), writePEM(key, "EC PRIVATE KEY", private))
}

// TLSArgs are the arguments with which a server speaks TLS on a port beside its
// own, to clients with a certificate of the authority only. The certificate it
// shows is for the hosts.
func (a *Authority) TLSArgs(port int, hosts ...string) ([]string, error) {
	cert, key, err := a.Issue(24*time.Hour, "server"+strconv.Itoa(port), hosts...)
	return []string{"--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", a.File, "--tls-auth-clients", "yes"}, err
}

func newDraft(name string, lasts time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), KeyUsage: x509.KeyUsageDigitalSignature}, err
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

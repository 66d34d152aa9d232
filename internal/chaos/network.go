package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/RC918/morningai/internal/redisproc"
)

// encrypt leads the servers to a port of Redis that speaks TLS.
func encrypt(f *fleet) (err error) {
	if f.authority, err = redisproc.NewAuthority(f.dir); err != nil {
		return err
	}
	port, err := redisproc.FreePort()
	if err != nil {
		return err
	}
	if f.arguments, err = f.authority.TLSArgs(port, "127.0.0.1"); err != nil {
		return err
	}
	cert, key, err := f.authority.Issue(24*time.Hour, "client")
	f.url = fmt.Sprintf("rediss://app:%s@127.0.0.1:%d?ca=%s&cert=%s&key=%s", password, port, f.authority.File, cert, key)
	return err
}

func expire(f *fleet) error { return f.certify(-time.Minute) }
func renew(f *fleet) error  { return f.certify(24 * time.Hour) }

// certify gives Redis a certificate that lasts so long, and lets all come again.
func (f *fleet) certify(lasts time.Duration) error {
	cert, key, err := f.authority.Issue(lasts, "next", "127.0.0.1")
	if err != nil {
		return err
	}
	_, err = f.redis.Do("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key)
	return errors.Join(err, f.disconnect())
}

func (f *fleet) disconnect() error {
	_, err := f.redis.Do("CLIENT", "KILL", "USER", "app")
	return err
}

// ownMounts is the command that runs another one with mounts of its own, which
// end with it. It needs no rights but on some systems a permission.
func ownMounts() []string {
	if os.Geteuid() == 0 {
		return []string{"unshare", "--mount"}
	}
	return []string{"unshare", "--map-root-user", "--mount"}
}

func noOwnMounts() string {
	words := append(ownMounts(), "true")
	if err := exec.Command(words[0], words[1:]...).Run(); err != nil {
		return "it needs a process with mounts of its own, and this machine does not allow that: " + err.Error()
	}
	return ""
}

const redisName = "redis.drill.test"

// name lets the servers find Redis by a name from a file of their own.
func name(f *fleet) error {
	f.hosts = filepath.Join(f.dir, "hosts")
	return errors.Join(rename(f), os.WriteFile(filepath.Join(f.dir, "order"), []byte("hosts: files\n"), 0o600))
}

func rename(f *fleet) error {
	return os.WriteFile(f.hosts, []byte("127.0.0.1 "+redisName+"\n"), 0o600)
}

// unname takes the name away. It is remembered for some seconds, and connections
// for longer.
func unname(f *fleet) error {
	if err := os.WriteFile(f.hosts, []byte("# nobody\n"), 0o600); err != nil {
		return err
	}
	return redisproc.Until("the servers to forget a name", func() (bool, error) {
		if err := f.disconnect(); err != nil {
			return false, err
		}
		for _, n := range f.nodes {
			if h, err := n.client.Load().Health(context.Background()); err != nil || h.Redis.Status == "up" {
				return false, nil
			}
		}
		return true, nil
	})
}

// withHosts runs a command so that it knows the names of a file and no others.
func (f *fleet) withHosts(args []string) []string {
	return append(append(ownMounts(), "sh", "-c", `mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"`,
		f.hosts, filepath.Join(f.dir, "order")), args...)
}

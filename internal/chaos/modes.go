package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/RC918/morningai/internal/redisproc"
)

// modes are ways in which Redis answers and does not work.
func modes() []scenario {
	do := func(args ...string) func(*fleet) error {
		return func(f *fleet) error {
			_, err := f.redis.Do(args...)
			return err
		}
	}
	user := func(rules ...string) func(*fleet) error {
		return func(f *fleet) error {
			_, err := f.redis.Do(append([]string{"ACL", "SETUSER", "app"}, rules...)...)
			_, err2 := f.redis.Do("CLIENT", "KILL", "USER", "app") // Redis leaves those be that have logged in
			return errors.Join(err, err2)
		}
	}
	mode := func(name, what string, begin, end func(*fleet) error, redis ...string) scenario {
		if redis != nil {
			redis = append([]string{"--appendonly", "yes", "--appendfsync", "no"}, redis...)
		}
		return scenario{name: name, what: what, redis: redis, play: outage(begin, end)}
	}
	cluster := mode("cluster-down", "the Cluster misses slots", do("CLUSTER", "DELSLOTSRANGE", "0", "100"), do("CLUSTER", "ADDSLOTSRANGE", "0", "100"), "--cluster-enabled", "yes")
	cluster.cluster = 1
	return []scenario{
		mode("memory-full", "the memory of Redis is full", do("CONFIG", "SET", "maxmemory", "1"), do("CONFIG", "SET", "maxmemory", "0")),
		mode("read-only", "Redis becomes a replica of nobody", do("REPLICAOF", "127.0.0.1", "1"), do("REPLICAOF", "NO", "ONE")),
		mode("primary-down", "Redis is a replica that serves nothing old", do("REPLICAOF", "127.0.0.1", "1"), do("REPLICAOF", "NO", "ONE"), "--replica-serve-stale-data", "no"),
		mode("no-replicas", "replicas are missing", do("CONFIG", "SET", "min-replicas-to-write", "1"), do("CONFIG", "SET", "min-replicas-to-write", "0")),
		mode("cannot-persist", "Redis cannot save its data", cannotSave, canSave, "--enable-protected-configs", "yes"),
		mode("loading", "Redis reads its data, slowly", slowLoad, awaitLoad, "--loading-process-events-interval-bytes", "1024"),
		mode("password-changed", "the password is another one", user("resetpass", ">another"), user("resetpass", ">"+password)),
		mode("rights-removed", "scripts are not allowed any more", user("-evalsha", "-eval"), user("+evalsha", "+eval")),
		mode("too-many-clients", "all connections are taken", takeConnections, giveConnections),
		mode("busy-script", "a script does not end", endlessScript, do("SCRIPT", "KILL"), "--busy-reply-threshold", "100"),
		mode("paused", "writes are paused", do("CLIENT", "PAUSE", "600000", "WRITE"), do("CLIENT", "UNPAUSE")),
		cluster,
		{name: "certificate-expired", what: "the certificate of Redis has expired", ready: encrypt, play: outage(expire, renew)},
		{name: "name-gone", what: "the name of Redis is not known any more", ready: name, cannot: noOwnMounts, play: outage(unname, rename)},
	}
}

func cannotSave(f *fleet) error {
	gone := filepath.Join(f.dir, "gone")
	if err := os.Mkdir(gone, 0o700); err != nil {
		return err
	}
	_, err := f.redis.Do("CONFIG", "SET", "appendonly", "no", "dir", gone, "save", "3600 1")
	if err = errors.Join(err, os.Remove(gone)); err != nil {
		return err
	}
	if _, err := f.redis.Do("BGSAVE"); err != nil {
		return err
	}
	return f.awaitInfo(f.redis, "INFO persistence", "rdb_last_bgsave_status:err")
}

func canSave(f *fleet) error {
	_, err := f.redis.Do("CONFIG", "SET", "dir", f.redis.Dir(), "save", "")
	return err
}

// slowLoad lets Redis load its data again, which takes longer than any fault.
func slowLoad(f *fleet) error {
	for _, args := range [][]string{{"DEBUG", "POPULATE", "100000"}, {"CONFIG", "SET", "key-load-delay", "1000"}} {
		if _, err := f.redis.Do(args...); err != nil {
			return err
		}
	}
	f.aside(func() { _, _ = f.redis.Do("DEBUG", "RELOAD") }) // whoever asks next learns how it ends
	return f.awaitError(f.redis, "LOADING")
}

func awaitLoad(f *fleet) error {
	if _, err := f.redis.Do("CONFIG", "SET", "key-load-delay", "0"); err != nil {
		return err
	}
	return redisproc.Until("Redis to have loaded its data", func() (bool, error) {
		_, err := f.redis.Do("PING")
		return err == nil, nil
	})
}

func (f *fleet) awaitError(s *redisproc.Server, token string) error {
	return redisproc.Until("Redis to say "+token, func() (bool, error) {
		_, err := s.Do("PING")
		return err != nil && strings.HasPrefix(err.Error(), token), nil
	})
}

func endlessScript(f *fleet) error {
	f.aside(func() { _, _ = f.redis.Do("EVAL", "while true do end", "0") }) // its end is an error
	return f.awaitError(f.redis, "BUSY")
}

func takeConnections(f *fleet) (err error) {
	if f.admin, err = f.redis.Connect(); err != nil {
		return err
	}
	_, err = f.admin.Do("CONFIG", "SET", "maxclients", "1")
	_, err2 := f.admin.Do("CLIENT", "KILL", "USER", "app")
	return errors.Join(err, err2)
}

func giveConnections(f *fleet) error {
	_, err := f.admin.Do("CONFIG", "SET", "maxclients", "1000")
	return errors.Join(err, f.admin.Close())
}

package outagetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redistest"
)

// opens are the failures that a node has to go on without Redis for.
func opens() []mode {
	set := func(pairs ...string) func(*sick) {
		return func(s *sick) { s.redis.Do(append([]string{"CONFIG", "SET"}, pairs...)...) }
	}
	return []mode{
		{name: "refused", provoke: func(s *sick) { s.redis.Kill() }, cure: func(s *sick) { s.redis.Restart() },
			cause: "nothing accepts connections", hint: "start the server"},
		{name: "reset", prepare: proxied, provoke: func(s *sick) { s.proxy.ResetAtRandom(1, 1) }, cure: healed,
			cause: "connection to Redis was lost", hint: "check the server"},
		{name: "black hole", provoke: func(s *sick) { s.redis.Freeze() }, cure: func(s *sick) { s.redis.Thaw() },
			cause: "does not answer in time", hint: "check the server and the network"},
		{name: "half-open", prepare: proxied, provoke: func(s *sick) { s.proxy.BlackHoleAll() }, cure: healed,
			cause: "does not answer in time", hint: "check the server and the network"},
		{name: "writes paused", provoke: func(s *sick) { s.redis.Do("CLIENT", "PAUSE", "60000", "WRITE") }, cure: func(s *sick) { s.redis.Do("CLIENT", "UNPAUSE") },
			cause: "does not answer in time", hint: "check the server and the network"},
		{name: "memory full", provoke: set("maxmemory", "1"), cure: set("maxmemory", "0"),
			cause: "memory of Redis is full", hint: "maxmemory"},
		{name: "read only", provoke: func(s *sick) { s.redis.Do("REPLICAOF", "127.0.0.1", "1") }, cure: func(s *sick) { s.redis.Do("REPLICAOF", "NO", "ONE") },
			cause: "read-only replica", hint: "primary"},
		{name: "primary down", args: []string{"--replica-serve-stale-data", "no"}, provoke: func(s *sick) { s.redis.Do("REPLICAOF", "127.0.0.1", "1") },
			cure: func(s *sick) { s.redis.Do("REPLICAOF", "NO", "ONE") }, cause: "replica without a primary", hint: "promote"},
		{name: "no replicas", provoke: set("min-replicas-to-write", "1"), cure: set("min-replicas-to-write", "0"),
			cause: "lacks the replicas", hint: "min-replicas-to-write"},
		{name: "password changed", provoke: changeUser("resetpass", ">another"), cure: changeUser("resetpass", ">"+planted),
			cause: "refuses user or password", hint: "check user and password"},
		{name: "rights removed", provoke: changeUser("-evalsha", "-eval"), cure: changeUser("+evalsha", "+eval"),
			cause: "may not run EVALSHA", hint: "ACL SETUSER"},
		{name: "keys out of reach", provoke: changeUser("resetkeys", "~other:*"), cure: changeUser("~mai:*"),
			cause: "may not use the keys", hint: "ACL SETUSER"},
		{name: "busy with a script", args: []string{"--busy-reply-threshold", "100"}, provoke: script("while true do end"), cure: func(s *sick) { s.redis.Do("SCRIPT", "KILL") },
			cause: "busy with a script", hint: "SCRIPT KILL"},
		{name: "stuck in a script", args: []string{"--busy-reply-threshold", "100"}, provoke: script("redis.call('SET', 'x', '1') while true do end"),
			cure: func(s *sick) { s.redis.Kill(); s.redis.Restart() }, cause: "busy with a script", hint: "restart the server if that says UNKILLABLE"},
		{name: "too many clients", provoke: tooManyClients, cure: undone, cause: "no free connection", hint: "maxclients"},
		{name: "cannot persist", args: []string{"--enable-protected-configs", "yes"}, provoke: cannotPersist, cure: undone, cause: "cannot write its files", hint: "disk"},
		{name: "loading", args: []string{"--loading-process-events-interval-bytes", "1024"}, provoke: loads, cure: undone,
			cause: "loading its data", hint: "wait"},
		{name: "certificate expired", prepare: encrypted, provoke: certificate(-time.Minute), cure: certificate(time.Hour),
			cause: "certificate of Redis has expired", hint: "renew"},
		{name: "cluster down", prepare: clustered, provoke: func(s *sick) { s.redis.Do("CLUSTER", "DELSLOTSRANGE", "0", "100") },
			cure: func(s *sick) { s.redis.Do("CLUSTER", "ADDSLOTSRANGE", "0", "100") }, cause: "Cluster is down", hint: "CLUSTER INFO"},
		{name: "name gone", prepare: named, provoke: unname, cure: rename, cause: "host name of Redis is unknown", hint: "DNS"},
		{name: "server ends for its disk", prepare: onSmallDisk("--appendfsync", "always"), provoke: fillDisk, cure: func(s *sick) { s.history.Add(drill.Op{Kind: drill.RedisLost}); s.redis.Kill(); s.redis.Restart() },
			cause: "nothing accepts connections", hint: "start the server"},
		{name: "disk full", prepare: onSmallDisk("--appendfsync", "everysec"), provoke: fillDisk, cure: undone, cause: "cannot write its files", hint: "disk"},
		overwritten("ready"), overwritten("events"), overwritten("tasks"),
	}
}

// overwritten lets somebody write a value of another kind over a key of ours.
func overwritten(key string) mode {
	name := "mai:{0}:" + key
	return mode{name: "another kind of " + key, provoke: func(s *sick) {
		s.history.Add(drill.Op{Kind: drill.RedisLost})
		s.redis.Do("SET", name, "something")
	}, cure: func(s *sick) { s.redis.Do("DEL", name) }, cause: "the key " + name + " in Redis holds something of another kind", hint: "DEL " + name}
}

// passes are the failures that one more try gets over: no outage is made of them.
func passes() []mode {
	return []mode{
		{name: "connections closed", provoke: func(s *sick) { s.redis.Do("CLIENT", "KILL", "TYPE", "normal") }},
		{name: "script cache flushed", provoke: func(s *sick) { s.redis.Do("SCRIPT", "FLUSH") }},
		{name: "unblocked", provoke: unblock},
		{name: "sentinels gone", prepare: sentinels, provoke: freezeSentinels},
		{name: "output buffer over its limit", prepare: largeReplies, provoke: readAll},
	}
}

func proxied(s *sick) {
	s.behindProxy()
	s.url = strings.Replace(s.url, s.redis.Addr(), s.proxy.Addr(), 1)
}

func healed(s *sick) { s.heal() }

func undone(s *sick) {
	s.undo()
}

// changeUser changes the user of the servers, and ends its connections: Redis
// itself leaves those be that have logged in.
func changeUser(rules ...string) func(*sick) {
	return func(s *sick) {
		s.redis.Do(append([]string{"ACL", "SETUSER", "app"}, rules...)...)
		s.redis.Do("CLIENT", "KILL", "USER", "app")
	}
}

// script runs a script that does not end by itself.
func script(text string) func(*sick) {
	return func(s *sick) {
		done := make(chan struct{})
		go func() {
			_, _ = s.redis.Try("EVAL", text, "0") // ends with the script, whose end is no success
			close(done)
		}()
		s.t.Cleanup(func() {
			s.redis.Kill()
			<-done
		})
		redistest.Until(s.t, "Redis to be busy", func() bool {
			_, err := s.redis.Try("PING")
			return err != nil && strings.HasPrefix(err.Error(), "BUSY")
		})
	}
}

// tooManyClients takes all connections that Redis has.
func tooManyClients(s *sick) {
	admin := s.redis.Connect()
	s.undo = func() {
		admin.Do("CONFIG", "SET", "maxclients", "1000")
		admin.Close()
	}
	admin.Do("CONFIG", "SET", "maxclients", "1")
	admin.Do("CLIENT", "KILL", "USER", "app")
}

// cannotPersist takes the folder away into which Redis saves.
func cannotPersist(s *sick) {
	gone := s.t.TempDir()
	old := s.redis.Do("CONFIG", "GET", "dir")
	s.redis.Do("CONFIG", "SET", "dir", gone, "save", "3600 1")
	if err := os.RemoveAll(gone); err != nil {
		s.t.Fatal(err)
	}
	s.redis.Do("BGSAVE")
	redistest.Until(s.t, "a save to fail", func() bool { return strings.Contains(s.redis.Do("INFO", "persistence"), "rdb_last_bgsave_status:err") })
	s.undo = func() { s.redis.Do("CONFIG", "SET", "dir", strings.TrimPrefix(old, "dir\n"), "save", "") }
}

// loads lets Redis read its data again, slowly.
func loads(s *sick) {
	s.redis.Do("DEBUG", "POPULATE", "3000")
	s.redis.Do("CONFIG", "SET", "key-load-delay", "1000")
	done := make(chan struct{})
	go func() {
		_, _ = s.redis.Try("DEBUG", "RELOAD")
		close(done)
	}()
	s.undo = func() { <-done }
	redistest.Until(s.t, "Redis to load", func() bool {
		_, err := s.redis.Try("PING")
		return err != nil && strings.HasPrefix(err.Error(), "LOADING")
	})
}

// encrypted leads the servers to a port that speaks TLS, and certificate gives
// that another certificate.
func encrypted(s *sick) {
	authority := redistest.NewAuthority(s.t)
	port := redistest.FreePort(s.t)
	args := authority.TLSArgs(port, "127.0.0.1")
	s.redis = redistest.Start(s.t, append(args, s.args...)...)
	cert, key := authority.Issue("client")
	s.url = fmt.Sprintf("rediss://app:%s@127.0.0.1:%d?ca=%s&cert=%s&key=%s", planted, port, authority.File, cert, key)
	s.authority = authority
}

func certificate(lasts time.Duration) func(*sick) {
	return func(s *sick) {
		cert, key := s.authority.IssueFor(lasts, "later", "127.0.0.1")
		s.redis.Do("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key)
		s.redis.Do("CLIENT", "KILL", "USER", "app")
	}
}

func clustered(s *sick) {
	cluster := redistest.StartCluster(s.t, 1, s.args...)
	s.redis = cluster.Nodes[0]
	s.url = strings.Replace(cluster.URL(), "://", "://app:"+planted+"@", 1)
}

// unblock ends every blocking command with an error, as a demotion does.
func unblock(s *sick) {
	for line := range strings.Lines(s.redis.Do("CLIENT", "LIST")) {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
		if strings.Contains(line, "flags=b") {
			s.redis.Do("CLIENT", "UNBLOCK", id, "ERROR")
		}
	}
}

const hostName = "redis.test"

// named lets the servers find Redis by a name that can be taken away.
func named(s *sick) {
	s.hosts = filepath.Join(s.t.TempDir(), "hosts")
	s.url = strings.Replace(s.url, "127.0.0.1", hostName, 1)
	s.write("127.0.0.1 " + hostName + "\n")
}

func (s *sick) write(hosts string) {
	s.t.Helper()
	if err := os.WriteFile(s.hosts, []byte(hosts), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func unname(s *sick) {
	s.write("# nobody\n")
	// Names are remembered for some seconds, connections for longer.
	until(s.t, patience, "the name to be forgotten", func() bool {
		s.redis.Do("CLIENT", "KILL", "USER", "app")
		return s.health(s.nodes[0]).Status == "degraded"
	})
}

func rename(s *sick) { s.write("127.0.0.1 " + hostName + "\n") }

// withHosts lets a server that does not run yet know no host but those of a file.
func (n *node) withHosts(file string) {
	n.t.Helper()
	order := filepath.Join(n.t.TempDir(), "order")
	if err := os.WriteFile(order, []byte("hosts: files\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.wrap = append(redistest.OwnMounts(), "sh", "-c", `mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"`, file, order)
}

// onSmallDisk gives Redis a disk of its own.
func onSmallDisk(args ...string) func(s *sick) {
	return func(s *sick) {
		s.redis = redistest.StartOnDisk(s.t, smallDisk, append(append([]string{"--appendonly", "yes"}, args...), s.args...)...)
		s.url = "redis://app:" + planted + "@" + s.redis.Addr()
	}
}

// sentinels leads the servers to Redis by a group, of which freezeSentinels
// leaves the primary alone, without the connections that there were.
func sentinels(s *sick) {
	s.group = redistest.StartGroup(s.t, s.args...)
	s.redis = s.group.Primary
	s.url = strings.Replace(s.group.URL(), "://", "://app:"+planted+"@", 1)
}

func freezeSentinels(s *sick) {
	for _, one := range s.group.Sentinels {
		one.Freeze()
	}
	s.redis.Do("CLIENT", "KILL", "USER", "app")
}

// fillDisk leaves Redis a little space, which what is accepted soon takes.
func fillDisk(s *sick) {
	s.undo = fillUp(s.t, s.redis.Disk(), 16<<10)
}

// largeReplies lets Redis close connections for which more than a megabyte waits.
func largeReplies(s *sick) {
	s.redis.Do("CONFIG", "SET", "client-output-buffer-limit", "normal 1048576 0 0")
}

// readAll lists more than that.
func readAll(s *sick) {
	for range 4 {
		s.must(s.nodes[0], s.echo(strings.Repeat("x", 400_000)))
	}
	if r := s.nodes[0].call("GET", "/v1/tasks?limit=100", nil); r.status != 200 || len(r.body) < 4*400_000 {
		s.feel("a list of large tasks is answered with %d and %d bytes", r.status, len(r.body))
	}
}

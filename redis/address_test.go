package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// work takes a task through its life.
func work(t *testing.T, e *redis.Engine) {
	t.Helper()
	enqueue(t, e, specs(1))
	for _, v := range finish(t, e, claim(t, e, join(t, e, 1), 1, 5*time.Second)...) {
		if v.Err == nil {
			return
		}
		t.Fatal(v.Err)
	}
	t.Fatal("nothing was handed out")
}

// TestTLS: a server that speaks TLS to clients with a certificate only.
func TestTLS(t *testing.T) {
	t.Parallel()
	own, strange := redistest.NewAuthority(t), redistest.NewAuthority(t)
	port := redistest.FreePort(t)
	plain := redistest.Start(t, own.TLSArgs(port, "127.0.0.1", "localhost")...)
	cert, key := own.Issue("client")
	badCert, badKey := strange.Issue("client")
	host := fmt.Sprintf("127.0.0.1:%d", port)
	address := func(ca, cert, key string) string {
		return "rediss://" + host + "?ca=" + ca + "&cert=" + cert + "&key=" + key
	}
	work(t, open(t, address(own.File, cert, key)))
	work(t, open(t, fmt.Sprintf("rediss://localhost:%d/2?ca=%s&cert=%s&key=%s", port, own.File, cert, key)))
	for what, c := range map[string]struct{ url, says string }{
		"an authority that did not sign the server": {address(strange.File, cert, key), "certificates"},
		"the system's authorities":                  {"rediss://" + host + "?cert=" + cert + "&key=" + key, "certificates"},
		"a client certificate of somebody else":     {address(own.File, badCert, badKey), "cert"},
		"no client certificate":                     {"rediss://" + host + "?ca=" + own.File, "cert and key"},
		"no TLS":                                    {"redis://" + host, "rediss://"},
		"a server without TLS":                      {"rediss://" + plain.Addr() + "?ca=" + own.File, "without TLS"},
	} {
		if text := refused(t, redis.ErrUnavailable, c.url, redis.WithTimeout(2*time.Second)); !strings.Contains(text, c.says) {
			t.Errorf("%s: the error says %q", what, text)
		}
	}
}

// TestTLSOfEachHost: the name that is checked is that of the host dialed, not
// that of the first one of the address.
func TestTLSOfEachHost(t *testing.T) {
	t.Parallel()
	own := redistest.NewAuthority(t)
	port, sentinelPort := redistest.FreePort(t), redistest.FreePort(t)
	redistest.Start(t, own.TLSArgs(port, "127.0.0.1")...)
	lines := []string{"tls-replication yes"}
	args := own.TLSArgs(sentinelPort, "localhost")
	for i := 0; i < len(args); i += 2 {
		lines = append(lines, strings.TrimPrefix(args[i], "--")+" "+args[i+1])
	}
	redistest.StartSentinel(t, port, 1, lines...)
	cert, key := own.Issue("client")
	work(t, open(t, fmt.Sprintf("rediss+sentinel://localhost:%d/main?ca=%s&cert=%s&key=%s", sentinelPort, own.File, cert, key)))
}

// TestPasswords: user and password on each kind of set-up, and the sentinels'.
func TestPasswords(t *testing.T) {
	t.Parallel()
	const secret, escaped = "a@b:c/d?e%f", "a%40b%3Ac%2Fd%3Fe%25f"
	with := func(url string) string { return strings.Replace(url, "://", "://:"+escaped+"@", 1) }
	single := redistest.Start(t, "--requirepass", secret)
	work(t, open(t, with(single.URL())))
	work(t, open(t, "unix://:"+escaped+"@"+single.Socket()+"?db=1"))
	single.Do("ACL", "SETUSER", "app", "on", ">"+secret, "~own:*", "+@all")
	work(t, open(t, "redis://app:"+escaped+"@"+single.Addr()+"/0?prefix=own"))
	cluster := redistest.StartCluster(t, 3, "--requirepass", secret)
	work(t, open(t, with(cluster.URL())+"?partitions=8"))
	group := redistest.StartGroup(t, "--requirepass", secret)
	work(t, open(t, with(group.URL())+"/1?sentinel_password="+redistest.SentinelPassword))
	if text := refused(t, redis.ErrUnavailable, with(group.URL()), redis.WithTimeout(2*time.Second)); !strings.Contains(text, "sentinel_password") {
		t.Errorf("without the sentinels' password: %q", text)
	}
}

// TestWrongAddresses: each says what is wrong with it.
func TestWrongAddresses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	sentinel := redistest.StartSentinel(t, server.Port(), 1)
	cluster := redistest.StartCluster(t, 1)
	replica := redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(server.Port()))
	full := redistest.Start(t, "--maxmemory", "1")
	invalid := &morningai.Error{Code: morningai.CodeInvalidInput}
	for _, c := range []struct {
		url  string
		want error
		says string
	}{
		{"redis://127.0.0.1:1", redis.ErrUnavailable, "nothing accepts connections"},
		{"unix:///no/such/socket", redis.ErrUnavailable, "no socket"},
		{"redis://" + server.Addr() + "/99", redis.ErrWrongRedis, "no database of that number"},
		{"redis://" + server.Addr() + "?db=-1", invalid, "must be a number"},
		{"redis+cluster://" + cluster.Nodes[0].Addr() + "?db=1", invalid, "0 on a Cluster"},
		{"redis://" + cluster.Nodes[0].Addr() + "/1", redis.ErrWrongRedis, "redis+cluster://"},
		{"redis+sentinel://" + server.Addr() + "/main", redis.ErrWrongRedis, "not a sentinel"},
		{"redis+sentinel://" + sentinel.Addr() + "/other", redis.ErrWrongRedis, "no master of that name"},
		{replica.URL(), redis.ErrUnavailable, "read-only replica"},
		{full.URL(), redis.ErrUnavailable, "memory of Redis is full"},
		{server.URL() + "?ca=/some/file", invalid, "encrypted connections"},
		{"rediss://h?cert=/some/file", invalid, "both cert and key"},
		{server.URL() + "?sentinel_password=x", invalid, "sentinels"},
	} {
		if text := refused(t, c.want, c.url, redis.WithTimeout(2*time.Second)); !strings.Contains(text, c.says) {
			t.Errorf("%s: the error says %q", c.url, text)
		}
	}
}

// TestOldServer: one that says it is too old is refused, whatever else it can.
func TestOldServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	version := ""
	for line := range strings.Lines(server.Do("INFO", "server")) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name == "redis_version" {
			version = value
		}
	}
	for said, ok := range map[string]bool{"6.0.16": false, "5.0.14": false, "6.2.0": true, "10.0.1": true, "": false} {
		proxy := redistest.NewProxy(t, server.Addr())
		// Bulk strings carry their length: what is shorter is filled up.
		proxy.Replace("redis_version:"+version, fmt.Sprintf("redis_version:%-*s", len(version), said)[:len("redis_version:")+len(version)])
		e, err := redis.Open(context.Background(), "redis://"+proxy.Addr())
		if ok != (err == nil) {
			t.Errorf("version %q: %v", said, err)
		}
		if err == nil {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, redis.ErrWrongRedis) || !strings.Contains(err.Error(), "6.2") {
			t.Errorf("version %q: %v", said, err)
		}
	}
}

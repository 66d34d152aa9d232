package redis_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// refused opens an engine that must not open, and returns what it says.
func refused(t *testing.T, want error, url string, opts ...redis.Option) string {
	t.Helper()
	e, err := redis.Open(t.Context(), url, opts...)
	if err == nil {
		_ = e.Close()
		t.Fatal("it opens")
	}
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	return err.Error()
}

func TestEvictionIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	if text := refused(t, redis.ErrWrongRedis, server.URL()); !strings.Contains(text, "noeviction") {
		t.Fatalf("no advice in %q", text)
	}
	open(t, server.URL(), redis.WithAnyEviction())
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	open(t, server.URL())
}

func TestMissingPersistenceIsWarnedAbout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		warn bool
	}{{nil, true}, {[]string{"--appendonly", "yes"}, false}, {[]string{"--save", "3600 1"}, false}} {
		server := redistest.Start(t, c.args...)
		var log bytes.Buffer
		open(t, server.URL(), redis.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if got := strings.Contains(log.String(), "writes nothing to disk"); got != c.warn {
			t.Errorf("with %v the log is %q", c.args, log.String())
		}
	}
}

// leastRights are what the setup page lists.
var leastRights = []string{"on", ">s3cret", "resetkeys", "~mai:*", "-@all", "+hello", "+client|setname", "+ping", "+select", "+info",
	"+eval", "+evalsha", "+hset", "+hsetnx", "+hget", "+hmget", "+hgetall", "+hkeys", "+hexists", "+hincrby", "+hrandfield", "+hscan", "+hdel",
	"+zadd", "+zrange", "+zrangebylex", "+zrevrangebylex", "+zrangebyscore", "+zremrangebylex", "+zrem", "+xadd", "+xrange", "+xtrim", "+xread",
	"+llen", "+rpush", "+ltrim", "+blpop", "+time", "+exists", "+unlink", "+del"}

func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "app", "on", ">s3cret", "~mai:*", "+@all", "-hincrby", "-blpop", "-config")
	url := "redis://app:s3cret@" + server.Addr()
	text := refused(t, redis.ErrWrongRedis, url)
	if !strings.Contains(text, "HINCRBY") || !strings.Contains(text, "BLPOP") || strings.Contains(text, "HSET") || strings.Contains(text, "s3cret") {
		t.Fatalf("the error says %q", text)
	}
	server.Do("ACL", "SETUSER", "app", "+hincrby", "+blpop")
	e := open(t, url) // CONFIG is not needed
	enqueue(t, e, specs(3))
	// What the setup page lists is enough, and keys of others are out of reach.
	server.Do(append([]string{"ACL", "SETUSER", "least"}, leastRights...)...)
	least := open(t, "redis://least:s3cret@"+server.Addr())
	session := join(t, least, 1)
	finish(t, least, claim(t, least, session, 3, 0)...)
	if _, err := least.SetQueue(t.Context(), "q", morningai.QueueChange{Rate: &morningai.Rate{Count: 1, Per: time.Second}}); err != nil {
		t.Fatal(err)
	}
	if err := least.SweepAll(); err != nil {
		t.Fatal(err)
	}
}

// TestRightsOneByOne: all that is missing is named at once, also what scripts
// would run if the user were allowed any, and keys are told from commands.
func TestRightsOneByOne(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for rules, want := range map[string]struct{ says, not []string }{
		"~mai:* +@all -info -eval -evalsha -hset -xadd -ltrim": {[]string{"INFO, EVAL, EVALSHA, HSET, XADD, LTRIM", "+info +eval +evalsha +hset +xadd +ltrim"}, []string{"HGET", "~mai"}},
		"~other:* +@all":     {[]string{"keys mai:*", "ACL SETUSER name ~mai:*"}, []string{"EVAL", "DEL", "+"}},
		"%R~mai:* +@all":     {[]string{"keys mai:*"}, []string{"HSET"}},
		"~mai:* +@all -time": {[]string{"TIME", "+time"}, []string{"EVAL"}},
		"~x +@all -blpop":    {[]string{"BLPOP", "keys mai:*", "+blpop ~mai:*"}, []string{"EVAL"}},
	} {
		server.Do(append([]string{"ACL", "SETUSER", "app", "reset", "on", ">s3cret"}, strings.Fields(rules)...)...)
		text := refused(t, redis.ErrWrongRedis, "redis://app:s3cret@"+server.Addr())
		for _, s := range want.says {
			if !strings.Contains(text, s) {
				t.Errorf("with %q the error lacks %q: %s", rules, s, text)
			}
		}
		for _, s := range want.not {
			if strings.Contains(text, s) {
				t.Errorf("with %q the error has %q: %s", rules, s, text)
			}
		}
	}
}

// TestLeastRights: what Sentinel and Cluster need besides is on the setup page
// too, and named where it is missing.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		g := redistest.StartGroup(t)
		for _, s := range append(g.Replicas, g.Primary) {
			s.Do(append([]string{"ACL", "SETUSER", "least"}, leastRights...)...)
		}
		url := strings.Replace(g.URL(), "://", "://least:s3cret@", 1)
		if text := refused(t, redis.ErrWrongRedis, url); !strings.Contains(text, "ROLE") {
			t.Errorf("the error says %q", text)
		}
		for _, s := range append(g.Replicas, g.Primary) {
			s.Do("ACL", "SETUSER", "least", "+role")
		}
		work(t, open(t, url))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := redistest.StartCluster(t, 3)
		for _, s := range c.Nodes {
			s.Do(append([]string{"ACL", "SETUSER", "least"}, leastRights...)...)
		}
		url := strings.Replace(c.URL(), "://", "://least:s3cret@", 1)
		if text := refused(t, redis.ErrWrongRedis, url); !strings.Contains(text, "CLUSTER") {
			t.Errorf("the error says %q", text)
		}
		for _, s := range c.Nodes {
			s.Do("ACL", "SETUSER", "least", "+cluster|slots", "+cluster|shards")
		}
		if text := refused(t, redis.ErrWrongRedis, url); !strings.Contains(text, "lacks rights: ASKING") {
			t.Errorf("the error says %q", text)
		}
		for _, s := range c.Nodes {
			s.Do("ACL", "SETUSER", "least", "+asking")
		}
		e := open(t, url)
		work(t, e)
		c.Move("mai:{0}:meta", c.Nodes[0])
		c.Move("mai:{0}:meta", c.Nodes[1])
		work(t, e)
	})
}

// TestEveryServerOfACluster is looked at, not only the one that answers first.
func TestEveryServerOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	open(t, c.URL())
	for _, s := range c.Nodes {
		s.Do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
		if text := refused(t, redis.ErrWrongRedis, c.URL()); !strings.Contains(text, "volatile-ttl") {
			t.Errorf("the error says %q", text)
		}
		s.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
		s.Do("ACL", "SETUSER", "default", "-zrem")
		if text := refused(t, redis.ErrWrongRedis, c.URL()); !strings.Contains(text, "ZREM") {
			t.Errorf("the error says %q", text)
		}
		s.Do("ACL", "SETUSER", "default", "+zrem")
	}
	open(t, c.URL())
}

func TestAnotherNumberOfPartitionsIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	open(t, server.URL(), redis.WithPartitions(4))
	if text := refused(t, redis.ErrWrongRedis, server.URL()); !strings.Contains(text, "partitions=4") {
		t.Fatalf("the error says %q", text)
	}
	open(t, server.URL()+"?partitions=4")
}

func TestPasswordIsNeverTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "right")
	const secret = "hunter2"
	for _, url := range []string{
		"redis://:" + secret + "@" + server.Addr(),
		"redis://u:" + secret + "@127.0.0.1:1",
		"redis://:" + secret + "@host:99999",
		"redis://:" + secret + "%zz@host",
		"redis://:" + secret + "@h1,h2",
		"redis+sentinel://:" + secret + "@h1",
		"redis://:" + secret + "@h1/x",
		"redis://h1?pasword=" + secret,
		"rediss://:" + secret + "@127.0.0.1:1?ca=/no/such/file",
		"radis://:" + secret + "@h1",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		e, err := redis.Open(ctx, url)
		cancel()
		if err == nil {
			_ = e.Close()
			t.Fatalf("an address opens that must not")
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells the password: %v", err)
		}
		if morningai.CodeOf(err) == "" {
			t.Errorf("an error without a code: %v", err)
		}
	}
	open(t, "redis://:right@"+server.Addr())
}

func TestUnixSocketAndDatabase(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, "unix://"+server.Socket()+"?db=3&prefix=own&client_name=me")
	enqueue(t, e, specs(2))
	if n := server.Do("DBSIZE"); n != "0" {
		t.Fatalf("%s keys in database 0", n)
	}
	if list := server.Do("CLIENT", "LIST"); !strings.Contains(list, "name=me") || !strings.Contains(list, "db=3") {
		t.Fatalf("clients: %s", list)
	}
	other := open(t, server.URL()+"/3?prefix=own")
	if got := claim(t, other, join(t, other, 1), 5, 0); len(got) != 2 {
		t.Fatalf("%d grants over TCP of 2 tasks enqueued over the socket", len(got))
	}
}

func TestOutageIsAnError(t *testing.T) {
	t.Parallel()
	// On a slow disk a log that is synced each second may lose the last writes.
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	e := open(t, server.URL(), redis.WithTimeout(500*time.Millisecond))
	list := specs(3)
	enqueue(t, e, list)
	server.Kill()
	if _, err := e.Enqueue(t.Context(), specs(1)); !errors.Is(err, redis.ErrUnavailable) {
		t.Fatalf("enqueue without Redis: %v", err)
	}
	if _, err := e.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{list[0].ID}}); !errors.Is(err, redis.ErrUnavailable) {
		t.Fatalf("get without Redis: %v", err)
	}
	if err := e.Probe(t.Context()); !errors.Is(err, redis.ErrUnavailable) {
		t.Fatalf("probe without Redis: %v", err)
	}
	server.Restart()
	redistest.Until(t, "Redis to be back", func() bool { return e.Probe(t.Context()) == nil })
	if got, err := e.Enqueue(t.Context(), list); err != nil || !got[0].Existing || e.Losses() != 0 {
		t.Fatalf("after the restart: %v, losses %d", err, e.Losses())
	}
	for what, args := range map[string][]string{
		"full memory": {"CONFIG", "SET", "maxmemory", "1"},
		"a replica":   {"REPLICAOF", "127.0.0.1", "1"},
	} {
		server.Do(args...)
		if err := e.Probe(t.Context()); !errors.Is(err, redis.ErrUnavailable) || morningai.CodeOf(err) == "" {
			t.Errorf("%s: probe says %v", what, err)
		}
		server.Do("CONFIG", "SET", "maxmemory", "0")
		server.Do("REPLICAOF", "NO", "ONE")
	}
	redistest.Until(t, "Redis to take writes again", func() bool { return e.Probe(t.Context()) == nil })
}

// TestNoFreeConnection: a server whose connections are used up is away, not
// wrong.
func TestNoFreeConnection(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxclients", "1")
	taken, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	answer := make([]byte, 7)
	if _, err := io.WriteString(taken, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(taken, answer); err != nil {
		t.Fatal(err)
	}
	if text := refused(t, redis.ErrUnavailable, server.URL()); !strings.Contains(text, "maxclients") {
		t.Fatalf("no advice in %q", text)
	}
}

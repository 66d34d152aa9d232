package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

const secret = "hunter2"

// healthy are the settings of a Redis with which nothing is wrong.
var healthy = []string{"--appendonly", "yes", "--appendfsync", "always"}

// at are options that look at one Redis and a folder of their own.
func at(t *testing.T, url string) Options {
	t.Helper()
	return Options{Redis: url, Data: t.TempDir(), Listen: "127.0.0.1:8080", Version: "test"}
}

// examine runs every check, with little time between the two looks.
func examine(t *testing.T, o Options, change ...func(*doctor)) Report {
	t.Helper()
	d := newDoctor(o)
	d.again = 300 * time.Millisecond
	for _, c := range change {
		c(d)
	}
	report, err := d.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) != len(Names()) {
		t.Errorf("%d findings of %d checks", len(report.Findings), len(Names()))
	}
	all, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(all), secret) {
		t.Errorf("the report tells a password: %s", all)
	}
	for _, f := range report.Findings {
		if f.Seen == "" || f.Meaning == "" || f.Status == StatusWrong && f.Fix == "" {
			t.Errorf("a finding that does not say all: %+v", f)
		}
	}
	return report
}

// finding returns one finding.
func finding(t *testing.T, r Report, name string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no check is called %s", name)
	return Finding{}
}

// found checks that a check has found a fault, and how it words it and its fix.
func found(t *testing.T, r Report, name string, says ...string) {
	t.Helper()
	f := finding(t, r, name)
	if f.Status != StatusWrong || r.Status != StatusWrong {
		t.Errorf("%s: %+v", name, f)
	}
	for _, s := range says {
		if !strings.Contains(f.Seen+"\n"+f.Meaning+"\n"+f.Fix, s) {
			t.Errorf("%s does not say %q: %+v", name, s, f)
		}
	}
}

// onlyWrong checks that these checks have found something and no others.
func onlyWrong(t *testing.T, r Report, names ...string) {
	t.Helper()
	for _, f := range r.Findings {
		want := false
		for _, n := range names {
			want = want || n == f.Name
		}
		if (f.Status == StatusWrong) != want {
			t.Errorf("%+v", f)
		}
	}
}

func TestHealthyRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	r := examine(t, at(t, s.URL()))
	onlyWrong(t, r)
	if r.Status != StatusOK {
		t.Errorf("the report is %s", r.Status)
	}
	for _, name := range redisChecks {
		if f := finding(t, r, name); f.Status != StatusOK && name != redisTLS {
			t.Errorf("%+v", f)
		}
	}
	if keys := s.Do("DBSIZE"); keys != "0" {
		t.Errorf("%s keys are left behind", keys)
	}
}

// Each step fails by itself, and those after it are skipped.
func TestStepsOnTheWay(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, append([]string{"--requirepass", "right"}, healthy...)...)
	s.Do("ACL", "SETUSER", "app", "on", ">"+secret, "~mai:*", "+@all")
	closed := redistest.FreePort(t)
	for name, c := range map[string]struct {
		url, check string
		says       []string
	}{
		"unknown name":        {"redis://:" + secret + "@no-such-host.invalid", redisResolve, []string{"no-such-host.invalid", "getent hosts"}},
		"nothing there":       {fmt.Sprintf("redis://:%s@127.0.0.1:%d", secret, closed), redisConnect, []string{"systemctl start"}},
		"no socket":           {"unix:///no/such/socket", redisConnect, []string{"ls -l /no/such/socket"}},
		"no password":         {"redis://" + s.Addr(), redisAuthenticate, []string{"wants a password", "MORNINGAI_REDIS"}},
		"wrong password":      {"redis://:" + secret + "@" + s.Addr(), redisAuthenticate, []string{"refuses user or password"}},
		"wrong database":      {"redis://app:" + secret + "@" + s.Addr() + "/99", redisAuthenticate, []string{"no database of that number", "CONFIG GET databases"}},
		"socket, no password": {"unix://" + s.Socket(), redisAuthenticate, []string{"export MORNINGAI_REDIS='unix://USER:PASSWORD@" + s.Socket() + "'"}},
		"socket, wrong database": {"unix://app:" + secret + "@" + s.Socket() + "?db=99", redisAuthenticate,
			[]string{"redis-cli -s " + s.Socket() + " CONFIG GET databases"}},
		"TLS, nothing there": {fmt.Sprintf("rediss://127.0.0.1:%d", closed), redisConnect, []string{fmt.Sprintf("redis-cli -h 127.0.0.1 -p %d --tls ping", closed)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := examine(t, at(t, c.url))
			found(t, r, c.check, c.says...)
			onlyWrong(t, r, c.check)
			if f := finding(t, r, redisPing); f.Status != StatusSkipped {
				t.Errorf("%+v", f)
			}
		})
	}
	onlyWrong(t, examine(t, at(t, "redis://app:"+secret+"@"+s.Addr())))
	onlyWrong(t, examine(t, at(t, "unix://app:"+secret+"@"+s.Socket())))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, stranger := redistest.NewAuthority(t), redistest.NewAuthority(t)
	port := redistest.FreePort(t)
	s := redistest.Start(t, append(a.TLSArgs(port, "127.0.0.1"), healthy...)...)
	cert, key := a.Issue("client", "client")
	address := "rediss://127.0.0.1:" + strconv.Itoa(port)
	onlyWrong(t, examine(t, at(t, address+"?ca="+a.File+"&cert="+cert+"&key="+key)))
	for name, c := range map[string]struct{ url, says string }{
		"unknown authority":     {address + "?ca=" + stranger.File, "ca setting"},
		"no client certificate": {address + "?ca=" + a.File, "client certificate"},
		"plain port":            {"rediss://" + s.Addr() + "?ca=" + a.File, "openssl s_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := examine(t, at(t, c.url))
			found(t, r, redisTLS, c.says)
			onlyWrong(t, r, redisTLS)
		})
	}
}

// A server that is loading, or that does not answer, fails the PING.
func TestNoPong(t *testing.T) {
	t.Parallel()
	t.Run("loading", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t, healthy...)
		p := redistest.NewProxy(t, s.Addr())
		p.Replace("+PONG\r\n", "-LOADING Redis is loading the dataset in memory\r\n")
		found(t, examine(t, at(t, "redis://"+p.Addr())), redisPing, "loading its data", "INFO persistence")
	})
	t.Run("frozen", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t, healthy...)
		s.Freeze()
		r := examine(t, at(t, s.URL()))
		s.Thaw()
		found(t, r, redisAuthenticate, "does not answer in time")
		if f := finding(t, r, redisConnect); f.Status != StatusOK {
			t.Errorf("the system accepts connections for a frozen server: %+v", f)
		}
	})
}

// What a server tells about itself.
func TestFaultsOfAServer(t *testing.T) {
	t.Parallel()
	type fault struct {
		name    string
		args    []string
		provoke func(t *testing.T, s *redistest.Server)
		check   string
		says    []string
		others  []string // that find it too
	}
	for _, c := range []fault{
		{"eviction", []string{"--maxmemory-policy", "allkeys-lru"}, nil, redisEviction, []string{"allkeys-lru", "CONFIG SET maxmemory-policy noeviction"}, nil},
		{"keys evicted", []string{"--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"}, func(t *testing.T, s *redistest.Server) {
			for i := range 30 {
				s.Do("SET", "other"+strconv.Itoa(i), strings.Repeat("x", 100_000))
			}
			s.Do("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "noeviction")
		}, redisEviction, []string{"keys evicted", "CONFIG RESETSTAT"}, nil},
		{"nothing on disk", []string{"--appendonly", "no"}, nil, redisPersistence, []string{"no append-only file", "CONFIG SET appendonly yes"}, nil},
		{"sync left to the system", []string{"--appendfsync", "no"}, nil, redisPersistence, []string{"appendfsync everysec"}, nil},
		{"failed save", []string{"--appendonly", "no", "--save", "3600 1"}, failedSave, redisPersistence, []string{"last snapshot failed", "BGSAVE"}, []string{redisPing, redisWrite}},
		{"memory full", nil, func(t *testing.T, s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") }, redisWrite,
			[]string{"memory of Redis is full", "CONFIG SET maxmemory"}, []string{redisMemory}},
		{"memory nearly full", nil, func(t *testing.T, s *redistest.Server) {
			s.Do("SET", "other", strings.Repeat("x", 25<<20))
			s.Do("CONFIG", "SET", "maxmemory", strconv.FormatInt(s.Info("memory", "used_memory")*12/10, 10))
		}, redisMemory, []string{"maxmemory", "--retain-succeeded"}, nil},
		{"lacks replicas", nil, func(t *testing.T, s *redistest.Server) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") }, redisWrite,
			[]string{"lacks the replicas", "min-replicas-to-write 0"}, nil},
		{"slow command", nil, func(t *testing.T, s *redistest.Server) { s.Do("DEBUG", "SLEEP", "0.3") }, redisSlowLog, []string{"DEBUG", "SLOWLOG GET"}, nil},
		{"connections nearly used up", nil, func(t *testing.T, s *redistest.Server) {
			s.Do("CONFIG", "SET", "maxclients", "10")
			for range 7 {
				connect(t, s)
			}
		}, redisClients, []string{"of 10 connections", "CONFIG SET maxclients 40"}, nil},
		{"missing rights", nil, func(t *testing.T, s *redistest.Server) { s.Do("ACL", "SETUSER", "default", "-hincrby", "-ltrim") }, redisRights,
			[]string{"HINCRBY", "LTRIM", "+hincrby +ltrim"}, nil},
		{"fragments", nil, fragmented, redisFragments, []string{"ratio", "MEMORY PURGE"}, nil},
		{"a replica", nil, func(t *testing.T, s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") }, redisRole,
			[]string{"a replica of 127.0.0.1:1", "REPLICAOF NO ONE"}, []string{redisReplication, redisWrite}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, append(append([]string{}, healthy...), c.args...)...)
			if c.provoke != nil {
				c.provoke(t, s)
			}
			r := examine(t, at(t, s.URL()))
			found(t, r, c.check, c.says...)
			found(t, r, c.check, "redis-cli -h 127.0.0.1 -p "+strconv.Itoa(s.Port()))
			for _, f := range r.Findings {
				if f.Status == StatusWrong && f.Name != c.check && !strings.Contains(strings.Join(c.others, " "), f.Name) {
					t.Errorf("another finding: %+v", f)
				}
			}
		})
	}
}

// What the user may not ask for is not known, and the fix is a command for a shell.
func TestUnknownToTheUser(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	s.Do("ACL", "SETUSER", "app", "on", ">"+secret, "~mai:*", "+@all", "-slowlog")
	f := finding(t, examine(t, at(t, "redis://app:"+secret+"@"+s.Addr())), redisSlowLog)
	want := "redis-cli -h 127.0.0.1 -p " + strconv.Itoa(s.Port()) + " ACL SETUSER name +info '+config|get' '+slowlog|get' +dbsize"
	if f.Status != StatusUnknown || f.Fix != want {
		t.Errorf("%+v", f)
	}
}

func failedSave(t *testing.T, s *redistest.Server) {
	dir := s.Do("CONFIG", "GET", "dir")
	dir = dir[strings.Index(dir, "\n")+1:]
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Do("SET", "other", "1")
	_, _ = s.Try("BGSAVE")
	redistest.Until(t, "the save to fail", func() bool {
		return strings.Contains(s.Do("INFO", "persistence"), "rdb_last_bgsave_status:err")
	})
}

// fragmented fills pages of memory and then frees nine of ten places in each.
func fragmented(t *testing.T, s *redistest.Server) {
	s.Do("CONFIG", "SET", "appendonly", "no", "save", "3600 1")
	s.Do("DEBUG", "POPULATE", "130000", "other", "1000")
	s.Do("EVAL", `for i = 0, 129999 do if i % 10 ~= 0 then redis.call('DEL', 'other:' .. i) end end`, "0")
	s.Do("SLOWLOG", "RESET")
	redistest.Until(t, "the statistics of its memory", func() bool { return s.Info("memory", "mem_fragmentation_bytes") > 2*fragmentLeast*2/3 })
}

func connect(t *testing.T, s *redistest.Server) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
}

func TestNoFreeConnection(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, append([]string{"--maxclients", "1"}, healthy...)...)
	connect(t, s)
	r := examine(t, at(t, s.URL()))
	found(t, r, redisClients, "no free connection", "CONFIG SET maxclients")
	onlyWrong(t, r, redisClients)
}

func TestReplicaThatLags(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, append([]string{"--repl-diskless-sync-delay", "0"}, healthy...)...)
	replica := redistest.Start(t, "--replicaof", fmt.Sprintf("127.0.0.1 %d", s.Port()))
	redistest.Until(t, "the replica to follow", func() bool { return strings.Contains(s.Do("INFO", "replication"), "state=online") })
	onlyWrong(t, examine(t, at(t, s.URL())))
	replica.Freeze()
	defer replica.Thaw()
	s.Do("SET", "other", strings.Repeat("x", 2*lagBytes))
	found(t, examine(t, at(t, s.URL())), redisReplication, "bytes behind", "INFO replication")
}

func TestClockOfRedis(t *testing.T) {
	t.Parallel()
	s, clock := redistest.StartWithClock(t, "--save", "864000 1")
	s.Do("SET", "other", "1")
	onlyWrong(t, examine(t, at(t, s.URL())))
	clock.Set(3 * time.Hour)
	r := examine(t, at(t, s.URL()))
	found(t, r, redisClock, "ahead", "timedatectl")
	found(t, r, redisPersistence, "since the last snapshot", "CONFIG SET appendonly yes")
	onlyWrong(t, r, redisClock, redisPersistence)
	clock.Set(-time.Minute)
	found(t, examine(t, at(t, s.URL())), redisClock, "behind")
}

func TestLatencyAndVersion(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	p := redistest.NewProxy(t, s.Addr())
	p.Delay(2 * roundTripMost)
	found(t, examine(t, at(t, "redis://"+p.Addr())), redisLatency, "median", "--latency")
	p.Delay(0)
	version := "redis_version:"
	text := s.Do("INFO", "server")
	now := text[strings.Index(text, version)+len(version):]
	now, _, _ = strings.Cut(now, "\r")
	p.Replace(version+now, version+"5"+now[1:])
	found(t, examine(t, at(t, "redis://"+p.Addr())), redisVersion, "Redis 5", "apt-get install")
}

// Memory that fills while the doctor looks.
func TestGrowth(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, append([]string{"--maxmemory", "512mb"}, healthy...)...)
	s.Do("CONFIG", "SET", "appendonly", "no", "save", "3600 1")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = s.Try("SET", "other"+strconv.Itoa(i), strings.Repeat("x", 100_000))
			}
		}
	}()
	r := examine(t, at(t, s.URL()), func(d *doctor) { d.again = 1500 * time.Millisecond })
	stop()
	<-done
	found(t, r, redisKeys, "if it goes on like this, maxmemory is full", "--bigkeys")
}

func TestAKeyWrittenOver(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	e, err := redis.Open(t.Context(), s.URL(), redis.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	s.Do("SET", "mai:{0}:ready", "something")
	found(t, examine(t, at(t, s.URL())), redisData, "the key mai:{0}:ready", "go on by themselves", "DEL mai:{0}:ready")
}

func TestAnotherLayout(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, healthy...)
	s.Do("HSET", "mai:{0}:meta", "partitions", "4", "format", "2")
	found(t, examine(t, at(t, s.URL())), redisData, "partitions=4", "HGETALL mai:{0}:meta")
	s.Do("HSET", "mai:{0}:meta", "partitions", "1", "format", "99")
	found(t, examine(t, at(t, s.URL())), redisData, "format 99")
}

func TestClusterAndSentinel(t *testing.T) {
	t.Parallel()
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := redistest.StartCluster(t, 3, healthy...)
		for _, n := range c.Nodes {
			n.Do("SLOWLOG", "RESET") // making a Cluster may take a busy disk long
		}
		onlyWrong(t, examine(t, at(t, c.URL()+"?partitions=16")))
		c.Nodes[1].Do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
		found(t, examine(t, at(t, c.URL()+"?partitions=16")), redisEviction, c.Nodes[1].Addr()+": maxmemory-policy volatile-ttl", strconv.Itoa(c.Nodes[1].Port()))
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		g := redistest.StartGroup(t, healthy...)
		r := examine(t, at(t, g.URL()))
		onlyWrong(t, r)
		if f := finding(t, r, redisReplication); !strings.Contains(f.Seen, "online") {
			t.Errorf("%+v", f)
		}
		found(t, examine(t, at(t, strings.Replace(g.URL(), "/main", "/other", 1))), redisAuthenticate, "no master of that name")
	})
}

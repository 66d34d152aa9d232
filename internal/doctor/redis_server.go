package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai/redis"
)

// Bounds beyond which something is wrong.
const (
	fullAt        = 0.8                    // of a limit
	fragmentRatio = 1.5                    // of the memory that is used
	fragmentLeast = 64 << 20               // bytes below which fragments do not matter
	slowFrom      = 200 * time.Millisecond // looks like an outage
	slowWithin    = time.Hour
	roundTripMost = 20 * time.Millisecond
	clockMost     = 2 * time.Second
	saveMost      = time.Hour        // without an append-only file: between two snapshots
	lagMost       = 10 * time.Second // of a replica
	lagBytes      = 1 << 20          // that a replica is behind, at both looks
	fillsWithin   = 10 * time.Minute // at the rate at which memory grows now
	growthLeast   = 4 << 20          // bytes from one look to the other
)

// verdict is what one server has come to in a check.
type verdict struct {
	status             Status
	seen, meaning, fix string
}

func fine(format string, args ...any) verdict {
	return verdict{status: StatusOK, seen: fmt.Sprintf(format, args...)}
}

// look is what two looks at a server have seen.
type look struct {
	redis.ServerView
	before        *redis.ServerView // nil: it was not there
	apart         time.Duration
	cli           string
	cluster       bool
	allowEviction bool
}

func (l *look) notTold(what string) verdict {
	return verdict{status: StatusUnknown, seen: "the user may not ask for " + what, fix: l.cli + " ACL SETUSER name +info '+config|get' '+slowlog|get' +dbsize"}
}

func (l *look) number(name string) float64 {
	n, err := strconv.ParseFloat(l.Info[name], 64)
	if err != nil {
		return 0
	}
	return n
}

func (l *look) limit(setting string) float64 {
	n, err := strconv.ParseFloat(l.Config[setting], 64)
	if err != nil {
		return 0
	}
	return n
}

// serverChecks look at one server each.
var serverChecks = []struct {
	name  string
	check func(*look) verdict
}{
	{redisVersion, (*look).version}, {redisRole, (*look).role}, {redisReplication, (*look).replication},
	{redisPersistence, (*look).persistence}, {redisEviction, (*look).eviction}, {redisMemory, (*look).memory},
	{redisFragments, (*look).fragments}, {redisSlowLog, (*look).slowLog}, {redisLatency, (*look).latency},
	{redisClock, (*look).clock}, {redisClients, (*look).clients}, {redisKeys, (*look).keys},
}

func (l *look) version() verdict {
	text, name := l.Info["redis_version"], "Redis"
	if own := l.Info["valkey_version"]; own != "" {
		name, text = "Valkey", own
	}
	if text == "" {
		return l.notTold("INFO")
	}
	var major, minor int
	if n, _ := fmt.Sscanf(text, "%d.%d", &major, &minor); n == 2 && (major < 6 || major == 6 && minor < 2) {
		return verdict{StatusWrong, name + " " + text, "servers refuse it: it lacks commands that they need", "apt-get install --only-upgrade redis-server"}
	}
	return fine("%s %s", name, text)
}

func (l *look) role() verdict {
	role := l.Info["role"]
	switch {
	case role == "":
		return l.notTold("INFO")
	case role == "slave" && !l.cluster:
		master := fmt.Sprintf("%s:%s", l.Info["master_host"], l.Info["master_port"])
		return verdict{StatusWrong, "a replica of " + master, "it takes no writes; use the address of its primary, or promote it",
			fmt.Sprintf("export MORNINGAI_REDIS=redis://%s/0; or %s REPLICAOF NO ONE", master, l.cli)}
	case role == "slave":
		return fine("a replica of the Cluster")
	}
	return fine("a primary")
}

func (l *look) replication() verdict {
	if l.Info["role"] == "" {
		return l.notTold("INFO")
	}
	if l.Info["role"] == "slave" {
		if l.Info["master_link_status"] != "up" {
			return verdict{StatusWrong, "its primary does not answer it", "it falls behind, and may not answer at all", l.cli + " INFO replication"}
		}
		return fine("in contact with its primary")
	}
	n := int(l.number("connected_slaves"))
	if n == 0 {
		return fine("no replica")
	}
	var seen, bad []string
	for i := range n {
		r := fieldsOf(l.Info[fmt.Sprintf("slave%d", i)])
		name := r["ip"] + ":" + r["port"]
		lag, _ := strconv.Atoi(r["lag"])
		behind := l.behind(l.ServerView.Info, i)
		seen = append(seen, fmt.Sprintf("%s %s, %d bytes behind, last heard of %d s ago", name, r["state"], behind, lag))
		still := behind
		if l.before != nil {
			still = min(still, l.behind(l.before.Info, i))
		}
		if r["state"] != "online" || time.Duration(lag)*time.Second > lagMost || still > lagBytes {
			bad = append(bad, seen[len(seen)-1])
		}
	}
	if len(bad) > 0 {
		return verdict{StatusWrong, strings.Join(bad, "; "), "if the primary fails now, what the replica lacks is lost; the journals of the servers bring it back",
			l.cli + " INFO replication"}
	}
	return fine("%s", strings.Join(seen, "; "))
}

// behind is how much a replica has not confirmed.
func (l *look) behind(info map[string]string, i int) int64 {
	offset, _ := strconv.ParseInt(fieldsOf(info[fmt.Sprintf("slave%d", i)])["offset"], 10, 64)
	master, _ := strconv.ParseInt(info["master_repl_offset"], 10, 64)
	return max(master-offset, 0)
}

// fieldsOf reads a line such as ip=10.0.0.2,port=6379,state=online.
func fieldsOf(line string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(line, ",") {
		name, value, _ := strings.Cut(part, "=")
		out[name] = value
	}
	return out
}

func (l *look) persistence() verdict {
	if l.Info["aof_enabled"] == "" {
		return l.notTold("INFO")
	}
	save, saveKnown := l.Config["save"]
	aof := l.Info["aof_enabled"] == "1"
	last := time.Unix(int64(l.number("rdb_last_save_time")), 0)
	ago := max(time.Now().Add(l.ClockAhead).Sub(last).Round(time.Second), 0)
	changes := int64(l.number("rdb_changes_since_last_save"))
	parts := []string{fmt.Sprintf("last snapshot %s ago (%s), %d changes since", ago, l.Info["rdb_last_bgsave_status"], changes)}
	if aof {
		parts = append([]string{fmt.Sprintf("append-only file, appendfsync %s, last write %s", l.Config["appendfsync"], l.Info["aof_last_write_status"])}, parts...)
	} else {
		parts = append([]string{"no append-only file"}, parts...)
	}
	seen := strings.Join(parts, "; ")
	bad := func(meaning, command string) verdict {
		return verdict{StatusWrong, seen, meaning, l.cli + " " + command}
	}
	switch {
	case l.Info["loading"] == "1":
		return bad("Redis reads its files and answers nothing else", "INFO persistence")
	case aof && l.Info["aof_last_write_status"] == "err":
		return bad("Redis cannot write its append-only file and refuses writes: free its disk, and look at its log", "CONFIG GET dir")
	case aof && l.Info["aof_last_bgrewrite_status"] == "err":
		return bad("the append-only file could not be rewritten and grows: free the disk of Redis, then try again", "BGREWRITEAOF")
	case l.Info["rdb_last_bgsave_status"] == "err":
		return bad("the last snapshot failed; by default Redis then refuses writes. Free its disk, mend its folder, then try again", "BGSAVE")
	case aof && l.Config["appendfsync"] == "no":
		return bad("the operating system decides when the file is written: a power cut may lose half a minute", "CONFIG SET appendfsync everysec")
	case !aof && saveKnown && save == "":
		return bad("Redis writes nothing to disk: a restart of it loses every task that no journal holds", "CONFIG SET appendonly yes")
	case !aof && saveKnown && changes > 0 && ago > saveMost:
		return bad("a crash of Redis loses everything since the last snapshot", "CONFIG SET appendonly yes")
	case !aof && !saveKnown:
		return verdict{StatusUnknown, seen + "; whether snapshots are on cannot be asked", "", l.cli + " ACL SETUSER name '+config|get'"}
	}
	return fine("%s", seen)
}

func (l *look) eviction() verdict {
	policy := l.Info["maxmemory_policy"]
	if policy == "" {
		return l.notTold("INFO")
	}
	evicted := int64(l.number("evicted_keys"))
	seen := fmt.Sprintf("maxmemory-policy %s, %d keys evicted", policy, evicted)
	switch {
	case policy != "noeviction" && !l.allowEviction:
		return verdict{StatusWrong, seen, "when its memory is full Redis drops tasks without an error; servers refuse to start on it",
			l.cli + " CONFIG SET maxmemory-policy noeviction"}
	case evicted > 0:
		return verdict{StatusWrong, seen, "Redis has dropped keys since its start, and tasks may be among them; once that is settled, reset the count",
			l.cli + " CONFIG RESETSTAT"}
	}
	return fine("%s", seen)
}

func (l *look) latency() verdict {
	if len(l.RoundTrips) == 0 {
		return l.notTold("PING")
	}
	sorted := slices.Sorted(slices.Values(l.RoundTrips))
	median, worst := sorted[len(sorted)/2], sorted[len(sorted)-1]
	seen := fmt.Sprintf("%d round trips, median %s, worst %s", len(sorted), median.Round(10*time.Microsecond), worst.Round(10*time.Microsecond))
	if median > roundTripMost {
		return verdict{StatusWrong, seen, "every call waits for that long; move the servers closer to Redis, or see what keeps it busy", l.cli + " --latency"}
	}
	return fine("%s", seen)
}

func (l *look) clock() verdict {
	seen := fmt.Sprintf("the clock of Redis is %s ahead", l.ClockAhead.Round(time.Millisecond))
	if l.ClockAhead < 0 {
		seen = fmt.Sprintf("the clock of Redis is %s behind", (-l.ClockAhead).Round(time.Millisecond))
	}
	if l.ClockAhead.Abs() > clockMost {
		return verdict{StatusWrong, seen, "one of the two machines has a wrong clock: a server with one starts tasks too early or too late", "timedatectl set-ntp true"}
	}
	return fine("%s", seen)
}

func (l *look) slowLog() verdict {
	if l.Slow == nil {
		return l.notTold("SLOWLOG")
	}
	now := time.Now().Add(l.ClockAhead)
	var slow []redis.SlowCall
	for _, c := range l.Slow {
		if c.Took >= slowFrom && now.Sub(c.At) <= slowWithin {
			slow = append(slow, c)
		}
	}
	if len(slow) == 0 {
		return fine("%d entries, none of the last hour over %s", len(l.Slow), slowFrom)
	}
	worst := slices.MaxFunc(slow, func(a, b redis.SlowCall) int { return int(a.Took - b.Took) })
	return verdict{StatusWrong, fmt.Sprintf("%d commands over %s in the last hour, the slowest %s with %s", len(slow), slowFrom, worst.Name, worst.Took.Round(time.Millisecond)),
		"everything waits for such a command; find out who sends it, then reset the log", fmt.Sprintf("%s SLOWLOG GET 10; %s SLOWLOG RESET", l.cli, l.cli)}
}

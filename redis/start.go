package redis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// checkServers refuses servers on which tasks would not be safe, and warns about
// those on which they would not survive a restart. On a Cluster each has its own
// settings and rights; one that does not answer is no reason not to start, as
// long as its slots are served.
func (e *Engine) checkServers(ctx context.Context) error {
	nodes := e.client.Nodes()
	answered := false
	var silent error
	for _, address := range slices.Sorted(maps.Keys(nodes)) {
		call, cancel := e.bounded(ctx)
		err := e.checkServer(call, address, nodes[address])
		cancel()
		switch {
		case err == nil:
			answered = true
		case len(nodes) > 1 && inDoubt(err) && !errors.Is(err, ErrWrongRedis):
			silent = err
		default:
			return unavailable("open redis", err)
		}
	}
	if !answered && silent != nil {
		return unavailable("open redis", silent)
	}
	return nil
}

func (e *Engine) checkServer(ctx context.Context, address string, node rueidis.Client) error {
	var missing []string
	info, err := e.info(ctx, node)
	switch {
	case isReply(err, "NOPERM"):
		missing = []string{"INFO"}
	case err != nil:
		return err
	default:
		if err := e.checkInfo(info); err != nil {
			return err
		}
	}
	if err := e.checkRights(ctx, node, missing); err != nil {
		return err
	}
	if _, told := e.unsaved.Load(address); !told && info["aof_enabled"] == "0" && !e.saves(ctx, node) {
		e.unsaved.Store(address, true) // a start may be tried often
		e.opt.logger.Warn("the Redis server writes nothing to disk: a restart of it loses every task",
			"server", address, "hint", "CONFIG SET appendonly yes, and in redis.conf")
	}
	return nil
}

func (e *Engine) checkInfo(info map[string]string) error {
	if major, minor := version(info["redis_version"]); major < 6 || major == 6 && minor < 2 {
		return &morningai.Error{Code: CodeWrongRedis, Op: "open redis", Detail: "the Redis server is older than 6.2",
			Hint: "use Redis 6.2 or newer, or Valkey"}
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" && !e.opt.anyEviction {
		return &morningai.Error{Code: CodeWrongRedis, Op: "open redis",
			Detail: "the Redis server evicts keys when its memory is full (maxmemory-policy " + policy + "), which would lose tasks without an error",
			Hint:   "CONFIG SET maxmemory-policy noeviction, and in redis.conf"}
	}
	return nil
}

// info reads the sections that the checks need.
func (e *Engine) info(ctx context.Context, node rueidis.Client) (map[string]string, error) {
	out := map[string]string{}
	for _, section := range []string{"server", "memory", "persistence"} {
		result, err := e.doOn(ctx, node, node.B().Info().Section(section).Build())
		if err != nil {
			return nil, err
		}
		text, err := result.ToString()
		if err != nil {
			return nil, err
		}
		readInfo(out, text)
	}
	return out, nil
}

func readInfo(to map[string]string, text string) {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			to[name] = value
		}
	}
}

// saves reports whether snapshots are on, as far as the server tells.
func (e *Engine) saves(ctx context.Context, node rueidis.Client) bool {
	result, err := e.doOn(ctx, node, node.B().ConfigGet().Parameter("save").Build())
	if err != nil {
		return true
	}
	settings, err := result.AsStrMap()
	return err != nil || settings["save"] != "" // not allowed to ask: no warning either
}

func version(text string) (major, minor int) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	major, _ = strconv.Atoi(parts[0])
	minor, _ = strconv.Atoi(parts[1])
	return major, minor
}

// needed lists every command that the engine and its scripts run, tried on
// scratch keys h, z, s and l. A script runs with the rights of its caller, so
// that what is allowed here is allowed in there.
var needed = [][]string{
	{"HSET", "h", "a", "1"}, {"HSETNX", "h", "a", "1"}, {"HGET", "h", "a"}, {"HMGET", "h", "a"}, {"HGETALL", "h"}, {"HKEYS", "h"},
	{"HEXISTS", "h", "a"}, {"HINCRBY", "h", "a", "1"}, {"HRANDFIELD", "h", "1"}, {"HSCAN", "h", "0"}, {"HDEL", "h", "a"},
	{"ZADD", "z", "0", "a"}, {"ZRANGE", "z", "0", "0"}, {"ZRANGEBYLEX", "z", "-", "+"}, {"ZREVRANGEBYLEX", "z", "+", "-"},
	{"ZRANGEBYSCORE", "z", "0", "0"}, {"ZREMRANGEBYLEX", "z", "-", "+"}, {"ZREM", "z", "a"},
	{"XADD", "s", "*", "a", "1"}, {"XRANGE", "s", "-", "+"}, {"XTRIM", "s", "MAXLEN", "0"},
	{"RPUSH", "l", "a"}, {"LLEN", "l"}, {"LTRIM", "l", "0", "0"}, {"BLPOP", "l", "0.01"},
	{"EXISTS", "h"}, {"UNLINK", "h"}, {"DEL", "h"}, {"DEL", "z"}, {"DEL", "s"}, {"DEL", "l"},
}

// checkRights names what an ACL withholds, beside what is known to be missing.
func (e *Engine) checkRights(ctx context.Context, node rueidis.Client, missing []string) error {
	scratch := e.parts[0].base + "try:"
	keys, b := false, node.B
	try := func(name string, cmd rueidis.Completed) error {
		result, err := e.doOn(ctx, node, cmd)
		if err == nil {
			err = result.Error()
		}
		switch {
		case isReply(err, "NOPERM") && aboutKeys(err.Error()):
			keys = true
		case isReply(err, "NOPERM"):
			missing = append(missing, name)
		case isReply(err, "MOVED"), isReply(err, "ASK"), isReply(err, "TRYAGAIN"): // allowed; the keys are elsewhere
		case err != nil && !rueidis.IsRedisNil(err) && !isReply(err, "NOSCRIPT"):
			return err
		}
		return nil
	}
	for _, c := range []struct {
		name string
		cmd  rueidis.Completed
	}{
		{"TIME", b().Time().Build()},
		{"EVAL", b().Eval().Script("return 1").Numkeys(1).Key(scratch + "l").Build()},
		{"EVALSHA", b().Evalsha().Sha1(strings.Repeat("0", 40)).Numkeys(1).Key(scratch + "l").Build()},
		{"XREAD", b().Xread().Streams().Key(scratch + "s").Id("0").Build()},
	} {
		if err := try(c.name, c.cmd); err != nil {
			return err
		}
	}
	if e.where.mode == modeCluster { // while a slot moves
		if err := try("ASKING", b().Asking().Build()); err != nil {
			return err
		}
	}
	for _, c := range needed {
		cmd := b().Arbitrary(c[0]).Keys(scratch + c[1]).Args(c[2:]...)
		built := cmd.Build
		if c[0] == "BLPOP" {
			built = cmd.Blocking
		}
		if err := try(c[0], built()); err != nil {
			return err
		}
	}
	if len(missing) > 0 || keys {
		return missingRights(missing, keys, e.opt.prefix)
	}
	return nil
}

// aboutKeys tells the refusal of a key from that of a command.
func aboutKeys(reply string) bool {
	return strings.Contains(reply, "to access ") && strings.Contains(reply, "key")
}

func missingRights(commands []string, keys bool, prefix string) error {
	commands = slices.Compact(commands)
	pattern := "~" + prefix + ":*"
	var grant []string
	for _, c := range commands {
		grant = append(grant, "+"+strings.ToLower(c))
	}
	lacks := commands
	if keys {
		lacks = append(lacks[:len(lacks):len(lacks)], "reading and writing the keys "+pattern[1:])
		grant = append(grant, pattern)
	}
	return &morningai.Error{Code: CodeWrongRedis, Op: "open redis",
		Detail: "the Redis user lacks rights: " + strings.Join(lacks, ", "), Hint: "ACL SETUSER name " + strings.Join(grant, " ")}
}

package redis

import (
	"context"
	"strconv"
	"strings"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// checkServer refuses a server on which tasks would not be safe, and warns
// about one on which they would not survive a restart.
func (e *Engine) checkServer(ctx context.Context) error {
	ctx, cancel := e.bounded(ctx)
	defer cancel()
	info, err := e.info(ctx)
	if err != nil {
		if isReply(err, "NOPERM") {
			return missingRights([]string{"INFO"})
		}
		return unavailable("open redis", err)
	}
	if major, minor := version(info["redis_version"]); major < 6 || major == 6 && minor < 2 {
		return &morningai.Error{Code: CodeWrongRedis, Op: "open redis", Detail: "the Redis server is older than 6.2",
			Hint: "use Redis 6.2 or newer, or Valkey"}
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" && !e.opt.anyEviction {
		return &morningai.Error{Code: CodeWrongRedis, Op: "open redis",
			Detail: "the Redis server evicts keys when its memory is full (maxmemory-policy " + policy + "), which would lose tasks without an error",
			Hint:   "CONFIG SET maxmemory-policy noeviction, and in redis.conf"}
	}
	if err := e.checkRights(ctx); err != nil {
		return err
	}
	if info["aof_enabled"] == "0" && !e.saves(ctx) {
		e.opt.logger.Warn("the Redis server writes nothing to disk: a restart of it loses every task",
			"hint", "CONFIG SET appendonly yes, and in redis.conf")
	}
	return nil
}

// info reads the sections that the checks need.
func (e *Engine) info(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, section := range []string{"server", "memory", "persistence"} {
		result, err := e.do(ctx, e.client.B().Info().Section(section).Build())
		if err != nil {
			return nil, err
		}
		text, err := result.ToString()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				out[name] = value
			}
		}
	}
	return out, nil
}

// saves reports whether snapshots are on, as far as the server tells.
func (e *Engine) saves(ctx context.Context) bool {
	result, err := e.do(ctx, e.client.B().ConfigGet().Parameter("save").Build())
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

// rightsCheck runs every command that the scripts use on scratch keys and
// returns the names of those that the user may not run.
const rightsCheck = `
local missing = {}
local function try(...)
  local r = redis.pcall(...)
  if type(r) == 'table' and r.err and (string.find(r.err, 'NOPERM', 1, true) or string.find(r.err, 'ermission', 1, true) or string.find(r.err, "can't run", 1, true)) then
    missing[#missing + 1] = (...)
  end
end
local h, z, s, l = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
for _, c in ipairs({{'HSET', h, 'a', '1'}, {'HSETNX', h, 'a', '1'}, {'HGET', h, 'a'}, {'HMGET', h, 'a'}, {'HGETALL', h}, {'HKEYS', h},
  {'HEXISTS', h, 'a'}, {'HINCRBY', h, 'a', 1}, {'HRANDFIELD', h, 1}, {'HDEL', h, 'a'},
  {'ZADD', z, 0, 'a'}, {'ZRANGE', z, 0, 0}, {'ZRANGEBYLEX', z, '-', '+'}, {'ZREVRANGEBYLEX', z, '+', '-'}, {'ZRANGEBYSCORE', z, 0, 0},
  {'ZREMRANGEBYLEX', z, '-', '+'}, {'ZREM', z, 'a'},
  {'XADD', s, '1-1', 'a', '1'}, {'XRANGE', s, '-', '+'}, {'XTRIM', s, 'MAXLEN', 0}, {'LLEN', l}, {'RPUSH', l, 'a'}, {'TIME'}, {'DEL', h, z, s, l}}) do
  try(unpack(c))
end
return missing`

// checkRights names what an ACL withholds.
func (e *Engine) checkRights(ctx context.Context) error {
	p := e.parts[0]
	var missing []string
	note := func(name string, err error) error {
		if isReply(err, "NOPERM") {
			missing = append(missing, name)
			return nil
		}
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	}
	keys := []string{p.base + "try:h", p.base + "try:z", p.base + "try:s", p.base + "try:l"}
	result, err := e.do(ctx, e.client.B().Eval().Script(rightsCheck).Numkeys(int64(len(keys))).Key(keys...).Build())
	if err == nil {
		var names []string
		if names, err = result.AsStrSlice(); err == nil {
			missing = append(missing, names...)
		}
	}
	if err := note("EVAL", err); err != nil {
		return unavailable("open redis", err)
	}
	list := keys[3]
	for _, c := range []struct {
		name string
		cmd  rueidis.Completed
	}{
		{"EVALSHA", e.client.B().Evalsha().Sha1(strings.Repeat("0", 40)).Numkeys(1).Key(list).Build()},
		{"LTRIM", e.client.B().Ltrim().Key(list).Start(0).Stop(0).Build()},
		{"RPUSH", e.client.B().Rpush().Key(list).Element("1").Build()},
		{"BLPOP", e.client.B().Blpop().Key(list).Timeout(0.01).Build()},
		{"XREAD", e.client.B().Xread().Streams().Key(keys[2]).Id("0").Build()},
		{"HDEL", e.client.B().Hdel().Key(keys[0]).Field("a").Build()},
		{"DEL", e.client.B().Del().Key(list).Build()},
	} {
		result, err := e.do(ctx, c.cmd)
		if err == nil {
			err = result.Error()
		}
		if isReply(err, "NOSCRIPT") {
			continue
		}
		if err := note(c.name, err); err != nil {
			return unavailable("open redis", err)
		}
	}
	if len(missing) > 0 {
		return missingRights(missing)
	}
	return nil
}

func missingRights(names []string) error {
	seen := map[string]bool{}
	var list []string
	for _, n := range names {
		if !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	grant := "+" + strings.ToLower(strings.Join(list, " +"))
	return &morningai.Error{Code: CodeWrongRedis, Op: "open redis",
		Detail: "the Redis user lacks rights: " + strings.Join(list, ", "), Hint: "ACL SETUSER name " + grant + ", and the keys of the prefix"}
}

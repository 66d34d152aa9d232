package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai/redis"
)

// redisLook is what is known of the Redis.
type redisLook struct {
	d         *doctor
	in        *redis.Inspector // nil without an address
	prepared  bool
	usable    bool // what it holds can be read
	first     []redis.ServerView
	firstAt   time.Time
	firstFail error
}

// approachRedis tries the way to Redis.
func (d *doctor) approachRedis(ctx context.Context) (*redisLook, error) {
	r := &redisLook{d: d}
	if d.Redis == "" {
		why := "no address of a Redis is given"
		if d.redis == "redis" {
			why += ", though the server uses one; give it in MORNINGAI_REDIS"
		}
		d.skip(why, redisChecks...)
		return r, nil
	}
	in, err := redis.Inspect(ctx, d.Redis)
	if err != nil {
		return nil, err
	}
	r.in = in
	r.steps()
	return r, nil
}

func (r *redisLook) reached() bool { return r.in != nil && r.in.Reached() }

func (r *redisLook) close() {
	if r.in != nil {
		_ = r.in.Close() // what was seen has been told
	}
}

// steps makes one finding of each step: hosts that failed come before those that
// did not.
func (r *redisLook) steps() {
	for _, name := range []string{redis.StepResolve, redis.StepConnect, redis.StepTLS, redis.StepAuthenticate, redis.StepPing} {
		check := "redis." + name
		var seen []string
		var failed *redis.Step
		for i, s := range r.in.Steps {
			if s.Name != name {
				continue
			}
			if s.Err != nil {
				if failed == nil {
					failed = &r.in.Steps[i]
				}
				detail, _ := worded(s.Err)
				seen = append(seen, s.Target+": "+detail)
				continue
			}
			seen = append(seen, s.Target+": "+s.Seen)
		}
		switch {
		case failed != nil:
			meaning, fix := r.stepAdvice(name, failed)
			if name == redis.StepAuthenticate && strings.Contains(seen[0], "no free connection") {
				check = redisClients
				r.d.skip("Redis did not let anybody in", redisAuthenticate)
			}
			r.d.wrong(check, strings.Join(seen, "; "), meaning, fix)
		case len(seen) > 0:
			r.d.ok(check, strings.Join(seen, "; "))
		case name == redis.StepTLS && r.in.Reached():
			r.d.skip("the address asks for no encryption", check)
		case name == redis.StepResolve && r.in.Reached():
			r.d.skip("the address names no host", check)
		default:
			r.d.skip("a step before it has failed", check)
		}
	}
	if !r.in.Reached() {
		for _, name := range redisChecks {
			if !slices.ContainsFunc(r.d.findings, func(f Finding) bool { return f.Name == name }) {
				r.d.skip("Redis was not reached", name)
			}
		}
	}
}

// stepAdvice says what a failed step means and what helps.
func (r *redisLook) stepAdvice(name string, s *redis.Step) (meaning, fix string) {
	detail, hint := worded(s.Err)
	cli := r.cli(strings.Split(s.Target, ",")[0])
	meaning = "servers cannot use Redis: with a journal they accept and run tasks on their own, without one they refuse them"
	if hint != "" {
		meaning = hint + "; until then " + meaning
	}
	switch {
	case name == redis.StepResolve:
		return meaning, "getent hosts " + s.Target
	case name == redis.StepConnect && r.in.Mode() == "unix":
		return meaning, "ls -l " + s.Target + "; systemctl start redis-server"
	case name == redis.StepConnect:
		return meaning, "systemctl start redis-server; " + cli + " ping"
	case name == redis.StepTLS:
		return meaning, fmt.Sprintf("openssl s_client -connect %s </dev/null", s.Target)
	case strings.Contains(detail, "no free connection"):
		return meaning, cli + " CONFIG SET maxclients 10000"
	case name == redis.StepAuthenticate && strings.Contains(detail, "password"):
		scheme, _, _ := strings.Cut(r.d.Redis, "://")
		path := map[string]string{"single": "/0", "sentinel": "/MASTER/0"}[r.in.Mode()]
		return meaning, fmt.Sprintf("export MORNINGAI_REDIS='%s://USER:PASSWORD@%s%s'", scheme, s.Target, path)
	}
	return meaning, cli + remedy(detail)
}

// remedies are commands of redis-cli by what an error says.
var remedies = []struct{ says, command string }{
	{"loading", " INFO persistence"},
	{"read-only replica", " REPLICAOF NO ONE"},
	{"without a primary", " REPLICAOF NO ONE"},
	{"cannot write its files", " CONFIG GET dir"},
	{"memory of Redis is full", " CONFIG SET maxmemory 0"},
	{"busy with a script", " SCRIPT KILL"},
	{"stuck in a script", " SHUTDOWN NOSAVE"},
	{"lacks the replicas", " CONFIG SET min-replicas-to-write 0"},
	{"Cluster is down", " CLUSTER INFO"},
	{"no database of that number", " CONFIG GET databases"},
}

func remedy(detail string) string {
	for _, r := range remedies {
		if strings.Contains(detail, r.says) {
			return r.command
		}
	}
	return " ping"
}

// cli is how redis-cli reaches a server. The password belongs into REDISCLI_AUTH.
func (r *redisLook) cli(address string) string {
	if r.in.Mode() == "unix" {
		return "redis-cli -s " + address
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "redis-cli"
	}
	tls := ""
	if strings.HasPrefix(r.d.Redis, "rediss") {
		tls = " --tls"
	}
	return fmt.Sprintf("redis-cli -h %s -p %s%s", host, port, tls)
}

// firstLook asks for rights, for what is there, and for what is compared later.
func (r *redisLook) firstLook(ctx context.Context) {
	if !r.reached() {
		return
	}
	r.firstAt = time.Now()
	r.first, r.firstFail = r.in.Servers(ctx)
	one := ""
	if len(r.first) > 0 {
		one = r.cli(r.first[0].Address)
	}
	if err := r.in.Rights(ctx); errors.Is(err, redis.ErrWrongRedis) {
		detail, hint := worded(err)
		r.d.wrong(redisRights, detail, "a server refuses to start, or fails at the first task that needs the right; for name give the user of the address", one+" "+hint)
	} else if err != nil {
		detail, hint := worded(err)
		r.d.unknown(redisRights, detail, hint)
	} else {
		r.d.ok(redisRights, "every command and the keys "+r.in.Prefix()+":*")
	}
	var err error
	switch r.prepared, err = r.in.Prepared(ctx); {
	case err != nil && strings.Contains(err.Error(), "of another kind"):
		detail, hint := worded(err)
		_, rest, _ := strings.Cut(detail, "the key ")
		key, _, _ := strings.Cut(rest, " ")
		r.d.wrong(redisData, detail, "servers with this address write nothing to Redis and go on by themselves: "+hint, one+" DEL "+key)
	case errors.Is(err, redis.ErrWrongRedis), err != nil && r.prepared:
		detail, hint := worded(err)
		r.d.wrong(redisData, detail, "servers with this address refuse to start: "+hint, one+" HGETALL "+r.in.Prefix()+":{0}:meta")
	case err != nil:
		detail, hint := worded(err)
		r.d.unknown(redisData, detail, hint)
	case r.prepared:
		r.usable = true
		r.d.ok(redisData, "written by servers of this format under "+r.in.Prefix()+":")
	default:
		r.d.ok(redisData, "nothing under "+r.in.Prefix()+": yet; the first server makes it")
	}
	if err := r.in.Write(ctx, r.usable); err != nil {
		detail, hint := worded(err)
		r.d.wrong(redisWrite, detail, "no task can be written: "+hint, one+remedy(detail))
	} else {
		r.d.ok(redisWrite, "a real write was confirmed")
	}
}

package redis

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"regexp"
	"strings"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// Codes of this engine's own errors.
const (
	// CodeUnavailable: Redis did not answer, or cannot write now. What the call
	// asked for may have been applied.
	CodeUnavailable = morningai.CodeUnavailable
	// CodeWrongRedis: this Redis cannot be used as it is set up.
	CodeWrongRedis morningai.Code = "wrong_redis"
)

// ErrUnavailable is matched by every error of [CodeUnavailable].
var ErrUnavailable = morningai.ErrUnavailable

// ErrWrongRedis is matched by every error of [CodeWrongRedis].
var ErrWrongRedis error = &morningai.Error{Code: CodeWrongRedis}

// causes explains the error replies that mean "not now", by their first token.
var causes = map[string][2]string{
	"LOADING":     {"Redis is loading its data", "wait until it has read its files"},
	"READONLY":    {"Redis is a read-only replica", "point the address at the primary, or promote this server"},
	"MASTERDOWN":  {"Redis is a replica without a primary", "restore the primary or promote a replica"},
	"MISCONF":     {"Redis cannot write its files and refuses writes", "free disk space and look at the log of the Redis server"},
	"OOM":         {"the memory of Redis is full", "raise maxmemory or remove data"},
	"BUSY":        {"Redis is busy with a script", "wait, or end the script with SCRIPT KILL; restart the server if that says UNKILLABLE"},
	"UNKILLABLE":  {"Redis is stuck in a script that has written", "restart the Redis server"},
	"NOREPLICAS":  {"Redis lacks the replicas that it is told to write to", "restore the replicas or lower min-replicas-to-write"},
	"CLUSTERDOWN": {"the Redis Cluster is down", "look at CLUSTER INFO on its nodes"},
	"TRYAGAIN":    {"a slot of the Redis Cluster is being moved", "finish the move, or end it with redis-cli --cluster fix"},
	"NOAUTH":      {"Redis wants a password", "give user and password in the address"},
	"WRONGPASS":   {"Redis refuses user or password", "check user and password in the address"},
	"NOPROTO":     {"the server does not speak this protocol", "use Redis 6.2 or newer, or Valkey"},
	"MOVED":       {"a slot of the Redis Cluster has moved", "use an address of the form redis+cluster://"},
	"WRONGTYPE":   {"a key of MorningAI in Redis holds something of another kind", "find out which with morningai doctor, and who writes there; then delete it"},
	"CROSSSLOT":   {"the server is a Redis Cluster", "use an address of the form redis+cluster://"},
}

// refusals explains the error replies without a token of their own that a wrong
// address brings, by how they begin.
var refusals = []struct{ begins, detail, hint string }{
	{"DB index is out of range", "the Redis server has no database of that number", "correct the database in the address, or raise databases in redis.conf"},
	{"SELECT is not allowed in cluster mode", "the server is a Redis Cluster, which has only database 0", "use an address of the form redis+cluster://h1,h2"},
	{"No such master", "the sentinels know no master of that name", "correct the name after the hosts; SENTINEL MASTERS on a sentinel lists them"},
	{"unknown command 'sentinel'", "the server is not a sentinel", "give the sentinels' own ports, 26379 by default, or use redis:// for a single server"},
	{"unknown command `sentinel`", "the server is not a sentinel", "give the sentinels' own ports, 26379 by default, or use redis:// for a single server"},
}

// firstToken is the part of an error reply that does not vary between servers.
func firstToken(reply string) string {
	token, _, _ := strings.Cut(reply, " ")
	return strings.TrimPrefix(token, "-")
}

// plainText is an error reply without the token that says nothing; the client
// takes it away, a script does not.
func plainText(e *rueidis.RedisError) string { return strings.TrimPrefix(e.Error(), "ERR ") }

func isReply(err error, token string) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && firstToken(e.Error()) == token
}

// inDoubt reports whether a call that failed with err may have been applied.
func inDoubt(err error) bool {
	_, replied := rueidis.IsRedisErr(err)
	return err != nil && !replied
}

const (
	silentDetail  = "Redis does not answer in time"
	lostDetail    = "the connection to Redis was lost"
	refusedDetail = "nothing accepts connections at the address of Redis"
)

// unavailable turns what went wrong with a call into an error for people. It
// carries no value that a caller sent, and no address with a password.
func unavailable(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		return e
	}
	out := &morningai.Error{Code: CodeUnavailable, Op: op}
	if e, ok := rueidis.IsRedisErr(err); ok {
		token := firstToken(e.Error())
		if token == "NOPERM" {
			out.Detail, out.Hint = withheld(e.Error())
			return out
		}
		if token == "STRANGE" {
			_, key, _ := strings.Cut(e.Error(), " ")
			out.Detail, out.Hint = "the key "+key+" in Redis holds something of another kind: somebody has written over it",
				"find out who writes there, then delete it: DEL "+key+"; what belongs in it is written anew"
			return out
		}
		if c, known := causes[token]; known {
			out.Detail, out.Hint = c[0], c[1]
			return out
		}
		if strings.HasPrefix(plainText(e), "max number of clients") {
			out.Detail, out.Hint = "Redis has no free connection", "raise maxclients or close other clients"
			return out
		}
		for _, r := range refusals {
			if strings.HasPrefix(strings.ToLower(e.Error()), strings.ToLower(r.begins)) {
				return &morningai.Error{Code: CodeWrongRedis, Op: op, Detail: r.detail, Hint: r.hint}
			}
		}
		return &morningai.Error{Code: CodeWrongRedis, Op: op, Detail: "Redis refused a command: " + token, Hint: "see the log of the Redis server"}
	}
	var netErr net.Error
	dns, unresolved := errors.AsType[*net.DNSError](err)
	switch {
	case unresolved && dns.IsNotFound:
		out.Detail, out.Hint = "the host name of Redis is unknown", "correct the address, or the name's entry in the DNS"
	case unresolved:
		out.Detail, out.Hint = "the host name of Redis cannot be looked up", "check the DNS servers that this machine asks"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		out.Detail, out.Hint = silentDetail, "check the server and the network"
	case strings.Contains(err.Error(), "connection refused"):
		out.Detail, out.Hint = refusedDetail, "start the server or correct the address"
	case strings.Contains(err.Error(), "no such file"):
		out.Detail, out.Hint = "there is no socket at the address of Redis", "start the server or correct the path"
	case strings.Contains(err.Error(), "permission denied"):
		out.Detail, out.Hint = "the socket of Redis cannot be opened by this user", "see unixsocketperm in redis.conf"
	case expired(err):
		out.Detail, out.Hint = "the certificate of Redis has expired", "renew the certificate of the Redis server, and check this machine's clock"
	case strings.Contains(err.Error(), "tls: expired certificate"):
		out.Detail, out.Hint = "Redis says that the client's certificate has expired", "renew the certificate that the address names: cert and key"
	case strings.Contains(err.Error(), "tls: certificate required"):
		out.Detail, out.Hint = "Redis wants a client certificate", "give its files in the address: cert and key"
	case strings.Contains(err.Error(), "x509"), strings.Contains(err.Error(), "tls:"):
		out.Detail, out.Hint = "the encrypted connection to Redis cannot be set up", "check certificates and the ca setting"
	case errors.Is(err, rueidis.ErrNoSlot):
		out.Detail, out.Hint = "nobody serves a slot of the Redis Cluster", "bring its primary back, or promote a replica; CLUSTER INFO tells"
	default:
		out.Detail, out.Hint = lostDetail, "check the server and the network"
	}
	return out
}

func expired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// withheld words the refusal of a right, which names a command or is about keys.
func withheld(reply string) (detail, hint string) {
	if named := deniedCommand.FindStringSubmatch(reply); named != nil {
		return "the Redis user may not run " + strings.ToUpper(named[1]), "ACL SETUSER name +" + named[1] + "; the setup page lists all rights that are needed"
	}
	if aboutKeys(reply) {
		return "the Redis user may not use the keys of MorningAI", "ACL SETUSER name ~mai:*, or with the prefix that the address gives"
	}
	return "the Redis user lacks a right", "grant the user what the setup page lists"
}

// deniedCommand finds the name in a refusal such as "no permissions to run the
// 'cluster|slots' command".
var deniedCommand = regexp.MustCompile(`to run the '([a-z|]+)' command`)

// notConnected is unavailable for the first connection, where what was set up
// on one side only is the likely reason.
func notConnected(a *address, err error) error {
	if isReply(err, "NOPERM") {
		if named := deniedCommand.FindStringSubmatch(err.Error()); named != nil {
			return missingRights([]string{strings.ToUpper(named[1])}, false, "")
		}
	}
	return likely(a, err, unavailable("open redis", err))
}

// likely adds to what an error advises the mistakes in an address that look like it.
func likely(a *address, err, out error) error {
	e, ok := errors.AsType[*morningai.Error](out)
	if !ok {
		return out
	}
	_, replied := rueidis.IsRedisErr(err)
	more := *e
	switch {
	case replied && a.mode == modeSentinel && (firstToken(err.Error()) == "NOAUTH" || firstToken(err.Error()) == "WRONGPASS"):
		more.Hint += "; for the sentinels themselves it is sentinel_user and sentinel_password"
	case replied:
	case a.secure && e.Detail == silentDetail:
		more.Hint += "; a server without TLS does not answer a client that begins with it"
	case a.secure && e.Detail == lostDetail:
		more.Hint += "; the server may want a client certificate: cert and key"
	case !a.secure && e.Detail == lostDetail:
		more.Hint += "; if it wants TLS, use rediss://"
	}
	return &more
}

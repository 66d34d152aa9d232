package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// Step is something that was tried on the way to a Redis.
type Step struct {
	Name   string // resolve, connect, tls, authenticate or ping
	Target string // the host, or the path of a socket
	Seen   string // what came of it; "" if it failed
	Err    error  // a morningai.Error with a hint; nil if it did not fail
}

// The names of steps, in their order.
const (
	StepResolve      = "resolve"
	StepConnect      = "connect"
	StepTLS          = "tls"
	StepAuthenticate = "authenticate"
	StepPing         = "ping"
)

// Inspector looks at a Redis as an engine with the same address would find it,
// for people who want to know what is wrong. It runs no task and removes
// nothing; what it writes are scratch keys, which it takes away, and the mark of
// a probe.
type Inspector struct {
	// Steps are those that were tried; where one fails for all hosts, those after
	// it are missing.
	Steps []Step

	e       *Engine
	reached bool
}

// inspectTime bounds each step.
const inspectTime = 2 * time.Second

// Inspect goes the way to the Redis at the address, step by step. The error is a
// morningai.ErrInvalidInput for an address that cannot be read; what fails on the
// way is in the steps. The inspector is closed by its owner.
func Inspect(ctx context.Context, url string) (*Inspector, error) {
	e, err := Open(ctx, url, WithDeferredStart(), WithAnyEviction(), WithTimeout(inspectTime))
	if err != nil {
		return nil, err
	}
	e.looks = true
	i := &Inspector{e: e}
	open := 0
	for _, host := range e.where.hosts {
		if i.approach(ctx, host) {
			open++
		}
	}
	if open > 0 {
		i.enter(ctx)
	}
	return i, nil
}

// Reached reports whether Redis has answered a PING, be it with an error, so that
// the rest can be asked for.
func (i *Inspector) Reached() bool { return i.reached }

// Mode is how the address reaches Redis: single, unix, sentinel or cluster.
func (i *Inspector) Mode() string { return string(i.e.where.mode) }

// Prefix is what the keys of the engine begin with.
func (i *Inspector) Prefix() string { return i.e.opt.prefix }

// Close disconnects.
func (i *Inspector) Close() error { return i.e.Close() }

// note records a step. Its error is worded without the password.
func (i *Inspector) note(name, target, seen string, err error) bool {
	if err != nil {
		i.Steps = append(i.Steps, Step{Name: name, Target: target, Err: notConnected(i.e.where, err)})
		return false
	}
	i.Steps = append(i.Steps, Step{Name: name, Target: target, Seen: seen})
	return true
}

// approach tries the steps that need no password, on a connection of its own.
func (i *Inspector) approach(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	network, name := "tcp", host
	if i.e.where.mode == modeUnix {
		network = "unix"
	} else {
		name, _, _ = net.SplitHostPort(host)
		if net.ParseIP(name) == nil {
			found, err := net.DefaultResolver.LookupHost(ctx, name)
			if !i.note(StepResolve, name, strings.Join(found, ", "), err) {
				return false
			}
		} else {
			i.note(StepResolve, name, "an address that needs no resolving", nil)
		}
	}
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, network, host)
	if !i.note(StepConnect, host, fmt.Sprintf("connected in %s", time.Since(began).Round(10*time.Microsecond)), err) {
		return false
	}
	defer conn.Close()
	if config := i.e.option.TLSConfig; config != nil {
		config = config.Clone()
		config.ServerName = name
		secure := tls.Client(conn, config)
		err := secure.HandshakeContext(ctx)
		if err == nil {
			// With TLS 1.3 a client without the certificate that the server wants
			// learns of it only when it reads.
			err = refusedAfterHandshake(secure)
		}
		seen := ""
		if err == nil {
			seen = fmt.Sprintf("%s, certificate valid until %s", tls.VersionName(secure.ConnectionState().Version),
				secure.ConnectionState().PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly))
		}
		return i.note(StepTLS, host, seen, err)
	}
	return true
}

// refusedAfterHandshake sends a PING and returns what ended the connection
// instead of an answer; an answer, whatever it says, is none.
func refusedAfterHandshake(conn *tls.Conn) error {
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(inspectTime)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// enter connects as the engine does, with user and password, and asks for a
// PONG.
func (i *Inspector) enter(ctx context.Context) {
	target := strings.Join(i.e.where.hosts, ",")
	if !i.note(StepAuthenticate, target, i.e.where.identity(), i.e.connect(ctx)) {
		return
	}
	i.note(StepPing, target, "PONG", i.onAll(ctx, func(ctx context.Context, _ string, node rueidis.Client) error {
		result, err := i.e.doOn(ctx, node, node.B().Ping().Build())
		if err != nil {
			return err
		}
		i.reached = true
		return result.Error()
	}))
}

// identity says who is let in, without how.
func (a *address) identity() string {
	switch {
	case a.user != "":
		return "as user " + a.user
	case a.password != "":
		return "with a password"
	}
	return "without a password"
}

// Rights returns what the user lacks: nil, or an ErrWrongRedis that names each
// right. Every command that the engine uses is tried, on scratch keys.
func (i *Inspector) Rights(ctx context.Context) error {
	return i.onAll(ctx, func(ctx context.Context, _ string, node rueidis.Client) error {
		var missing []string
		result, err := i.e.doOn(ctx, node, node.B().Info().Section("server").Build())
		if err != nil {
			return err
		}
		if isReply(result.Error(), "NOPERM") {
			missing = []string{"INFO"}
		}
		return i.e.checkRights(ctx, node, missing)
	})
}

// Prepared reports whether an engine has written to this Redis before. It
// returns an ErrWrongRedis if that was set up for another number of partitions,
// or in another format.
func (i *Inspector) Prepared(ctx context.Context) (bool, error) {
	ctx, cancel := i.e.bounded(ctx)
	defer cancel()
	for _, p := range i.e.parts {
		result, err := i.e.do(ctx, i.e.client.B().Hexists().Key(p.base+"meta").Field("partitions").Build())
		if err != nil {
			return false, unavailable("inspect", err)
		}
		there, err := result.AsBool()
		if err != nil {
			return false, unavailable("inspect", err)
		}
		if !there {
			return false, nil
		}
		if err := p.open(ctx, p.dataSet(), toLook); err != nil {
			return true, unavailable("inspect", err)
		}
	}
	i.e.start.ready.Store(true) // without anything in the background
	return true, nil
}

// Write makes a real write: through the path of every write of an engine if the
// Redis is prepared, or else of a scratch key.
func (i *Inspector) Write(ctx context.Context, prepared bool) error {
	if prepared {
		return i.e.Probe(ctx)
	}
	ctx, cancel := i.e.bounded(ctx)
	defer cancel()
	key := i.e.parts[0].base + "try:w"
	for _, cmd := range []rueidis.Completed{
		i.e.client.B().Hset().Key(key).FieldValue().FieldValue("probe", "1").Build(), i.e.client.B().Del().Key(key).Build(),
	} {
		result, err := i.e.do(ctx, cmd)
		if err == nil {
			err = result.Error()
		}
		if err != nil {
			return unavailable("probe", err)
		}
	}
	return nil
}

// Engine is for reading what a prepared Redis holds; nothing runs in its
// background. Close ends it too.
func (i *Inspector) Engine() morningai.Engine { return i.e }

// Members returns the nodes with a journal that are on record.
func (i *Inspector) Members(ctx context.Context) ([]morningai.Member, error) {
	ctx, cancel := i.e.bounded(ctx)
	defer cancel()
	result, err := i.e.do(ctx, i.e.client.B().Hgetall().Key(i.e.parts[0].base+"sessions").Build())
	if err != nil {
		return nil, unavailable("inspect", err)
	}
	fields, err := result.AsStrMap()
	if err != nil {
		return nil, unavailable("inspect", err)
	}
	return readMembers(fields)
}

// onAll asks every server, and returns the first error.
func (i *Inspector) onAll(ctx context.Context, ask func(ctx context.Context, address string, node rueidis.Client) error) error {
	for address, node := range i.e.client.Nodes() {
		call, cancel := i.e.bounded(ctx)
		err := ask(call, address, node)
		cancel()
		if err != nil {
			if e, ok := errors.AsType[*morningai.Error](err); ok {
				return e
			}
			return notConnected(i.e.where, err)
		}
	}
	return nil
}

package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Conn runs plain commands on the Redis at an address of the form that [Open]
// reads, for those who share that Redis with other programs. It has the bounds of
// the engine: no call outlasts the timeout, whatever the server does. Nothing
// is checked of the server, and nothing is written by itself.
type Conn struct {
	e     *Engine
	mu    sync.Mutex
	ready atomic.Bool
}

// NewConn returns a Conn that connects at its first call. The error is a
// [morningai.ErrInvalidInput] if the address cannot be read.
func NewConn(url string, opts ...Option) (*Conn, error) {
	e, err := prepare(url, opts)
	if err != nil {
		return nil, err
	}
	return &Conn{e: e}, nil
}

// Cluster reports whether the address is that of a Cluster.
func (c *Conn) Cluster() bool { return c.e.where.mode == modeCluster }

// Script is a Lua script that may be sent again, and answers with a list.
type Script struct{ s *script }

// NewScript prepares the text of a script.
func NewScript(text string) *Script {
	sum := sha1.Sum([]byte(text)) // Redis names scripts by their SHA-1
	return &Script{&script{text: text, sha: hex.EncodeToString(sum[:])}}
}

// Eval runs a script. A reply is a string, an int64, a []any, or nil.
func (c *Conn) Eval(ctx context.Context, s *Script, keys []string, args ...string) ([]any, error) {
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	list, err := c.e.eval(ctx, s.s, keys, args)
	if err != nil {
		return nil, unavailable("redis", err)
	}
	out := make([]any, len(list))
	for i := range list {
		if out[i], err = plain(&list[i]); err != nil {
			return nil, unavailable("redis", err)
		}
	}
	return out, nil
}

// Read sends commands that may be sent again together, and returns their
// replies in order.
func (c *Conn) Read(ctx context.Context, commands ...[]string) ([]any, error) {
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	out := make([]any, len(commands))
	errs := make([]error, len(commands))
	var all sync.WaitGroup
	for i, words := range commands { // the client sends them in one write
		all.Go(func() { out[i], errs[i] = c.read(ctx, words) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, unavailable("redis", err)
		}
	}
	return out, nil
}

func (c *Conn) read(ctx context.Context, words []string) (any, error) {
	var t tries
	for {
		result, err := c.e.do(ctx, c.e.client.B().Arbitrary(words...).Build())
		if err != nil {
			if ctx.Err() == nil && t.again(err) {
				continue
			}
			return nil, err
		}
		message, err := result.ToMessage()
		if rueidis.IsRedisNil(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return plain(&message)
	}
}

func plain(m *rueidis.RedisMessage) (any, error) {
	v, err := m.ToAny()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return v, err
}

// Subscribe calls each with every message of a channel until ctx ends or the
// connection is lost, which is the error.
func (c *Conn) Subscribe(ctx context.Context, channel string, each func(message string)) error {
	_, leave, err := c.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = c.e.client.Receive(ctx, c.e.client.B().Subscribe().Channel(channel).Build(), func(m rueidis.PubSubMessage) { each(m.Message) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unavailable("subscribe", err)
}

// enter admits a call and connects if need be.
func (c *Conn) enter(ctx context.Context) (context.Context, func(), error) {
	if err := c.e.admit(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := c.e.bounded(ctx)
	leave := func() { cancel(); c.e.active.Done() }
	if !c.ready.Load() {
		if err := c.connect(ctx); err != nil {
			leave()
			return nil, nil, err
		}
	}
	return ctx, leave, nil
}

func (c *Conn) connect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready.Load() {
		return nil
	}
	if err := c.e.connect(ctx); err != nil {
		return err
	}
	c.ready.Store(true)
	return nil
}

// Close ends the calls under way and disconnects. It may be called more than once.
func (c *Conn) Close() error {
	e := c.e
	if !e.shut() {
		return nil
	}
	if c.ready.Load() {
		cut := time.AfterFunc(e.opt.timeout, e.link.drop)
		e.client.Close()
		cut.Stop()
	}
	e.link.close()
	e.active.Wait()
	e.calls.Wait()
	return nil
}

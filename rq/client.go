package rq

import (
	"context"
	_ "embed"
	"strconv"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
)

// Client enqueues jobs and reads what became of them. It is safe for use from any
// number of goroutines.
type Client struct {
	conn       *redis.Conn
	serializer Serializer
	now        func() time.Time
}

// Option changes how Open sets up a client.
type Option func(*Client)

// WithSerializer sets how values are written; JSON unless given.
func WithSerializer(s Serializer) Option { return func(c *Client) { c.serializer = s } }

// Open returns a client of the Redis at an address as redis.Open reads it. It
// connects at the first call: while Redis is away, calls return a
// morningai.ErrUnavailable, and one that writes may have been applied then. The
// same call may be made again. RQ does not work on a Cluster, whose addresses
// are refused.
func Open(url string, opts ...Option) (*Client, error) {
	c := &Client{serializer: JSON, now: time.Now}
	for _, o := range opts {
		o(c)
	}
	if c.serializer != JSON && c.serializer != Pickle {
		return nil, morningai.InvalidInput("open rq", morningai.FieldError{Location: "serializer", Message: "must be json or pickle"})
	}
	conn, err := redis.NewConn(url)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	if conn.Cluster() {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "open rq", Detail: "RQ does not work on a Redis Cluster",
			Hint: "give the address of the single Redis, or of the sentinels, that the RQ workers use"}
	}
	return c, nil
}

// Close disconnects.
func (c *Client) Close() error { return c.conn.Close() }

// Enqueue is Client.Enqueue for programs that enqueue now and then.
func Enqueue(ctx context.Context, url string, spec Spec, opts ...Option) (*Job, error) {
	c, err := Open(url, opts...)
	if err != nil {
		return nil, err
	}
	out, err := c.Enqueue(ctx, spec)
	if closeErr := c.Close(); err == nil && closeErr != nil {
		return nil, closeErr
	}
	return out, err
}

var (
	//go:embed lua/common.lua
	commonLua string
	//go:embed lua/push.lua
	pushLua string
	//go:embed lua/read.lua
	readLua string
	//go:embed lua/control.lua
	controlLua string
)

var (
	scriptPush    = redis.NewScript(commonLua + pushLua)
	scriptRead    = redis.NewScript(commonLua + readLua)
	scriptControl = redis.NewScript(commonLua + controlLua)
)

// eval runs a script with the two forms of the present time in front.
func (c *Client) eval(ctx context.Context, s *redis.Script, args ...string) ([]any, error) {
	now := c.now()
	return c.conn.Eval(ctx, s, nil, append([]string{unix(now), stamp(now)}, args...)...)
}

// unix is a time in seconds, as RQ writes moments of executions.
func unix(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', 6, 64)
}

func word(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}

func words(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i := range list {
		out[i] = word(list[i])
	}
	return out
}

func decimal(n int) string { return strconv.Itoa(n) }

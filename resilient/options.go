package resilient

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// config is what options and Open settle.
type config struct {
	limits      limits
	limit       int64 // bytes of the journal
	minFree     int64 // bytes that stay free on its disk
	durability  morningai.Durability
	prepare     func(*morningai.TaskSpec) error
	ask         Asker
	peers       []string // addresses that are asked although no node is known to be there
	logger      *slog.Logger
	node        string
	url         func() string
	version     string
	incarnation [8]byte // random: of this run
	member      morningai.ID
	marks       func() []byte
}

// limits are the times by which the shared engine is judged.
type limits struct {
	budget  time.Duration // that an enqueue waits for it before the journal answers
	suspect time.Duration // without a reply after which a probe is sent
	open    time.Duration // without a reply after which the circuit opens
	call    time.Duration // of a call, and so for how long a caller can be left in the dark at the moment of a failure
}

func defaultLimits() limits {
	return limits{budget: 200 * time.Millisecond, suspect: 200 * time.Millisecond, open: 400 * time.Millisecond, call: 900 * time.Millisecond}
}

// Option changes how Open sets up the engine.
type Option func(*config)

// WithLogger sets where outages are reported; [slog.Default] unless given.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) {
		if l != nil {
			c.logger = l
		}
	}
}

// WithDurability sets where a task must be before it is acknowledged, unless
// its producer says otherwise; [morningai.DurabilityBoth] unless given.
func WithDurability(d morningai.Durability) Option {
	return func(c *config) {
		if d != "" {
			c.durability = d
		}
	}
}

// WithLimits bounds the journal: its size, and the space that has to stay free
// on its disk, in bytes; 0 sets no bound. Beyond them tasks are refused with
// morningai.ErrStorageFull before anything of them is written or sent.
func WithLimits(size, free int64) Option {
	return func(c *config) { c.limit, c.minFree = size, free }
}

// WithMarks tells what the shared engine has acknowledged to this process so far, as
// [Past] keeps it in the journal for the next one.
func WithMarks(marks func() []byte) Option { return func(c *config) { c.marks = marks } }

// WithPrepare completes specs as the shared engine would at enqueue: an engine
// that derives the place of a task from its id may have to choose the id.
func WithPrepare(prepare func(*morningai.TaskSpec) error) Option {
	return func(c *config) { c.prepare = prepare }
}

// WithNode names the node for people, and says where its API answers now ("" if
// nobody can ask it; url may be nil) and which version it runs.
func WithNode(name string, url func() string, version string) Option {
	return func(c *config) {
		c.node, c.version = name, version
		if url != nil {
			c.url = url
		}
	}
}

// Asker asks the node whose API answers at a URL for a task that it may have
// accepted, and nobody else. A task that it does not know is a
// [morningai.ErrNotFound]; every other error leaves the matter open.
type Asker func(ctx context.Context, url string, id morningai.ID) (morningai.Task, error)

// WithAsker lets reads ask other nodes for tasks that only those may know.
// Without one such a task is a [morningai.ErrStatusUnknown].
func WithAsker(ask Asker) Option { return func(c *config) { c.ask = ask } }

// WithPeers names the addresses of nodes that reads ask too while the shared engine has
// never heard of them: they may have been started while they could not reach it.
func WithPeers(urls ...string) Option {
	return func(c *config) {
		for _, url := range urls {
			c.peers = append(c.peers, strings.TrimRight(url, "/"))
		}
	}
}

func defaults() config {
	return config{limits: defaultLimits(), minFree: 64 << 20, durability: morningai.DurabilityBoth, logger: slog.Default(), url: func() string { return "" }}
}

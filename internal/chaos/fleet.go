package chaos

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/faultproxy"
	"github.com/RC918/morningai/internal/redisproc"
)

const (
	lease    = 5 * time.Second
	patience = 60 * time.Second
	// password is that of the servers' user. Whoever reads the log of a drill must
	// not find it.
	password = "drill-s3cret"
)

// fleet is a Redis, the servers on it and what has happened to them.
type fleet struct {
	config    *Config
	scenario  scenario
	random    *rand.Rand
	dir       string
	history   *drill.History
	began     time.Time
	final     drill.Final
	callee    *callee
	redis     *redisproc.Server
	more      []*redisproc.Server // replicas and sentinels
	nodes     []*node
	guests    []*node       // servers that take no part
	asked     time.Duration // when traffic began
	from, to  time.Time     // of the fault
	promoted  time.Time     // when a replica took over
	mixed     map[string]int
	admin     *redisproc.Conn
	authority *redisproc.Authority
	arguments []string                   // of Redis, beside those of the scenario
	wrap      func(disk string) []string // of Redis
	url       string                     // of Redis, if it is not the usual one
	hosts     string                     // the file of names that servers know, if it is their own
	takers    []*node                    // servers that clients ask; nil: all
	odd       map[morningai.ID]bool      // tasks that are not to succeed
	felt      int
	void      string         // why what is timed proves nothing
	broken    []string       // promises, beside those that are broken in the history
	others    sync.WaitGroup // calls that end with Redis at the latest
}

func newFleet(c *Config, s scenario) (*fleet, error) {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(s.name))
	dir, err := os.MkdirTemp("", "drill")
	if err != nil {
		return nil, err
	}
	f := &fleet{config: c, scenario: s, random: rand.New(rand.NewPCG(c.Seed, hash.Sum64())), dir: dir, began: time.Now(), odd: map[morningai.ID]bool{}}
	f.history = drill.NewHistory(drill.Setup{LeaseTime: lease}, nil)
	if f.callee, err = newCallee(f.history); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return f, nil
}

// now is the time since the beginning of the history.
func (f *fleet) now() time.Duration { return time.Since(f.began) }

// start starts Redis and the servers, and waits until all are ready.
func (f *fleet) start(ctx context.Context) error {
	if err := os.Mkdir(filepath.Join(f.dir, "docs"), 0o700); err != nil {
		return err
	}
	if f.scenario.ready != nil {
		if err := f.scenario.ready(f); err != nil {
			return err
		}
	}
	if err := f.startRedis(); err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		n := &node{fleet: f, name: name, data: filepath.Join(f.dir, name), log: filepath.Join(f.dir, name+".log")}
		address := f.address()
		if f.scenario.proxied {
			var err error
			if n.proxy, err = faultproxy.NewProxy(f.redis.Addr()); err != nil {
				return err
			}
			address = strings.Replace(address, f.redis.Addr(), n.proxy.Addr(), 1)
		}
		n.redis = address
		f.nodes = append(f.nodes, n)
	}
	if f.scenario.early != nil {
		if err := f.scenario.early(ctx, f); err != nil {
			return err
		}
	}
	for _, n := range f.nodes {
		if err := n.start(ctx); err != nil {
			return err
		}
	}
	if f.scenario.early != nil {
		return nil
	}
	for _, n := range f.nodes { // on a busy machine a start may look like an outage
		if err := until(ctx, "server "+n.name+" to know all servers", func() (bool, error) {
			c := n.client.Load()
			h, err := c.Health(ctx)
			if err != nil || h.Status != "ok" {
				return false, ctx.Err()
			}
			all, _, err := c.Nodes(ctx)
			return err == nil && len(all) == len(f.nodes), ctx.Err()
		}); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything and removes it.
func (f *fleet) close() error {
	var errs []error
	for _, n := range append(f.guests, f.nodes...) {
		n.kill()
		if n.proxy != nil {
			n.proxy.Close()
		}
		n.idle()
	}
	for _, s := range append(f.more, f.redis) {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	f.others.Wait()
	f.callee.close()
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}

// explained keeps what the servers have logged, and adds to an error of the staging
// where that is.
func (f *fleet) explained(err error) error {
	history, keepErr := f.keep()
	if keepErr != nil {
		return errors.Join(err, keepErr)
	}
	return fmt.Errorf("%w; what the servers have logged is beside %s", err, history)
}

// broke notes a promise that does not hold.
func (f *fleet) broke(what string, args ...any) {
	f.broken = append(f.broken, fmt.Sprintf(what, args...))
}

// aside makes a call that takes as long as the fault.
func (f *fleet) aside(call func()) { f.others.Go(call) }

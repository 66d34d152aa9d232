package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/RC918/morningai/internal/drill"
)

// scenario is one story.
type scenario struct {
	name    string
	what    string
	redis   []string // arguments of Redis; nil: it keeps its data over a restart
	proxied bool     // each server has a way to Redis of its own that can be broken
	group   bool     // Redis is a Sentinel group
	cluster int      // of how many primaries Redis is a Cluster
	slow    bool     // Redis is not away
	// ready prepares the machine before Redis starts, flags are those of a server.
	ready func(f *fleet) error
	flags func(f *fleet, n *node) []string
	early func(ctx context.Context, f *fleet) error
	play  func(ctx context.Context, f *fleet) error
	// wrap is a command that runs that of a server; nil for none.
	wrap func(f *fleet, n *node) []string
	// after looks, when all has settled, at what counting does not show, and says
	// with broke what does not hold.
	after func(ctx context.Context, f *fleet) error
	// felt is how often the fault has struck, where clients must not see it.
	felt func(ctx context.Context, f *fleet) (int, error)
	// cannot says why a machine cannot stage it; "" if it can.
	cannot func() string
}

// outage is a scenario in which Redis is away for all for as long as faults last.
func outage(begin, end func(f *fleet) error) func(context.Context, *fleet) error {
	return func(ctx context.Context, f *fleet) error {
		return f.away(ctx, begin, end, nil)
	}
}

// away is an outage for all, in which something may be done at half time.
func (f *fleet) away(ctx context.Context, begin, end func(f *fleet) error, inside func() error) error {
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	if err := begin(f); err != nil {
		return err
	}
	err := wait(ctx, f.config.Duration/2)
	if err == nil && inside != nil {
		err = inside()
	}
	if err == nil {
		err = wait(ctx, f.config.Duration/2)
	}
	if over := end(f); err == nil {
		err = over
	}
	f.over()
	return err
}

// over is the end of an outage for all.
func (f *fleet) over() {
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	if f.to.IsZero() {
		f.to = time.Now()
	}
}

// loss is a fault after which Redis has less than it had acknowledged.
func loss(do func(ctx context.Context, f *fleet) error) func(context.Context, *fleet) error {
	return func(ctx context.Context, f *fleet) error {
		f.history.Add(drill.Op{Kind: drill.RedisDown})
		lost := f.history.Begin(drill.Op{Kind: drill.RedisLost})
		err := do(ctx, f)
		lost.Return(nil)
		f.over()
		return err
	}
}

func kill(f *fleet) error    { return f.redis.Kill() }
func restart(f *fleet) error { return f.redis.Restart() }
func freeze(f *fleet) error  { return f.redis.Freeze() }
func thaw(f *fleet) error    { return f.redis.Thaw() }

// proxies does something to the ways of all servers to Redis.
func proxies(do func(n *node)) func(f *fleet) error {
	return func(f *fleet) error {
		for _, n := range f.nodes {
			do(n)
		}
		return nil
	}
}

func heal(f *fleet) error {
	var errs []error
	for _, n := range f.nodes {
		errs = append(errs, n.proxy.Heal())
		n.proxy.Release()
	}
	return errors.Join(errs...)
}

// some is a server by chance.
func (f *fleet) some() *node { return f.nodes[f.random.IntN(len(f.nodes))] }

func scenarios() []scenario {
	all := append(outages(), apart()...)
	all = append(all, losses()...)
	all = append(all, modes()...)
	all = append(all, disks()...)
	all = append(all, orders()...)
	all = append(all, data()...)
	return append(all, brownouts()...)
}

func outages() []scenario {
	return []scenario{
		{name: "killed", what: "Redis is killed and started again", play: outage(kill, restart)},
		{name: "stopped", what: "Redis is shut down and started again", play: outage(func(f *fleet) error {
			_, _ = f.redis.Do("SHUTDOWN") // the connection ends without a reply
			return f.redis.Kill()
		}, restart)},
		{name: "frozen", what: "Redis stands still and answers nobody", play: outage(freeze, thaw)},
		{name: "black-hole", what: "the network swallows everything", proxied: true, play: outage(proxies(func(n *node) { n.proxy.BlackHoleAll() }), heal)},
		{name: "refused", what: "connections are reset and refused", proxied: true, play: outage(proxies(func(n *node) { n.proxy.Refuse() }), heal)},
		{name: "lost-replies", what: "Redis does what it is asked, and its replies get lost", proxied: true, play: lostReplies},
		{name: "cut-off", what: "one server is cut off while the others work", proxied: true, play: cutOff},
		{name: "away-at-start", what: "the servers start while Redis is away", early: func(_ context.Context, f *fleet) error {
			f.history.Add(drill.Op{Kind: drill.RedisDown})
			return f.redis.Kill()
		}, play: func(ctx context.Context, f *fleet) error {
			err := errors.Join(wait(ctx, f.config.Duration), f.redis.Restart())
			f.over()
			return err
		}},
		{name: "server-killed", what: "a server is killed in an outage and started again in it", play: func(ctx context.Context, f *fleet) error {
			return f.away(ctx, freeze, thaw, func() error {
				n := f.some()
				n.crash()
				return n.restart(ctx)
			})
		}},
		{name: "server-killed-late", what: "a server is killed in an outage and started again after it", play: func(ctx context.Context, f *fleet) error {
			n := f.some()
			if err := f.away(ctx, kill, restart, func() error { n.crash(); return nil }); err != nil {
				return err
			}
			return n.restart(ctx)
		}},
		{name: "both-killed", what: "Redis and all servers are killed at once, as by a reboot", play: func(ctx context.Context, f *fleet) error {
			if err := f.away(ctx, kill, restart, func() error {
				for _, n := range f.nodes {
					n.crash()
				}
				return nil
			}); err != nil {
				return err
			}
			for _, n := range f.nodes {
				if err := n.restart(ctx); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

// lostReplies loses the reply of something again and again.
func lostReplies(ctx context.Context, f *fleet) error {
	for _, n := range f.nodes {
		f.history.Add(drill.Op{Kind: drill.Cut, Node: n.name})
	}
	end := time.Now().Add(f.config.Duration)
	for time.Now().Before(end) {
		f.some().proxy.LoseReplies(3 + f.random.IntN(4)) // what is tried again, too
		if err := wait(ctx, time.Duration(20+f.random.IntN(200))*time.Millisecond); err != nil {
			return err
		}
	}
	err := heal(f)
	for _, n := range f.nodes {
		f.history.Add(drill.Op{Kind: drill.Mended, Node: n.name})
	}
	return err
}

// cutOff keeps one server from Redis for longer than its lease.
func cutOff(ctx context.Context, f *fleet) error {
	n := f.some()
	f.history.Add(drill.Op{Kind: drill.Cut, Node: n.name})
	n.proxy.BlackHoleAll()
	err := wait(ctx, max(f.config.Duration, lease+2*time.Second))
	err = errors.Join(err, n.proxy.Heal())
	f.history.Add(drill.Op{Kind: drill.Mended, Node: n.name})
	f.to = time.Now()
	return err
}

func brownouts() []scenario {
	slow := func(name, what string, begin func(n *node)) scenario {
		return scenario{name: name, what: what, proxied: true, slow: true, play: func(ctx context.Context, f *fleet) error {
			f.history.Add(drill.Op{Kind: drill.RedisDown})
			err := errors.Join(proxies(begin)(f), wait(ctx, f.config.Duration), heal(f))
			f.over()
			return err
		}}
	}
	return []scenario{
		slow("slow", "every reply takes 300 ms longer", func(n *node) { n.proxy.Delay(300 * time.Millisecond) }),
		slow("resets", "5 % of what is sent ends its connection", func(n *node) { n.proxy.ResetAtRandom(0.05, n.fleet.config.Seed) }),
		slow("narrow", "1 MB a second has to do for each server", func(n *node) { n.proxy.Limit(1 << 20) }),
		{name: "stutter", what: "Redis stops and goes on ten times a second", slow: true, play: func(ctx context.Context, f *fleet) error {
			f.history.Add(drill.Op{Kind: drill.RedisDown})
			end := time.Now().Add(f.config.Duration)
			for time.Now().Before(end) {
				err := f.redis.Freeze()
				err = errors.Join(err, wait(ctx, 50*time.Millisecond), f.redis.Thaw())
				if err = errors.Join(err, wait(ctx, 50*time.Millisecond)); err != nil {
					return err
				}
			}
			f.over()
			return nil
		}},
	}
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redisproc"
)

// apart are scenarios in which servers, tasks or parts of Redis are not alike.
func apart() []scenario {
	return []scenario{
		{name: "cluster-part", what: "of three primaries of a Cluster the one with tasks stands still", cluster: 3,
			redis: []string{"--appendonly", "yes", "--appendfsync", "no", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"},
			play: func(ctx context.Context, f *fleet) error {
				all := append([]*redisproc.Server{f.redis}, f.more...)
				i := slices.IndexFunc(all, func(s *redisproc.Server) bool {
					_, err := s.Do("EXISTS", "mai:{0}:meta") // elsewhere: MOVED
					return err == nil
				})
				if i < 0 {
					return errors.New("no primary of the Cluster has the servers' keys")
				}
				one := all[i]
				return f.away(ctx, func(*fleet) error { return one.Freeze() }, func(*fleet) error { return one.Thaw() }, nil)
			}},
		{name: "peers", what: "one server accepts, and others that know it as a peer run its tasks", flags: func(f *fleet, n *node) []string {
			if n == f.nodes[0] {
				f.takers = []*node{n}
				return []string{"--role", "api"}
			}
			return []string{"--role", "worker", "--peer", f.nodes[0].url}
		}, play: outage(freeze, thaw)},
		{name: "poison", what: "a task that Redis refuses for ever stands before others", play: func(ctx context.Context, f *fleet) error {
			// Redis takes no value of a megabyte.
			if _, err := f.redis.Do("CONFIG", "SET", "proto-max-bulk-len", fmt.Sprint(1<<20)); err != nil {
				return err
			}
			n := f.some()
			var bad morningai.ID
			if err := f.away(ctx, freeze, thaw, func() (err error) {
				spec := morningai.NewTaskSpec("echo", fmt.Appendf(nil, "%q", strings.Repeat("x", 1<<20-2)))
				spec.DuringOutage = morningai.OutageHold
				var ok bool
				if bad, ok = f.enqueue(n, spec); !ok {
					err = errors.New("a large task is not accepted")
				}
				return err
			}); err != nil {
				return err
			}
			f.odd[bad] = true
			err := until(ctx, "a task to be set aside", func() (bool, error) { return n.hasSetAside(ctx, bad) })
			f.history.Add(drill.Op{Kind: drill.SetAside, Node: n.name, Task: bad})
			return err
		}},
	}
}

// hasSetAside reports whether an incident of the server names the task.
func (n *node) hasSetAside(ctx context.Context, id morningai.ID) (bool, error) {
	c := n.client.Load()
	all, err := c.Incidents(ctx)
	if err != nil {
		return false, err
	}
	for i := range all {
		one, err := c.Incident(ctx, all[i].ID)
		if err != nil || slices.Contains(one.SetAsideIDs, id) {
			return err == nil, err
		}
	}
	return false, nil
}

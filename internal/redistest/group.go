package redistest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redisproc"
)

// Group is a primary with two replicas, watched by three sentinels that call
// it "main".
type Group struct {
	Primary   *Server // the first one; a failover makes another the primary
	Replicas  []*Server
	Sentinels []*Server
}

// StartGroup starts a Sentinel group and waits until it is complete. With
// "--requirepass" its sentinels want [SentinelPassword].
func StartGroup(tb testing.TB, args ...string) *Group {
	tb.Helper()
	return Redis.StartGroup(tb, args...)
}

// StartGroup is the function of that name with programs of the kind.
func (k Kind) StartGroup(tb testing.TB, args ...string) *Group {
	tb.Helper()
	var auth []string
	if pass := after(args, "--requirepass"); pass != "" {
		args = append(slices.Clone(args), "--masterauth", pass)
		auth = []string{"sentinel auth-pass main " + pass, "requirepass " + SentinelPassword}
	}
	g := &Group{Primary: k.Start(tb, args...)}
	for range 2 {
		replica := k.Start(tb, append(slices.Clone(args), "--replicaof", fmt.Sprintf("127.0.0.1 %d", g.Primary.Port()), "--repl-diskless-sync-delay", "0")...)
		g.Replicas = append(g.Replicas, replica)
	}
	for _, r := range g.Replicas {
		Until(tb, "a replica to follow", func() bool { return strings.Contains(r.Do("INFO", "replication"), "master_link_status:up") })
	}
	for range 3 {
		g.Sentinels = append(g.Sentinels, k.startSentinel(tb, g.Primary.Port(), 2, auth...))
	}
	for _, s := range g.Sentinels {
		Until(tb, "a sentinel to know the others", func() bool {
			text := s.Do("SENTINEL", "MASTER", "main")
			return strings.Contains(text, "num-slaves\n2\n") && strings.Contains(text, "num-other-sentinels\n2\n")
		})
	}
	return g
}

// SentinelPassword is what the sentinels of a group with a password want.
const SentinelPassword = "sentinels"

// StartSentinel starts one sentinel for a primary that it calls "main", with
// more lines in its configuration.
func StartSentinel(tb testing.TB, master, quorum int, lines ...string) *Server {
	tb.Helper()
	return Redis.startSentinel(tb, master, quorum, lines...)
}

func (k Kind) startSentinel(tb testing.TB, master, quorum int, lines ...string) *Server {
	tb.Helper()
	config := append([]string{fmt.Sprintf("sentinel monitor main 127.0.0.1 %d %d", master, quorum),
		"sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000"}, lines...)
	o := redisproc.Options{Program: redisproc.Program(k), Sentinel: config}
	if slices.Contains(lines, "requirepass "+SentinelPassword) {
		o.Password = SentinelPassword
	}
	return run(tb, o)
}

// URL is the address of the group in the form that the engine reads.
func (g *Group) URL() string {
	var hosts []string
	for _, s := range g.Sentinels {
		hosts = append(hosts, s.Addr())
	}
	return "redis+sentinel://" + strings.Join(hosts, ",") + "/main"
}

// Cluster is a Cluster of primaries without replicas.
type Cluster struct{ Nodes []*Server }

// StartCluster starts n primaries that share the slots evenly, and waits until
// they agree.
func StartCluster(tb testing.TB, n int, args ...string) *Cluster {
	tb.Helper()
	return Redis.StartCluster(tb, n, args...)
}

// StartCluster is the function of that name with programs of the kind.
func (k Kind) StartCluster(tb testing.TB, n int, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{}
	for range n {
		c.Nodes = append(c.Nodes, k.Start(tb, append(slices.Clone(args), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")...))
	}
	for i, s := range c.Nodes {
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*16384/n), strconv.Itoa((i+1)*16384/n-1))
		s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].Port()))
	}
	for _, s := range c.Nodes {
		Until(tb, "the Cluster to agree", func() bool {
			text := s.Do("CLUSTER", "INFO")
			return strings.Contains(text, "cluster_state:ok") && strings.Contains(text, fmt.Sprintf("cluster_known_nodes:%d", n)) &&
				strings.Contains(text, "cluster_slots_ok:16384")
		})
	}
	return c
}

// URL is the address of the Cluster in the form that the engine reads.
func (c *Cluster) URL() string {
	var hosts []string
	for _, s := range c.Nodes {
		hosts = append(hosts, s.Addr())
	}
	return "redis+cluster://" + strings.Join(hosts, ",")
}

// Owner is the node that holds a key's slot.
func (c *Cluster) Owner(key string) *Server {
	c.Nodes[0].tb.Helper()
	slot := c.Nodes[0].Do("CLUSTER", "KEYSLOT", key)
	for _, s := range c.Nodes {
		if _, err := s.Try("CLUSTER", "GETKEYSINSLOT", slot, "1"); err == nil {
			if _, err := s.Try("EXISTS", key); err == nil { // elsewhere: MOVED
				return s
			}
		}
	}
	c.Nodes[0].tb.Fatalf("nobody owns slot %s", slot)
	return nil
}

// Move hands the slot of a key to another node while clients use it.
func (c *Cluster) Move(key string, to *Server) {
	tb := to.tb
	tb.Helper()
	from := c.Owner(key)
	slot := from.Do("CLUSTER", "KEYSLOT", key)
	fromID, toID := from.Do("CLUSTER", "MYID"), to.Do("CLUSTER", "MYID")
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	Until(tb, "all keys to move", func() bool {
		keys := from.Do("CLUSTER", "GETKEYSINSLOT", slot, "100")
		if keys == "" {
			return true
		}
		args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), "", "0", "5000", "KEYS"}
		_, err := from.Try(append(args, strings.Split(keys, "\n")...)...)
		if err != nil {
			tb.Logf("migrate: %v", err)
		}
		return false
	})
	for _, s := range c.Nodes {
		s.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
}

package outagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redistest"
)

// partitions of the Clusters here.
const partitions = 16

// part is one primary of a Cluster, and the partitions that it holds.
type part struct {
	server *redistest.Server
	holds  []int
}

func (p *part) has(id morningai.ID) bool { return slices.Contains(p.holds, id.Part(partitions)) }

// startCluster starts servers on a Cluster of three primaries without replicas, which
// serve what they have when one is lost.
func startCluster(t *testing.T, args ...string) (*fleet, *redistest.Cluster) {
	f := startFleet(t)
	f.history.Setup.Starts = true
	c := redistest.StartCluster(t, 3, append([]string{"--appendonly", "yes", "--appendfsync", "no", "--cluster-require-full-coverage", "no"}, args...)...)
	for _, name := range []string{"a", "b"} {
		f.startNode(name, "--redis", fmt.Sprintf("%s?partitions=%d", c.URL(), partitions))
	}
	return f, c
}

// partOf is what the owner of a partition holds.
func partOf(c *redistest.Cluster, partition int) *part {
	p := &part{server: c.Owner(fmt.Sprintf("mai:{%d}:meta", partition))}
	for n := range partitions {
		if c.Owner(fmt.Sprintf("mai:{%d}:meta", n)) == p.server {
			p.holds = append(p.holds, n)
		}
	}
	return p
}

// One primary of a Cluster is lost, with the partition of the members or without it.
// The tasks of its partitions have an outage: they are accepted into the journal and
// run where they were accepted. All others go through Redis as before.
func TestOnePrimaryOfAClusterIsLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		partition  int
		args       []string
		begin, end func(*redistest.Server)
	}{
		{"killed", 1, nil, (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"killed without its data", 1, withoutDisk, (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"frozen, with the members", 0, nil, (*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, cluster := startCluster(t, c.args...)
			lost := partOf(cluster, c.partition)
			f.acquainted()
			tr := f.traffic(40, f.allCounted, f.nodes...)
			long := append(f.running(f.nodes[0], 8, "long"), f.running(f.nodes[1], 8, "long")...)
			f.history.Add(drill.Op{Kind: drill.RedisDown})
			over := func() {}
			if c.args != nil {
				loss := f.history.Begin(drill.Op{Kind: drill.RedisLost})
				over = func() { loss.Return(nil) }
			}
			c.begin(lost.server)
			for _, n := range f.nodes {
				f.partly(n, lost)
			}
			from := time.Now()
			rest(3 * time.Second)
			f.callee.open("long")
			made := tr.stop()
			apart := f.othersGoOn(lost, during(made, from, time.Now()))
			for _, n := range f.nodes {
				for range 8 {
					f.findsPlace(n, lost)
				}
			}
			c.end(lost.server)
			f.history.Add(drill.Op{Kind: drill.RedisUp})
			over()
			f.settle()
			f.succeededOnce(f.everyStatusAgrees(), append(long, made...))
			f.allAccepted(made)
			for _, n := range f.nodes {
				all := f.incidents(n)
				if len(all) == 0 || !strings.Contains(all[0].Cause, lost.server.Addr()) && c.args == nil || all[0].RanLocally == 0 || all[0].Lost+all[0].SetAside+all[0].Repeated+all[0].MaybeRepeated != 0 {
					t.Errorf("%d tasks of the lost partitions were accepted, and %s reports %+v", apart, n.name, all)
				}
			}
		})
	}
}

// partly waits until a server says that just these partitions are away.
func (f *fleet) partly(n *node, lost *part) {
	f.t.Helper()
	var h health
	if !within(15*time.Second, func() bool {
		h = f.health(n)
		return h.Status == "degraded" && h.Redis.Status == "partly" && slices.Equal(h.Redis.Partitions, lost.holds) && strings.Contains(h.Redis.Cause, lost.server.Addr())
	}) {
		f.t.Fatalf("%s does not say that partitions %v are away: %+v", n.name, lost.holds, h)
	}
}

// othersGoOn checks what was accepted while a part was away, and returns how many of
// them belong to it.
func (f *fleet) othersGoOn(lost *part, receipts []receipt) int {
	f.t.Helper()
	durable := map[bool]map[string]int{true: {}, false: {}}
	for _, r := range receipts {
		durable[lost.has(r.id)][r.task.Durable]++
		switch {
		case !lost.has(r.id):
			for _, n := range f.nodes {
				f.liveOn(n, r.id)
			}
		case r.task.Runs == morningai.RunsHere: // else it was accepted in the moment of a failure, and waits
			f.waitFor(r.node, r.id, morningai.StateSucceeded)
		}
	}
	of, others := durable[true], durable[false]
	f.t.Logf("of the lost partitions %v, of the others %v", of, others)
	if of["journal"] == 0 || len(of) != 1 {
		f.t.Errorf("tasks of the lost partitions are durable in %v", of)
	}
	if others["journal+redis"] <= others["journal"] { // a busy machine may be an outage of all for a moment
		f.t.Errorf("tasks of the other partitions are durable in %v", others)
	}
	return of["journal"]
}

// liveOn waits until a server shows that a task has succeeded, and that this is so now.
func (f *fleet) liveOn(n *node, id morningai.ID) {
	f.t.Helper()
	var last reply
	if !within(patience, func() bool {
		var v view
		last, v = f.look(n, id)
		return last.status == 200 && v.State == morningai.StateSucceeded && v.Fresh == morningai.FreshLive
	}) {
		f.t.Fatalf("task %s of partition %d has not succeeded on %s: %s", id, id.Part(partitions), n.name, last)
	}
}

// findsPlace accepts a task whose id the server makes: nobody knows it yet, so that it
// goes to a partition that is there.
func (f *fleet) findsPlace(n *node, lost *part) {
	f.t.Helper()
	call := f.history.Begin(drill.Op{Kind: drill.Enqueue, Node: n.name, Client: "producer", Payload: drill.DigestOf([]byte("1"))})
	r := n.call("POST", "/v1/tasks", f.echo(1))
	var v view
	r.into(f.t, &v)
	call.Return(func(o *drill.Op) {
		o.Task = v.ID
		o.Receive(&morningai.Receipt{Task: v.Task})
	})
	if r.status != 202 || v.Durable != "journal+redis" || lost.has(v.ID) {
		f.t.Errorf("a task without an id is answered with %s", r)
	}
}

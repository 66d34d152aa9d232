package outagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// A task that Redis refuses for ever is set aside with its reason, and those
// behind it flow. Real servers refuse what is larger than their limit; a firewall
// in between breaks every connection that carries certain bytes.
func TestPoison(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		infect func(f *fleet) spec
	}{
		{"too large for Redis", func(f *fleet) spec {
			f.redis.Do("CONFIG", "SET", "proto-max-bulk-len", fmt.Sprint(1<<20))
			return f.echo(strings.Repeat("x", 1<<20-2))
		}},
		{"breaks its connection", func(f *fleet) spec {
			f.proxy.BreakOn("a word that must not pass")
			return f.echo("a word that must not pass")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t).behindProxy()
			a, b := f.startNode("a"), f.startNode("b")
			poison := c.infect(f).with("during_outage", "hold")
			f.away(frozen)
			f.degraded(a, b)
			var made []receipt
			var bad receipt
			for i := range 60 {
				if i == 20 {
					bad = f.must(a, poison)
				}
				made = append(made, f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold")))
			}
			f.back(frozen)
			for _, r := range made {
				f.waitFor(b, r.id, morningai.StateSucceeded)
			}
			until(t, patience, "the poison to be set aside", func() bool {
				return slices.ContainsFunc(f.incidents(a), func(i incident) bool {
					return i.SetAside == 1 && slices.Contains(i.SetAsideIDs, bad.id.String())
				})
			})
			f.history.Add(drill.Op{Kind: drill.SetAside, Node: "a", Task: bad.id})
			if !strings.Contains(a.saidNow(), bad.id.String()) {
				t.Errorf("the log does not name what was set aside")
			}
			// The server does not stay degraded for it, and goes on accepting.
			until(t, patience, "a to recover", func() bool { return f.health(a).Status == "ok" })
			made = append(made, f.must(a, f.counted(f.callee.atOnce())))
			f.settle(bad.id)
			if r, v := f.look(a, bad.id); r.status != 200 || v.State == morningai.StateSucceeded {
				t.Errorf("what was set aside is answered with %s", r)
			}
			at := f.everyStatusAgrees()
			f.succeededOnce(at, made)
		})
	}
}

package outagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// installations are two fleets of one server each, in two databases of one Redis.
func installations(t *testing.T) (f *fleet, ours, theirs *node) {
	f = startFleet(t)
	ours = f.startNode("ours")
	theirs = newNode(t, "theirs", "--redis", f.redis.URL()+"/1", "--lease", lease.String())
	theirs.start()
	return f, ours, theirs
}

// foreign reports what of a server's is in a database that is not its own: its
// tasks, and itself among the members.
func (f *fleet) foreign(in *node, of *node, ids ...morningai.ID) {
	f.t.Helper()
	if r := in.call("GET", "/v1/nodes", nil); r.status != 200 || strings.Contains(string(r.body), `"`+of.name+`"`) {
		f.t.Errorf("the servers that %s knows of are %s", in.name, r)
	}
	for _, id := range ids {
		var r reply
		if !within(patience, func() bool { r = in.call("GET", "/v1/tasks/"+id.String(), nil); return r.status != 503 }) || r.status != 404 {
			f.t.Errorf("a task of %s is on %s: %s", of.name, in.name, r)
		}
	}
}

// A server whose address leads to the data of another installation does not
// start, and says what to do; nothing of its journal comes there.
func TestStartOnOtherData(t *testing.T) {
	t.Parallel()
	f, ours, theirs := installations(t)
	done := f.must(ours, f.counted(f.callee.atOnce()))
	waits := f.must(ours, f.counted(f.callee.atOnce()).with("delay", "24h"))
	f.waitFor(ours, done.id, morningai.StateSucceeded)
	f.kill(ours) // with outcomes and a member that a start would tell of
	right := ours.flags
	ours.flags = append(right[:len(right):len(right)], "--redis", f.redis.URL()+"/1")
	ours.launch()
	select {
	case <-ours.done:
	case <-time.After(patience):
		t.Fatal("it neither starts nor ends")
	}
	said := ours.saidNow()
	if code := ours.cmd.ProcessState.ExitCode(); code != 5 || !strings.Contains(said, "other data") || !strings.Contains(said, "correct the address") {
		t.Errorf("it has ended with %d and said %s", code, said)
	}
	f.foreign(theirs, ours, done.id, waits.id)
	ours.flags = right
	f.again(ours)
	f.settle(waits.id)
	f.succeededOnce(f.everyStatusAgrees(), []receipt{done})
}

// The address of a running server comes to hold the data of another installation:
// it goes on by itself, says why, and brings nothing there. When the address is
// right again nothing was lost.
func TestAddressComesToHoldOtherData(t *testing.T) {
	t.Parallel()
	f, ours, theirs := installations(t)
	tr := f.traffic(50, f.allCounted, ours)
	long := f.running(ours, 3, "long")
	rest(time.Second)
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	f.redis.Do("SWAPDB", "0", "1")
	until(t, patience, "the cause to be told", func() bool {
		h := f.health(ours)
		return h.Status == "degraded" && strings.Contains(h.Redis.Cause, "other data") && strings.Contains(h.Redis.Hint, "correct the address")
	})
	during := f.must(ours, f.counted(f.callee.atOnce()))
	f.waitFor(ours, during.id, morningai.StateSucceeded)
	rest(2 * time.Second) // beats and probes go on
	f.redis.Do("SWAPDB", "0", "1")
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	made := tr.stop()
	f.callee.open("long")
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), append(append(made, long...), during))
	f.allAccepted(made)
	f.foreign(theirs, ours, during.id, long[0].id, made[0].id, made[len(made)-1].id)
	f.foreign(ours, theirs)
}

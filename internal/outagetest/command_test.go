package outagetest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// setQueue changes a queue and records it.
func (f *fleet) setQueue(n *node, name string, paused bool) reply {
	kind := drill.Pause
	if !paused {
		kind = drill.Resume
	}
	call := f.history.Begin(drill.Op{Kind: kind, Node: n.name, Client: "operator", Queue: name})
	r := n.call("PATCH", "/v1/queues/"+name, map[string]any{"paused": paused})
	call.Return(func(o *drill.Op) {
		switch {
		case r.err != nil:
			o.Outcome = drill.Unknown
		case r.status >= 400:
			o.Outcome, o.Code = r.judge()
		default:
			o.Pending = r.pending()
		}
	})
	return r
}

func (r reply) pending() bool {
	var body struct {
		Pending bool `json:"pending"`
	}
	return json.Unmarshal(r.body, &body) == nil && body.Pending
}

// Commands for tasks that Redis has are acknowledged as pending, and happen
// afterwards; those for tasks that only this server knows happen at once.
func TestCommandsInAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	if r := f.setQueue(a, "closed", true); r.status != 200 || r.pending() {
		t.Fatalf("pause: %s", r)
	}
	waits := f.counted(f.callee.atOnce())
	inClosed := f.must(a, waits.with("queue", "closed"))
	stays := f.must(a, waits.with("queue", "closed"))
	later := f.must(a, waits.with("delay", "1h"))
	never := f.must(b, waits.with("delay", "1h"))
	gone := f.must(a, waits.with("delay", "1h"))
	failed := f.must(a, spec{"type": "flaky", "payload": map[string]any{"fail_times": 1}, "max_attempts": 1})
	f.waitFor(a, failed.id, morningai.StateFailed)
	runs := f.running(b, 1, "never")[0]

	f.away(frozen)
	f.degraded(a, b)
	for _, c := range []struct {
		name string
		kind drill.Kind
		on   *node
		of   receipt
	}{
		{"cancel of a queued task", drill.Cancel, a, inClosed},
		{"run of a scheduled task", drill.Run, a, later},
		{"cancel of a scheduled task", drill.Cancel, b, never},
		{"retry of a failed task", drill.Retry, a, failed},
		{"removal of a scheduled task", drill.Delete, a, gone},
		{"cancel of a running task", drill.Cancel, b, runs},
	} {
		if r, v := f.command(c.on, c.kind, c.of.id); r.status != 202 || !v.Pending {
			t.Errorf("%s is answered with %d %s", c.name, r.status, r)
		}
	}
	held := f.must(a, waits.with("during_outage", "hold"))
	if held.task.Durable != "journal" || held.task.Runs != morningai.RunsLater {
		t.Errorf("the receipt of a held task says %s, %s", held.task.Durable, held.task.Runs)
	}
	if r, v := f.command(a, drill.Cancel, held.id); r.status != 200 || v.State != morningai.StateCanceled || v.Pending {
		t.Errorf("cancel of a task that only this server knows is answered with %d %s", r.status, r)
	}
	// Whether there is such a task may be unknown to a server that has not
	// accepted it.
	if r, _ := f.command(a, drill.Cancel, never.id); r.status != 202 && (r.status != 503 || r.code() != "status_unknown") {
		t.Errorf("cancel of a task that another server has accepted is answered with %d %s", r.status, r)
	}
	if r, _ := f.command(a, drill.Cancel, mustID(t)); r.status != 503 || r.code() != "status_unknown" {
		t.Errorf("cancel of an unknown task is answered with %s", r)
	}
	f.back(frozen)

	for n, tasks := range f.atRest(stays.id) {
		for id, want := range map[morningai.ID]morningai.State{
			inClosed.id: morningai.StateCanceled, later.id: morningai.StateSucceeded, never.id: morningai.StateCanceled,
			failed.id: morningai.StateSucceeded, runs.id: morningai.StateCanceled, held.id: morningai.StateCanceled, stays.id: morningai.StateQueued,
		} {
			if v := tasks[id]; v.State != want || v.Pending {
				t.Errorf("on %s a task is %s (pending %v), want %s", n.name, v.State, v.Pending, want)
			}
		}
		if _, there := tasks[gone.id]; there {
			t.Errorf("%s has a task whose removal was acknowledged", n.name)
		}
		if v := tasks[failed.id]; v.Life != 2 {
			t.Errorf("the retried task is in life %d", v.Life)
		}
	}
	for _, r := range []receipt{inClosed, never, gone, held, stays} {
		if ran := f.callee.of(r.id); len(ran) > 0 {
			t.Errorf("a task that was canceled before it could start, or waits in a paused queue, has run: %v", ran)
		}
	}
	if ran := f.callee.of(later.id); len(ran) != 1 {
		t.Errorf("a scheduled task that was told to run has run %d times", len(ran))
	}
}

func mustID(t *testing.T) morningai.ID {
	t.Helper()
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// atRest is settle and everyStatusAgrees.
func (f *fleet) atRest(except ...morningai.ID) ends {
	f.t.Helper()
	f.settle(except...)
	return f.everyStatusAgrees()
}

// mirrored is after which every server knows of the others, and of a setting
// that another one made.
const mirrored = 5 * time.Second

// A pause in an outage holds on the server that was told, says that Redis has
// still to be told, and holds everywhere afterwards.
func TestPauseInAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	first := f.must(a, f.counted(f.callee.atOnce()).with("queue", "mail"))
	f.setQueue(a, "shut", true)
	f.waitFor(b, first.id, morningai.StateSucceeded)
	rest(mirrored)
	f.away(killed)
	f.degraded(a, b)
	if r := f.setQueue(a, "mail", true); r.status != 200 && r.status != 202 || !r.pending() {
		t.Errorf("a pause in an outage is answered with %d %s", r.status, r)
	}
	// So is that of a queue that nobody has used yet, and an unknown one is not "not found".
	if r := f.setQueue(a, "new", true); r.status != 202 || !r.pending() {
		t.Errorf("a pause of a new queue in an outage is answered with %d %s", r.status, r)
	}
	if !f.queues(a)["new"].Paused {
		t.Error("the new queue is not shown as paused")
	}
	if r := a.call("GET", "/v1/queues/unknown", nil); r.status != 503 {
		t.Errorf("an unknown queue in an outage is answered with %d %s", r.status, r)
	}
	fresh := f.must(a, f.counted(f.callee.atOnce()).with("queue", "new"))
	mail := f.must(a, f.counted(f.callee.atOnce()).with("queue", "mail"))
	other := f.must(a, f.counted(f.callee.atOnce()))
	f.waitFor(a, other.id, morningai.StateSucceeded) // it was accepted later, and has had its turn
	// The pause from before the outage holds on a server that was never told.
	shut := f.must(b, f.counted(f.callee.atOnce()).with("queue", "shut"))
	proof := f.must(b, f.counted(f.callee.atOnce()))
	f.waitFor(b, proof.id, morningai.StateSucceeded)
	if ran := f.callee.of(mail.id); len(ran) > 0 {
		t.Errorf("a task of a queue that was paused in the outage has run")
	}
	if ran := f.callee.of(fresh.id); len(ran) > 0 {
		t.Errorf("a task of a new queue that was paused in the outage has run")
	}
	if ran := f.callee.of(shut.id); len(ran) > 0 {
		t.Errorf("a task of a queue that was paused before the outage, on another server, has run")
	}
	f.back(killed)
	f.atRest(mail.id, fresh.id, shut.id)
	for _, n := range []*node{a, b} {
		for _, name := range []string{"mail", "new", "shut"} {
			if !f.queues(n)[name].Paused {
				t.Errorf("queue %s is not paused on %s after the outage", name, n.name)
			}
		}
	}
	for _, name := range []string{"mail", "new", "shut"} {
		if r := f.setQueue(b, name, false); r.status != 200 && r.status != 202 {
			t.Errorf("resume: %s", r)
		}
	}
	f.succeededOnce(f.atRest(), []receipt{first, mail, other, fresh, shut, proof})
}

// A unique key that two servers gave to two tasks belongs to the earlier one
// afterwards; the other says that it was superseded, and has not run.
func TestUniqueKeysInAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	task := f.counted(f.callee.atOnce())
	before := f.must(a, task.with("unique_key", "before").with("delay", "1h"))
	rest(mirrored)
	f.away(frozen)
	f.degraded(a, b)
	keyed := task.with("during_outage", "hold").with("unique_key", "inside")
	first := f.must(a, keyed)
	if r := f.enqueue(a, keyed); r.status != 200 || r.task.ID != first.id || !r.task.Duplicate {
		t.Errorf("a key that a task of the same server holds is answered with %d %s", r.status, r)
	}
	second := f.must(b, keyed)
	// The holder waits in Redis, and a has accepted it, so a knows; b may not.
	known := f.enqueue(a, task.with("during_outage", "hold").with("unique_key", "before"))
	if known.status == 200 && known.task.ID != before.id || known.status != 200 && known.status != 202 {
		t.Errorf("a key whose holder is in Redis is answered with %d %s", known.status, known)
	}
	unknown := f.enqueue(b, task.with("during_outage", "hold").with("unique_key", "before"))
	f.back(frozen)
	at := f.atRest(before.id)
	for n, tasks := range at {
		if v := tasks[first.id]; v.State != morningai.StateSucceeded || v.CreatedAt.Sub(first.task.CreatedAt).Abs() > time.Millisecond {
			t.Errorf("on %s the earlier holder of the key, accepted at %v, is %s, accepted at %v", n.name, first.task.CreatedAt, v.State, v.CreatedAt)
		}
		for name, r := range map[string]receipt{"of two servers": second, "where the holder is known": known, "where the holder is not known": unknown} {
			if r.task.ID != r.id {
				continue // it was answered with the holder
			}
			if v := tasks[r.id]; v.State != morningai.StateCanceled || v.Error == nil || v.Error.Code != morningai.ErrorCodeSuperseded {
				t.Errorf("on %s a later holder of a key, %s, is %s, %v", n.name, name, v.State, v.Error)
			}
			if ran := f.callee.of(r.id); len(ran) > 0 {
				t.Errorf("a superseded task, %s, has run", name)
			}
		}
		if v := tasks[before.id]; v.State != morningai.StateScheduled {
			t.Errorf("on %s the holder from before the outage is %s", n.name, v.State)
		}
	}
	if ran := f.callee.of(first.id); len(ran) != 1 {
		t.Errorf("the holder of the key has run %d times", len(ran))
	}
	superseded := int64(0)
	for n := range at {
		for _, i := range f.incidents(n) {
			superseded += i.Superseded
		}
	}
	if superseded == 0 {
		t.Error("no incident tells of superseded tasks")
	}
}

// What cannot be known is said to be unknown, never to be absent or empty.
func TestReadsInAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	old := f.must(a, f.counted(f.callee.atOnce()))
	f.waitFor(b, old.id, morningai.StateSucceeded)
	waits := f.must(b, f.counted(f.callee.atOnce()).with("delay", "1h"))
	rest(mirrored)
	f.away(frozen)
	f.degraded(a, b)
	there := f.must(b, f.counted(f.callee.atOnce()).with("during_outage", "hold"))
	unseen := f.must(b, f.counted(f.callee.atOnce()).with("during_outage", "hold"))
	if r, v := f.look(a, there.id); r.status != 200 || v.State != morningai.StateQueued || v.Fresh == morningai.FreshStale {
		t.Errorf("behind a load balancer, a task of another server is answered with %s", r)
	}
	for _, n := range []*node{a, b} {
		if r, _ := f.look(n, mustID(t)); r.status != 503 || r.code() != "status_unknown" {
			t.Errorf("%s answers for an unknown id with %s", n.name, r)
		}
		if r := n.call("GET", "/v1/tasks/no-id", nil); r.status != 404 {
			t.Errorf("%s answers for what is no id with %s", n.name, r)
		}
		r, p := f.list(n)
		if r.status == 200 && (p.Fresh == morningai.FreshLive || len(p.Tasks) == 0) || r.status != 200 && r.code() != "status_unknown" {
			t.Errorf("%s lists %d tasks as %s: %d", n.name, len(p.Tasks), p.Fresh, r.status)
		}
		r = n.call("GET", "/v1/tasks?queue=nothing-here", nil)
		p = page{}
		if r.status == 200 {
			r.into(t, &p)
		}
		if r.status == 200 && p.Fresh == morningai.FreshLive || r.status != 200 && r.code() != "status_unknown" {
			t.Errorf("%s shows an empty list as the truth: %s", n.name, r)
		}
		r = n.call("GET", "/v1/stats", nil)
		var stats struct {
			States map[string]int
			Fresh  morningai.Freshness
		}
		if r.status == 200 {
			r.into(t, &stats)
		}
		if r.status == 200 && stats.Fresh == morningai.FreshLive || r.status != 200 && r.code() != "status_unknown" {
			t.Errorf("%s shows counts as the truth: %s", n.name, r)
		}
	}
	// The server that knows does not answer: neither does the one that asks it,
	// but in time.
	f.freeze(b)
	r, _ := f.look(a, unseen.id)
	if r.status != 503 || r.code() != "status_unknown" {
		t.Errorf("a task of a frozen server is answered with %s", r)
	}
	if net := yard.since(t, r.at).net(period{r.at, r.took}); net > 3*time.Second {
		late(t, "a read that asks a frozen server takes %v", net)
	}
	f.thaw(b)
	f.back(frozen)
	at := f.atRest(waits.id)
	f.succeededOnce(at, []receipt{old, there, unseen})
	if !within(15*time.Second, func() bool { r, _ := f.look(a, mustID(t)); return r.status == 404 }) {
		t.Error("with every server in contact an unknown id is not answered with 404")
	}
}

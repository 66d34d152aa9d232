package outagetest

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// command runs the program and returns what it prints and its exit code.
func (n *node) command(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), binary, args...)
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run() // the code tells
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// An outage is reported by route, command, log and metric, and the report
// survives the server.
func TestIncidents(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.startNode("a")
	f.away(frozen)
	f.degraded(a)
	made := f.must(a, f.counted(f.callee.atOnce()))
	held := f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold"))
	f.waitFor(a, made.id, morningai.StateSucceeded)
	lasting := f.incidents(a)
	if len(lasting) != 1 || lasting[0].EndedAt != nil || lasting[0].Accepted != 2 || lasting[0].Cause == "" {
		t.Errorf("during an outage the incidents are %+v", lasting)
	}
	f.back(frozen)
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), []receipt{made, held})
	before := f.incidents(a)
	if len(before) != 1 {
		t.Fatalf("after one outage the incidents are %+v", before)
	}
	i := before[0]
	if i.Accepted != 2 || i.RanLocally != 1 || i.Forwarded == 0 || i.Forwarded > 2 || i.Lost != 0 || i.Backlog != 0 || i.Repeated != 0 || i.Node != "a" {
		t.Errorf("the report of an outage in which two tasks were accepted, and one ran, is %+v", i)
	}
	if noticed, err := time.ParseDuration(i.NoticedAfter); err != nil || noticed <= 0 || noticed > 5*time.Second {
		t.Errorf("the outage was noticed after %q", i.NoticedAfter)
	}
	if text := a.saidNow(); !strings.Contains(text, i.ID) {
		t.Errorf("no line of the log names the incident")
	}
	metrics := a.call("GET", "/metrics", nil)
	if metrics.status != 200 || !strings.Contains(string(metrics.body), "incident") && !strings.Contains(string(metrics.body), "outage") {
		t.Errorf("GET /metrics (%d) tells nothing of outages", metrics.status)
	}

	f.kill(a)
	f.again(a)
	f.settle()
	after := f.incidents(a)
	if len(after) == 0 || after[len(after)-1].ID != i.ID || after[len(after)-1].Accepted != 2 {
		t.Errorf("after a restart the incidents are %+v", after)
	}
	out, said, code := a.command("incident", "list", "--json", "--server", *a.url.Load())
	var listed struct {
		Incidents []incident `json:"incidents"`
	}
	if err := json.Unmarshal([]byte(out), &listed); err != nil || code != 0 || len(listed.Incidents) != len(after) {
		t.Errorf("incident list: exit %d, %v\n%s%s", code, err, out, said)
	}
	out, said, code = a.command("incident", "show", i.ID, "--server", *a.url.Load())
	if code != 0 || !strings.Contains(out, i.Cause) {
		t.Errorf("incident show: exit %d\n%s%s", code, out, said)
	}
	if _, _, code = a.command("incident", "show", mustID(t).String(), "--server", *a.url.Load()); code != 4 {
		t.Errorf("an unknown incident exits with %d", code)
	}
}

// A server that will not come back: what its journal holds is listed and
// delivered from its folder, and the server is forgotten.
func TestServerThatWillNotComeBack(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b, c := f.startNode("a"), f.startNode("b"), f.startNode("c")
	f.away(frozen)
	f.degraded(a, b)
	var made []receipt
	for range 10 {
		made = append(made, f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold")))
	}
	f.kill(a)
	f.kill(c) // it has accepted nothing, but who knows
	f.back(frozen)
	until(t, patience, "b to recover", func() bool { return f.health(b).Status == "ok" })
	if r, _ := f.look(b, made[0].id); r.status != 503 || r.code() != "status_unknown" {
		t.Errorf("a task that only a dead server knows is answered with %s", r)
	}
	var nodes struct {
		Nodes []struct {
			ID        string `json:"id"`
			Node      string `json:"node"`
			Connected bool   `json:"connected"`
		} `json:"nodes"`
	}
	dead, idle := "", ""
	until(t, patience, "b to miss a and c", func() bool {
		b.call("GET", "/v1/nodes", nil).into(t, &nodes)
		for _, n := range nodes.Nodes {
			switch {
			case n.Node == "a" && !n.Connected:
				dead = n.ID
			case n.Node == "c" && !n.Connected:
				idle = n.ID
			}
		}
		return dead != "" && idle != ""
	})
	out, said, code := a.command("journal", "list", "--data", a.data)
	if code != 0 || !strings.Contains(out, made[0].id.String()) {
		t.Errorf("journal list: exit %d\n%s%s", code, out, said)
	}
	if out, said, code = a.command("journal", "drain", "--data", a.data, "--redis", f.redis.URL()); code != 0 {
		t.Errorf("journal drain: exit %d\n%s%s", code, out, said)
	}
	for _, r := range made {
		f.waitFor(b, r.id, morningai.StateSucceeded)
	}
	if out, said, code = a.command("node", "forget", idle, "--server", *b.url.Load()); code != 0 {
		t.Errorf("node forget: exit %d\n%s%s", code, out, said)
	}
	for _, gone := range []string{"a", "c"} {
		f.history.Add(drill.Op{Kind: drill.Forget, Node: "b", Value: gone})
	}
	until(t, patience, "b to learn that a has left nothing behind", func() bool {
		out, said, code = a.command("node", "list", "--server", *b.url.Load())
		return code == 0 && !strings.Contains(out, dead) && !strings.Contains(out, idle)
	})
	unknown := mustID(t)
	until(t, patience, "b to be sure that nobody has an unknown task", func() bool {
		r, _ := f.look(b, unknown)
		return r.status == 404
	})
	if out, said, code = a.command("node", "forget", dead, "--server", *b.url.Load()); code != 4 {
		t.Errorf("node forget, of a server that has left: exit %d\n%s%s", code, out, said)
	}
	var left struct {
		Entries []struct {
			Where string `json:"where"`
		} `json:"entries"`
	}
	out, said, code = a.command("journal", "list", "--json", "--data", a.data)
	if err := json.Unmarshal([]byte(out), &left); err != nil || code != 0 {
		t.Errorf("journal list: exit %d, %v\n%s%s", code, err, out, said)
	}
	for _, e := range left.Entries {
		if e.Where != "copy" {
			t.Errorf("after it was drained the journal holds %+v", left.Entries)
			break
		}
	}
	f.nodes = []*node{b}
	f.succeededOnce(f.atRest(), made)
}

// An outage that begins after another one was settled leaves the report of that
// one as it was: what waits now belongs to the second.
func TestSecondOutageLeavesTheFirstReportAlone(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.startNode("a")
	f.during(killed, time.Second, func() { f.degraded(a) })
	f.settle()
	tr := f.traffic(100, f.mixed, a) // some are under way when Redis falls silent
	rest(300 * time.Millisecond)
	f.during(frozen, time.Second, func() { f.degraded(a) })
	made := tr.stop()
	f.settle()
	if all := f.incidents(a); len(all) != 2 || all[0].Backlog != 0 || all[1].Backlog != 0 {
		t.Errorf("the reports are %+v", all)
	}
	f.succeededOnce(f.everyStatusAgrees(), made)
}

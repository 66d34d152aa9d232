package outagetest

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// A server is killed with -9 in the middle of an outage and started again, while
// Redis is still away or after it has come back: nothing that it had accepted is
// lost, and nothing that had ended runs again.
func TestServerKilledInAnOutage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		beforeRedis bool
	}{{"and started before Redis returns", true}, {"and started after Redis has returned", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			f.history.Setup.Starts = true
			a, b := f.startNode("a"), f.startNode("b")
			tr := f.traffic(100, f.allCounted, a, b)
			before := f.running(a, 5, "never") // its connections end with the server
			rest(500 * time.Millisecond)
			f.away(frozen)
			f.degraded(a, b)
			held := f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold"))
			inside := f.running(a, 5, "never")
			rest(time.Second)
			f.kill(a)
			if c.beforeRedis {
				f.again(a)
				f.degraded(a)
				local := f.must(a, f.counted(f.callee.atOnce()))
				f.waitFor(a, local.id, morningai.StateSucceeded)
				rest(time.Second)
				if all := f.incidents(a); len(all) == 0 || strings.Contains(all[0].Cause, "lost") {
					t.Errorf("a server that was started in the outage reports %+v", all)
				}
				f.back(frozen)
			} else {
				f.back(frozen)
				until(t, patience, "b to recover", func() bool { return f.health(b).Status == "ok" })
				f.again(a)
			}
			rest(time.Second)
			made := tr.stop()
			f.callee.open("never")
			f.settle()
			f.nothingLost(f.everyStatusAgrees(), append(append(append(made, before...), inside...), held))
		})
	}
}

// What was accepted in the moment before a server died is in its report.
func TestReportOfAServerKilledAtOnce(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.startNode("a")
	f.away(frozen)
	f.degraded(a)
	var made []receipt
	for range 20 {
		made = append(made, f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold")))
	}
	f.kill(a)
	f.again(a)
	f.degraded(a)
	if all := f.incidents(a); len(all) != 1 || all[0].Accepted != int64(len(made)) {
		t.Errorf("of %d accepted tasks the report says %+v", len(made), all)
	}
	f.back(frozen)
	f.succeededOnce(f.atRest(), made)
}

// Redis and all servers go at once, as when the host fails, and come back.
func TestAllKilledAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		redisFirst bool
	}{{"Redis comes first", true}, {"the servers come first", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			f.history.Setup.Starts = true
			a, b := f.startNode("a"), f.startNode("b")
			tr := f.traffic(100, f.allCounted, a, b)
			long := f.running(b, 5, "never")
			rest(time.Second)
			f.away(killed)
			f.kill(a)
			f.kill(b)
			made := tr.stop()
			if c.redisFirst {
				f.back(killed)
				f.again(a)
				f.again(b)
			} else {
				f.again(a)
				f.again(b)
				f.degraded(a, b)
				made = append(made, f.must(a, f.counted(f.callee.atOnce())))
				f.back(killed)
			}
			f.callee.open("never")
			f.settle()
			f.nothingLost(f.everyStatusAgrees(), append(made, long...))
		})
	}
}

// A server that is asked to stop during an outage ends in order, and says what
// it leaves behind and how to go on; its next start delivers that.
func TestStopInAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.history.Setup.Starts = true
	a, b := f.startNode("a"), f.startNode("b")
	f.away(killed)
	f.degraded(a, b)
	var made []receipt
	for range 10 {
		made = append(made, f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold")))
	}
	f.history.Add(drill.Op{Kind: drill.Crash, Node: "a"})
	if code := a.stop(); code != 0 {
		t.Errorf("a stop in an outage exits with %d", code)
	}
	if said := tail(a.saidNow(), 5); !undelivered.MatchString(said) {
		t.Errorf("a server that stops with 10 undelivered tasks says %s", said)
	}
	f.back(killed)
	until(t, patience, "b to recover", func() bool { return f.health(b).Status == "ok" })
	for _, r := range made { // only a knows of them, and a is not there
		if r, _ := f.look(b, r.id); r.status != 503 || r.code() != "status_unknown" {
			t.Errorf("a task that only a stopped server knows is answered with %s", r)
		}
	}
	f.again(a)
	f.settle()
	f.succeededOnce(f.everyStatusAgrees(), made)
}

// A line that tells of ten entries.
var undelivered = regexp.MustCompile(`(?i)\b10\b.*(undelivered|deliver|journal)|(undelivered|deliver).*\b10\b`)

// young is the age below which a run may leave no record when its server is
// killed: the journal marks those that last longer than a commit.
const young = time.Second

// nothingLost checks by counting, after a crash, that each accepted task has
// succeeded on every server, and that it was run again only where the crash is
// on record: the attempts that the servers know are at least those that the
// callee has seen, young ones excepted, and all but the last of them were lost.
func (f *fleet) nothingLost(at ends, receipts []receipt) {
	f.t.Helper()
	wrong, repeated := 0, 0
	for _, r := range receipts {
		if r.task.ID.IsZero() {
			continue // the server was killed before it could answer
		}
		ran := f.callee.of(r.id)
		finished := 0
		for _, one := range ran {
			if !one.ended.IsZero() {
				finished++
			}
		}
		for n, tasks := range at {
			v, known := tasks[r.id]
			fine := known && v.State == morningai.StateSucceeded && finished >= 1
			if fine && len(ran) > 1 {
				repeated++
				attempts := f.attempts(n, r.id)
				fine = len(attempts)+f.killedYoung(ran) >= len(ran) || v.marks.MaybeRepeated
				for _, one := range attempts[:max(len(attempts)-1, 0)] {
					fine = fine && (one.Outcome == morningai.OutcomeLost || one.Outcome == morningai.OutcomeReleased || one.Outcome == morningai.OutcomeRetry)
				}
			}
			if fine {
				continue
			}
			if wrong++; wrong <= 5 {
				f.t.Errorf("task %s, accepted by %s at %s as %s/%s: on %s known=%v %s, %d executions; the callee counts %v; attempts %s", r.id, r.node.name,
					r.at.Format("15:04:05.000"), r.task.Durable, r.task.Runs, n.name, known, v.State, v.Attempt, ran,
					n.call("GET", "/v1/tasks/"+r.id.String()+"/attempts", nil))
			}
		}
	}
	if wrong > 5 {
		f.t.Errorf("and %d more like these", wrong-5)
	}
	f.t.Logf("%d tasks accepted; on %d servers %d had run more than once", len(idsOf(receipts)), len(at), repeated)
}

// killedYoung is how many of the runs had just begun when a server was killed.
func (f *fleet) killedYoung(runs []run) int {
	count := 0
	for _, r := range runs {
		if slices.ContainsFunc(f.kills, func(at time.Time) bool { return r.began.Before(at.Add(young/4)) && r.began.After(at.Add(-young)) }) {
			count++
		}
	}
	return count
}

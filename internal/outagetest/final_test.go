package outagetest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// settle waits until nothing moves any more: Redis is up for every server, no
// journal has anything to deliver, and no task waits or runs. Tasks that are
// held back on purpose are excepted.
func (f *fleet) settle(except ...morningai.ID) {
	f.t.Helper()
	f.settleWithin(patience, except...)
}

func (f *fleet) settleWithin(patience time.Duration, except ...morningai.ID) {
	f.t.Helper()
	for _, n := range f.nodes {
		var h health
		if !within(patience, func() bool {
			h = f.health(n)
			return h.Status == "ok" && h.Redis.Status == "up" && (h.Journal == nil || h.Journal.Entries == 0)
		}) {
			f.t.Errorf("%s does not recover: %+v, journal %+v; what has not ended there: %s", n.name, h, h.Journal, f.summary(n, except))
			f.t.FailNow()
		}
		var all []incident
		if !within(15*time.Second, func() bool {
			all = f.incidents(n)
			return !slices.ContainsFunc(all, func(i incident) bool { return i.EndedAt == nil })
		}) {
			f.t.Errorf("an incident of %s does not end: %+v", n.name, all)
		}
	}
	for _, n := range f.nodes {
		var open []view
		if !within(patience, func() bool {
			open = f.open(n, except)
			return len(open) == 0
		}) {
			first := open[0]
			f.t.Fatalf("%d tasks have not ended on %s, one of them is %s, %s since %v; why: %s", len(open), n.name, first.ID, first.State,
				first.CreatedAt, n.call("GET", "/v1/tasks/"+first.ID.String()+"/why", nil))
		}
	}
}

// open are tasks that have not ended, up to a page of each state.
func (f *fleet) open(n *node, except []morningai.ID) []view {
	f.t.Helper()
	var out []view
	for _, state := range []morningai.State{morningai.StateQueued, morningai.StateRunning, morningai.StateScheduled, morningai.StateBlocked} {
		var p page
		n.call("GET", "/v1/tasks?limit=1000&state="+string(state), nil).into(f.t, &p)
		for _, v := range p.Tasks {
			if !slices.Contains(except, v.ID) {
				out = append(out, v)
			}
		}
	}
	return out
}

// summary lists some tasks that have not ended.
func (f *fleet) summary(n *node, except []morningai.ID) string {
	f.t.Helper()
	var lines []string
	open := f.open(n, except)
	for _, v := range open[:min(len(open), 5)] {
		lines = append(lines, fmt.Sprintf("%s %s, attempt %d, %s; the callee has seen %d runs", v.ID, v.State, v.Attempt, v.Fresh, len(f.callee.of(v.ID))))
	}
	return fmt.Sprintf("%d tasks: %s", len(open), strings.Join(lines, "; "))
}

// everything reads all tasks of a server. On a machine that is busy with other
// things a server may lose Redis for a moment, and say so: then it is asked again.
func (f *fleet) everything(n *node) map[morningai.ID]view {
	f.t.Helper()
	var out map[morningai.ID]view
	until(f.t, patience, n.name+" to list its tasks as they are", func() bool {
		out = map[morningai.ID]view{}
		for cursor := ""; ; {
			var p page
			r := n.call("GET", "/v1/tasks?limit=1000&cursor="+url.QueryEscape(cursor), nil)
			if r.code() == "status_unknown" {
				return false
			}
			r.into(f.t, &p)
			if p.Fresh != morningai.FreshLive {
				return false
			}
			for _, v := range p.Tasks {
				out[v.ID] = v
			}
			if cursor = p.Next; cursor == "" {
				return true
			}
		}
	})
	return out
}

// ends is what all servers say when all is over.
type ends map[*node]map[morningai.ID]view

// everyStatusAgrees asks every server for every task, has the checker judge the
// whole history, and returns the answers. Attempts are read of those that ran
// more than once.
func (f *fleet) everyStatusAgrees() ends {
	f.t.Helper()
	final := drill.Final{}
	out := ends{}
	for _, n := range f.nodes {
		tasks := f.everything(n)
		out[n] = tasks
		nf := drill.NodeFinal{Node: n.name, Tasks: map[morningai.ID]drill.TaskFinal{}, Queues: f.queues(n)}
		for id, v := range tasks {
			nf.Tasks[id] = f.finalOf(n, v)
		}
		for _, i := range f.incidents(n) {
			nf.Lost += i.Lost
			for _, list := range []struct {
				texts []string
				ids   *[]morningai.ID
			}{{i.SetAsideIDs, &nf.SetAside}, {i.RepeatedIDs, &nf.Repeated}, {i.MaybeRepeatedIDs, &nf.Repeated}} {
				for _, text := range list.texts {
					if id, err := morningai.ParseID(text); err == nil {
						*list.ids = append(*list.ids, id)
					}
				}
			}
		}
		final.Nodes = append(final.Nodes, nf)
	}
	broken := drill.Check(f.history, final)
	for i, v := range broken {
		if i == 5 {
			f.t.Errorf("and %d more broken promises", len(broken)-i)
			break
		}
		f.t.Error(v)
		if i == 0 {
			f.t.Log(f.story(v.Task))
		}
	}
	return out
}

// story is all that the history has of a task, and what was done to the fleet.
func (f *fleet) story(id morningai.ID) string {
	lines := []string{"the story of " + id.String()}
	for op := range f.history.Ops() {
		if op.Task == id || op.Task.IsZero() && op.Kind != drill.List && op.Kind != drill.Enqueue {
			lines = append(lines, op.String())
		}
	}
	return strings.Join(lines, "\n")
}

func (f *fleet) finalOf(n *node, v view) drill.TaskFinal {
	t := drill.TaskFinal{State: v.State, Life: v.Life, Version: v.Version, Payload: drill.DigestOf(v.Payload), Result: drill.DigestOf(v.Result),
		CancelRequested: v.CancelRequested, Pending: v.Pending, MaybeRepeated: v.marks.MaybeRepeated}
	if v.Error != nil {
		t.Code = v.Error.Code
	}
	if v.Attempt > 1 {
		for _, a := range f.attempts(n, v.ID) {
			t.Attempts = append(t.Attempts, drill.AttemptFinal{Number: int64(a.Number), Life: a.Life, Node: a.Node, Outcome: a.Outcome})
		}
	}
	return t
}

type attempt struct {
	Number  int               `json:"number"`
	Life    int64             `json:"life"`
	Node    string            `json:"node"`
	Outcome morningai.Outcome `json:"outcome"`
}

func (f *fleet) attempts(n *node, id morningai.ID) []attempt {
	f.t.Helper()
	var out struct {
		Attempts []attempt `json:"attempts"`
	}
	n.call("GET", "/v1/tasks/"+id.String()+"/attempts", nil).into(f.t, &out)
	return out.Attempts
}

func (f *fleet) queues(n *node) map[string]drill.QueueFinal {
	f.t.Helper()
	var all struct {
		Queues []struct {
			Name        string          `json:"name"`
			Paused      bool            `json:"paused"`
			Concurrency json.RawMessage `json:"concurrency"`
			Rate        json.RawMessage `json:"rate"`
		} `json:"queues"`
	}
	n.call("GET", "/v1/queues", nil).into(f.t, &all)
	out := map[string]drill.QueueFinal{}
	for _, q := range all.Queues {
		set := map[string]string{}
		for name, value := range map[string]json.RawMessage{"concurrency": q.Concurrency, "rate": q.Rate} {
			if text := strings.Trim(string(value), `"`); text != "" && text != "null" {
				set[name] = text
			}
		}
		if q.Paused || len(set) > 0 {
			out[q.Name] = drill.QueueFinal{Paused: q.Paused, Settings: set}
		}
	}
	return out
}

// succeededOnce checks by counting that each accepted task has succeeded on
// every server, after one execution. Those of the callee are counted there too;
// a hand-out that was given back before the handler began is none.
func (f *fleet) succeededOnce(at ends, receipts []receipt) {
	f.t.Helper()
	wrong := 0
	for _, r := range receipts {
		if r.task.ID.IsZero() {
			continue
		}
		for n, tasks := range at {
			v, known := tasks[r.id]
			ran := f.callee.of(r.id)
			fine := known && v.State == morningai.StateSucceeded && (r.spec["type"] != "http" || len(ran) == 1)
			if fine && v.Attempt > 1 {
				attempts := f.attempts(n, r.id)
				fine = len(attempts) > 0 && !slices.ContainsFunc(attempts[:len(attempts)-1], func(a attempt) bool { return a.Outcome != morningai.OutcomeReleased })
			}
			if fine {
				continue
			}
			if wrong++; wrong <= 5 {
				f.t.Errorf("task %s (%s), accepted by %s at %s as %s/%s: on %s known=%v %s after %d executions, the callee counts %d; attempts %s", r.id, r.spec["type"], r.node.name,
					r.at.Format("15:04:05.000"), r.task.Durable, r.task.Runs, n.name, known, v.State, v.Attempt, len(ran),
					n.call("GET", "/v1/tasks/"+r.id.String()+"/attempts", nil))
			}
		}
	}
	if wrong > 5 {
		f.t.Errorf("and %d more like these", wrong-5)
	}
}

// allAccepted checks that nobody was refused.
func (f *fleet) allAccepted(receipts []receipt) {
	f.t.Helper()
	wrong := 0
	for _, r := range receipts {
		if r.status == 202 && r.task.ID == r.id && strings.HasPrefix(r.task.Durable, "journal") {
			continue
		}
		if wrong++; wrong <= 3 {
			f.t.Errorf("of %d enqueues, one on %s at %s has the answer %d, durable %q, after %v: %.200s", len(receipts), r.node.name, r.at.Format("15:04:05.000"),
				r.status, r.task.Durable, r.took, r)
		}
	}
	if wrong > 3 {
		f.t.Errorf("and %d more were not accepted into the journal", wrong-3)
	}
}

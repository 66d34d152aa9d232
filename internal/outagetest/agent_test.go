package outagetest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/RC918/morningai"
)

// The question that started it all: asked while Redis is away, it is accepted,
// answered at once, and there is one document, once, with its trace id
// everywhere.
func TestQuestionDuringAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.document("outage.md", "# Redis outage\n\nDuring a Redis outage a test question is accepted into the journal. "+
		"The question is answered during the outage and the document is recorded once.\n\n"+
		"## Test question during Redis outage\n\nThis is how a test question during a Redis outage is answered.\n")
	a, b := f.startNode("a"), f.startNode("b")
	f.away(killed)
	f.degraded(a, b)
	body := map[string]string{"question": "Test question during Redis outage"}
	var accepted struct {
		TaskID morningai.ID `json:"task_id"`
		Status string       `json:"status"`
	}
	r := a.call("POST", "/api/agent/faq", body)
	if r.status != 202 {
		t.Fatalf("a question in an outage is answered with %d %s", r.status, r)
	}
	r.into(t, &accepted)
	if accepted.Status != "queued" || accepted.TaskID.IsZero() {
		t.Fatalf("a question in an outage is answered with %s", r)
	}
	type agentTask struct {
		Status   string       `json:"status"`
		TraceID  morningai.ID `json:"trace_id"`
		Question *string      `json:"question"`
		ErrorMsg *string      `json:"error_msg"`
	}
	get := func(n *node) (reply, agentTask) {
		var task agentTask
		r := n.call("GET", "/api/agent/tasks/"+accepted.TaskID.String(), nil)
		if r.status == 200 {
			r.into(t, &task)
		}
		return r, task
	}
	var last reply
	if !within(patience, func() bool {
		var task agentTask
		last, task = get(a)
		return task.Status == "done"
	}) {
		t.Fatalf("the question is not answered during the outage: %s", last)
	}
	_, during := f.look(a, accepted.TaskID)
	f.back(killed)
	f.settle()
	for _, n := range f.nodes {
		r, task := get(n)
		if task.Status != "done" || task.TraceID != accepted.TaskID || task.Question == nil || *task.Question != body["question"] || task.ErrorMsg != nil {
			t.Errorf("afterwards %s says %s", n.name, r)
		}
		_, v := f.look(n, accepted.TaskID)
		var result struct {
			Document string `json:"document"`
			Path     string `json:"path"`
		}
		if err := json.Unmarshal(v.Result, &result); err != nil {
			t.Fatalf("%v in %s", err, v.Result)
		}
		if v.Attempt != 1 || v.TraceID != accepted.TaskID || string(v.Result) != string(during.Result) {
			t.Errorf("on %s it is %s after %d executions, with trace id %s; the result is the same: %v", n.name, v.State, v.Attempt, v.TraceID, string(v.Result) == string(during.Result))
		}
		if count := strings.Count(result.Document, "Trace ID: `"+accepted.TaskID.String()+"`"); count != 1 {
			t.Errorf("the document has the trace id %d times:\n%s", count, result.Document)
		}
		if attempts := f.attempts(n, accepted.TaskID); len(attempts) != 1 || attempts[0].Node != "a" {
			t.Errorf("the attempts on %s are %v", n.name, attempts)
		}
		all := n.call("GET", "/v1/tasks?type=faq", nil)
		var p page
		all.into(t, &p)
		if len(p.Tasks) != 1 || p.Tasks[0].ID != accepted.TaskID {
			t.Errorf("%s lists %d faq tasks", n.name, len(p.Tasks))
		}
	}
}

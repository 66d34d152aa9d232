package httpapi

import (
	"bytes"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

func TestTaskFromRequestToResult(t *testing.T) {
	b := start(t, open(t), Options{})
	const payload = `{"n":1.50,"big":12345678901234567890123456789,"html":"<a&b>","e":1e400,"u":"\u00e9\u2028"}`
	r := b.want(202, "POST", "/v1/tasks", `{"type":"echo","payload":`+payload+`,"metadata":{"a":"<b>"},"trace_id":"01937c4e-0000-7000-8000-000000000001"}`)
	accepted := r.task(t)
	if accepted.Durable != "sqlite" || accepted.Runs != "here" || accepted.Queue != "default" || accepted.Priority != 5 ||
		accepted.MaxAttempts != 25 || accepted.TraceID.String() != "01937c4e-0000-7000-8000-000000000001" || r.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("receipt %s", r.raw)
	}
	r = b.want(200, "GET", "/v1/tasks/"+accepted.ID.String()+"?wait=1m", "")
	done := r.task(t)
	if done.State != morningai.StateSucceeded || done.Attempt != 1 || done.Durable != "" {
		t.Errorf("ended as %s", r.raw)
	}
	for _, field := range []string{`"payload":` + payload, `"result":` + payload, `"metadata":{"a":"<b>"}`, `"error":null`, `"run_at":null`} {
		if !bytes.Contains(r.raw, []byte(field)) {
			t.Errorf("%s is not in %s", field, r.raw)
		}
	}

	var attempts wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+done.ID.String()+"/attempts", "").into(t, &attempts)
	if len(attempts.Attempts) != 1 || attempts.Attempts[0].Number != 1 || *attempts.Attempts[0].Outcome != morningai.OutcomeSucceeded || attempts.Attempts[0].Node == "" {
		t.Errorf("attempts %+v", attempts)
	}
	var logs wire.Logs
	b.want(200, "GET", "/v1/tasks/"+done.ID.String()+"/logs", "").into(t, &logs)
	if len(logs.Logs) != 1 || logs.Logs[0].Message != "echoing" || logs.Logs[0].Level != "info" {
		t.Errorf("logs %+v", logs)
	}
	var why morningai.Explanation
	b.want(200, "GET", "/v1/tasks/"+done.ID.String()+"/why", "").into(t, &why)
	if len(why.Reasons) != 1 || why.Reasons[0].Code != morningai.ReasonEnded {
		t.Errorf("why %+v", why)
	}
}

func TestUnknownTasks(t *testing.T) {
	b := start(t, open(t), Options{})
	for _, id := range []string{"01937c4e-0000-7000-8000-00000000000f", "nonsense", "00000000-0000-0000-0000-000000000000", "%2e%2e%2f", "a%00b"} {
		for _, path := range []string{"", "?wait=10s", "/attempts", "/logs", "/why"} {
			b.refused(morningai.CodeNotFound, "GET", "/v1/tasks/"+id+path, "")
		}
		for _, verb := range []string{"/cancel", "/retry", "/run"} {
			b.refused(morningai.CodeNotFound, "POST", "/v1/tasks/"+id+verb, "")
		}
		b.refused(morningai.CodeNotFound, "DELETE", "/v1/tasks/"+id, "")
	}
}

func TestWaitEndsWithTheTimeOrTheServer(t *testing.T) {
	stopping := make(chan struct{})
	b := start(t, open(t), Options{Stopping: stopping})
	b.want(200, "PATCH", "/v1/queues/shut", `{"paused":true}`)
	path := "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"echo","queue":"shut"}`).task(t).ID.String()
	for _, wait := range []string{"0s", "1ms", "20ms"} {
		if task := b.want(200, "GET", path+"?wait="+wait, "").task(t); task.State != morningai.StateQueued {
			t.Errorf("after %s: %s", wait, task.State)
		}
	}
	for _, wait := range []string{"soon", "-1s", "6m", "5"} {
		b.refused(morningai.CodeInvalidInput, "GET", path+"?wait="+wait, "", "query.wait")
	}
	done := b.later("GET", path+"?wait=5m", "")
	close(stopping)
	if r := <-done; r.StatusCode != 200 {
		t.Errorf("a wait when the server stops: %d %s", r.StatusCode, r.raw)
	}
	b.refused(morningai.CodeClosed, "GET", "/readyz", "")
}

func TestWaitSeesResultsThatAreNotKept(t *testing.T) {
	b := start(t, open(t), Options{})
	path := "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"gate","retention":"0s"}`).task(t).ID.String()
	done := b.later("GET", path+"?wait=1m", "")
	b.gate <- struct{}{}
	if r := <-done; r.StatusCode != 200 || !bytes.Contains(r.raw, []byte(`"result":"through"`)) {
		t.Errorf("the waiting caller got %d %s", r.StatusCode, r.raw)
	}
	if r := b.want(200, "GET", path+"?wait=0s", ""); r.task(t).State != morningai.StateSucceeded {
		t.Errorf("a moment later: %s", r.raw)
	}
	b.refused(morningai.CodeNotFound, "GET", path, "")
}

func TestCommands(t *testing.T) {
	b := start(t, open(t), Options{})
	submit := func(body string) string {
		return "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", body).task(t).ID.String()
	}
	state := func(want morningai.State, r response) {
		t.Helper()
		if got := r.task(t).State; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	later := submit(`{"type":"echo","delay":"1h"}`)
	state(morningai.StateScheduled, b.want(200, "GET", later, ""))
	state(morningai.StateCanceled, b.want(200, "POST", later+"/cancel", ""))
	state(morningai.StateCanceled, b.want(200, "POST", later+"/cancel", `{}`))
	b.refused(morningai.CodeWrongState, "POST", later+"/run", "")
	b.want(200, "POST", later+"/retry", "")
	state(morningai.StateSucceeded, b.want(200, "GET", later+"?wait=1m", ""))
	b.refused(morningai.CodeWrongState, "POST", later+"/retry", "")
	b.refused(morningai.CodeWrongState, "POST", later+"/cancel", "")
	b.want(200, "DELETE", later, "")
	b.refused(morningai.CodeNotFound, "GET", later, "")

	soon := submit(`{"type":"echo","run_at":"2099-01-01T00:00:00Z"}`)
	b.want(200, "POST", soon+"/run", "")
	state(morningai.StateSucceeded, b.want(200, "GET", soon+"?wait=1m", ""))

	running := submit(`{"type":"gate"}`)
	b.until(running, func(task morningai.Task) bool { return task.State == morningai.StateRunning })
	b.refused(morningai.CodeWrongState, "DELETE", running, "")
	if !b.want(200, "POST", running+"/cancel", "").task(t).CancelRequested {
		t.Error("no sign of the cancel")
	}
	state(morningai.StateCanceled, b.want(200, "GET", running+"?wait=1m", ""))

	b.refused(morningai.CodeInvalidInput, "POST", running+"/cancel", `{"force":true}`, "body.force")
	b.refused("invalid_json", "POST", running+"/cancel", `{`)
}

func TestRetriedTasksAreShown(t *testing.T) {
	b := start(t, open(t), Options{})
	path := "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"later"}`).task(t).ID.String()
	b.until(path, func(task morningai.Task) bool { return task.Failures > 0 })
	var page wire.TaskPage
	b.want(200, "GET", "/v1/tasks?state=retrying", "").into(t, &page)
	if len(page.Tasks) != 1 || page.Tasks[0].State != morningai.StateScheduled || page.Tasks[0].Error == nil {
		t.Errorf("retrying: %+v", page)
	}
	failed := b.want(202, "POST", "/v1/tasks", `{"type":"fail"}`).task(t).ID.String()
	b.want(200, "GET", "/v1/tasks/"+failed+"?wait=1m", "")
	var attempts wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+failed+"/attempts", "").into(t, &attempts)
	if len(attempts.Attempts) != 1 || attempts.Attempts[0].Error == nil {
		t.Errorf("attempts %+v", attempts)
	}
}

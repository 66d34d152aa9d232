package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/RC918/morningai"
)

func TestAgentRoutes(t *testing.T) {
	engine := open(t)
	b := start(t, engine, Options{})
	worker := morningai.New(engine)
	worker.HandleFunc("faq", func(_ context.Context, task *morningai.Task) (json.RawMessage, error) {
		if bytes.Contains(task.Payload, []byte("weather")) {
			return nil, &morningai.TaskError{Code: "no_relevant_documents", Message: "nothing fits"}
		}
		return json.RawMessage(`{"document":"# Yes","pr_url":"https://git.example/1"}`), nil
	})
	ask := func(body string) agentAccepted {
		t.Helper()
		var got agentAccepted
		r := b.want(202, "POST", "/api/agent/faq", body)
		r.into(t, &got)
		if got.Status != "queued" || got.TaskID.IsZero() {
			t.Errorf("accepted as %s", r.raw)
		}
		return got
	}
	good := ask(`{"question":"  Does it work? <& \u65e9 "}`)
	var seen agentTask
	b.want(200, "GET", "/api/agent/tasks/"+good.TaskID.String(), "").into(t, &seen)
	if seen.Status != "queued" || seen.Question == nil || *seen.Question != "Does it work? <& 早" || seen.Source != "sqlite" || seen.StartedAt != nil || seen.UpdatedAt == nil {
		t.Errorf("queued as %+v", seen)
	}
	if err := worker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := worker.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b.want(200, "GET", "/v1/tasks/"+good.TaskID.String()+"?wait=1m", "")
	b.want(200, "GET", "/api/agent/tasks/"+good.TaskID.String(), "").into(t, &seen)
	if seen.Status != "done" || seen.PRURL == nil || *seen.PRURL != "https://git.example/1" || seen.FinishedAt == nil || !seen.UpdatedAt.Equal(*seen.FinishedAt) || seen.ErrorMsg != nil {
		t.Errorf("done as %+v", seen)
	}

	bad := ask(`{"question":"weather"}`)
	b.want(200, "POST", "/v1/tasks/"+bad.TaskID.String()+"/cancel", "")
	var failed agentTask
	b.want(200, "GET", "/v1/tasks/"+bad.TaskID.String()+"?wait=1m", "")
	b.want(200, "GET", "/api/agent/tasks/"+bad.TaskID.String(), "").into(t, &failed)
	if failed.Status != "error" || failed.PRURL != nil || failed.FinishedAt == nil {
		t.Errorf("failed as %+v", failed)
	}

	other := b.want(202, "POST", "/v1/tasks", `{"type":"echo","payload":[1]}`).task(t).ID.String()
	b.want(200, "GET", "/v1/tasks/"+other+"?wait=1m", "")
	b.want(200, "GET", "/api/agent/tasks/"+other, "")
}

func TestAgentErrorsHaveTheirOwnShape(t *testing.T) {
	b := start(t, open(t), Options{})
	refused := func(status int, code, method, path, body string, header ...string) {
		t.Helper()
		r := b.want(status, method, path, body, header...)
		var got map[string]map[string]string
		r.into(t, &got)
		if len(got) != 1 || len(got["error"]) != 2 || got["error"]["code"] != code || got["error"]["message"] == "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%.60s: %s", body, r.raw)
		}
	}
	for _, body := range []string{``, `{`, `[]`, `{}`, `{"question":""}`, `{"question":" \n"}`, `{"question":7}`, `{"question":"a","x":1}`,
		`{"question":"a","question":"a"}`, `{"question":"` + strings.Repeat("é", maxQuestion+1) + `"}`} {
		refused(400, "invalid_input", "POST", "/api/agent/faq", body, "Content-Type", "application/json")
	}
	refused(404, "not_found", "GET", "/api/agent/tasks/none", "")
	refused(404, "not_found", "GET", "/api/agent/tasks/01937c4e-0000-7000-8000-000000000001", "")
	refused(415, "unsupported_media_type", "POST", "/api/agent/faq", `{"question":"a"}`, "Content-Type", "text/plain")
	refused(403, "forbidden", "POST", "/api/agent/faq", `{"question":"a"}`, "Origin", "https://evil.example")
	if n := counted(b); n != 0 {
		t.Errorf("%d tasks got in", n)
	}
	longest := `{"question":"` + strings.Repeat("é", maxQuestion) + `"}`
	first := b.want(202, "POST", "/api/agent/faq", longest, "Idempotency-Key", "q")
	if again := b.want(202, "POST", "/api/agent/faq", longest, "Idempotency-Key", "q"); again.Header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(first.raw, again.raw) {
		t.Errorf("replay %s", again.raw)
	}
	b.want(409, "POST", "/api/agent/faq", `{"question":"another"}`, "Idempotency-Key", "q")
}

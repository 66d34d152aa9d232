package httpapi

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/wire"
)

func TestWrongClaims(t *testing.T) {
	b := remote(t, time.Minute)
	long := strings.Repeat("x", 129)
	for body, at := range map[string]string{
		`{}`:                                                 "body.worker body.types",
		`{"worker":"a b","types":["remote"]}`:                "body.worker",
		`{"worker":"w"}`:                                     "body.types",
		`{"worker":"w","types":[]}`:                          "body.types",
		`{"worker":"w","types":["a b","ok",""]}`:             "body.types[0] body.types[2]",
		`{"worker":"w","types":"remote"}`:                    "body.types",
		`{"worker":"w","types":["remote"],"queues":["a b"]}`: "body.queues[0]",
		`{"worker":"w","types":["remote"],"queues":["a"],"shares":[1,2]}`: "body.shares",
		`{"worker":"w","types":["remote"],"queues":["a"],"shares":[-1]}`:  "body.shares[0]",
		`{"worker":"w","types":["remote"],"limit":101}`:                   "body.limit",
		`{"worker":"w","types":["remote"],"limit":-1,"wait":"-1s"}`:       "body.limit body.wait",
		`{"worker":"w","types":["remote"],"wait":"6m"}`:                   "body.wait",
		`{"worker":"w","types":["remote"],"wait":30}`:                     "body.wait",
		`{"worker":"w","types":["remote"],"here":"yes"}`:                  "body.here",
		`{"worker":"w","types":["remote"],"node":""}`:                     "body.node",
		`{"worker":"w","types":["remote"],"node":"` + long + `"}`:         "body.node",
		`{"worker":"w","types":["remote"],"more":1}`:                      "body.more",
	} {
		b.refused(morningai.CodeInvalidInput, "POST", "/v1/claims", body, strings.Fields(at)...)
	}
	b.refused("invalid_json", "POST", "/v1/claims", `{"worker":"w","worker":"v","types":["remote"]}`)
	if out := b.claims(`,"limit":0`); len(out.Claims) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestWrongReports(t *testing.T) {
	b := remote(t, time.Minute)
	b.submit("")
	c := b.claim()
	for _, one := range []struct{ verb, body, at string }{
		{"beat", `{"more":1}`, "body.more"},
		{"checkpoint", `{}`, "body.name"},
		{"checkpoint", `{"data":1}`, "body.name"},
		{"checkpoint", `{"name":"a b","data":1}`, "body.name"},
		{"checkpoint", `{"logs":[{"message":"m","level":"loud"},{"message":"m","attrs":[1]}]}`, "body.logs[0].level body.logs[1].attrs"},
		{"checkpoint", `{"logs":[{"message":"` + strings.Repeat("x", morningai.MaxLogLine+1) + `"}]}`, "body.logs[0].message"},
		{"finish", `{}`, "body.result"},
		{"finish", `{"result":1,"error":{}}`, "body.error"},
		{"finish", `{"error":{"code":"a b"}}`, "body.error.code"},
		{"finish", `{"error":{"retry":false,"after":"1s"}}`, "body.error.after"},
		{"finish", `{"error":{"after":"-1s"}}`, "body.error.after"},
		{"finish", `{"error":{"after":"100000h"}}`, "body.error.after"},
		{"finish", `{"error":"no"}`, "body.error body.result"},
		{"finish", `{"outcome":"lost"}`, "body.outcome"},
		{"finish", `{"outcome":"succeeded"}`, "body.outcome"},
		{"finish", `{"outcome":"released","result":1}`, "body.outcome"},
		{"finish", `{"outcome":"released","after":"1s"}`, "body.after"},
		{"finish", `{"result":1,"after":"1s"}`, "body.after"},
	} {
		b.refused(morningai.CodeInvalidInput, "POST", "/v1/claims/"+c.ID+"/"+one.verb, one.body, strings.Fields(one.at)...)
	}
	b.refused(morningai.CodeTooLarge, "POST", "/v1/claims/"+c.ID+"/finish", `{"result":"`+strings.Repeat("x", morningai.MaxPayload)+`"}`)
	b.refused(morningai.CodeTooLarge, "POST", "/v1/claims/"+c.ID+"/beat", `{"progress":"`+strings.Repeat("x", morningai.MaxPayload)+`"}`)
	for _, id := range []string{"x", c.ID[1:], c.ID + "%20", strings.Repeat("A", 500), strings.Repeat("A", 80)} {
		b.refused(morningai.CodeNotFound, "POST", "/v1/claims/"+id+"/finish", `{"result":1}`)
	}
	// Another lease of the same task is nobody's.
	forged := []byte(c.ID)
	if forged[36]++; forged[36] == 'Z'+1 || forged[36] == '9'+1 || forged[36] == 'z'+1 {
		forged[36] = 'A'
	}
	for verb, body := range map[string]string{"finish": `{"result":1}`, "beat": `{"progress":1}`, "checkpoint": `{"name":"x"}`} {
		b.refused(morningai.CodeStale, "POST", "/v1/claims/"+string(forged)+"/"+verb, body)
	}
	if now := b.want(200, "GET", "/v1/tasks/"+c.Task.ID.String(), "").task(t); now.State != morningai.StateRunning || now.Progress != nil {
		t.Errorf("%+v", now)
	}
	b.report(200, c, "finish", `{"error":{"message":"`+strings.Repeat("é", 5000)+`"}}`)
	if now := b.want(200, "GET", "/v1/tasks/"+c.Task.ID.String(), "").task(t); len(now.Error.Message) > maxMessage || !strings.HasSuffix(now.Error.Message, "é…") {
		t.Errorf("%d bytes, ending in %q", len(now.Error.Message), now.Error.Message[len(now.Error.Message)-8:])
	}
}

func TestClaimsNeedTheScopeSubmit(t *testing.T) {
	engine := open(t)
	tokens, err := LoadTokens(tokenFile(t, "read reads-only-token\nsubmit submits-token-1\nsubmit submits-token-2\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, engine, Options{Tokens: tokens,
		Workers: sessions.New(engine, time.Minute, slog.New(slog.DiscardHandler))})
	body := `{"worker":"w","types":["remote"],"limit":0}`
	b.token = "reads-only-token"
	b.refused(codeForbidden, "POST", "/v1/claims", body)
	b.token = "submits-token-1"
	b.submit("")
	c := b.claim()
	// A worker of the same name under another token is another worker.
	b.token = "submits-token-2"
	b.want(200, "POST", "/v1/claims", `{"worker":"w","leave":true}`)
	b.report(200, c, "finish", `{"result":1}`)
}

// Whoever waits is let go when the server stops, and gets nothing more.
func TestStoppingServerHandsOutNothing(t *testing.T) {
	engine := open(t)
	stopping := make(chan struct{})
	b := start(t, engine, Options{Stopping: stopping, Workers: sessions.New(engine, time.Minute, slog.New(slog.DiscardHandler))})
	b.submit("")
	c := b.claim()
	waiting := b.later("POST", "/v1/claims", `{"worker":"v","types":["remote"],"wait":"5m"}`)
	for !strings.Contains(string(b.want(200, "GET", "/v1/nodes", "").raw), `"v"`) {
	}
	close(stopping)
	r := <-waiting
	var out wire.Claims
	if r.into(t, &out); r.StatusCode != 200 || len(out.Claims) != 0 {
		t.Errorf("%d %s", r.StatusCode, r.raw)
	}
	b.submit("")
	if out := b.claims(`,"wait":"5m","holding":["` + c.ID + `"]`); len(out.Claims) != 0 || len(out.Lost) != 0 {
		t.Errorf("%+v", out)
	}
	b.report(200, c, "finish", `{"result":1}`)
}

package httpapi

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
)

// hereEngine notes which calls were to stay on this node.
type hereEngine struct {
	morningai.Engine
	mu   sync.Mutex
	here map[string]bool
}

func (e *hereEngine) note(ctx context.Context, call string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.here[call] = morningai.IsOnlyHere(ctx)
}

func (e *hereEngine) was(call string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.here[call]
}

func (e *hereEngine) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	e.note(ctx, "get")
	return e.Engine.Get(ctx, req)
}

func (e *hereEngine) List(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
	e.note(ctx, "list")
	return e.Engine.List(ctx, f)
}

func (e *hereEngine) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	e.note(ctx, "command")
	return e.Engine.Command(ctx, cmds)
}

func (e *hereEngine) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	e.note(ctx, "enqueue")
	return e.Engine.Enqueue(ctx, specs)
}

func (e *hereEngine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	if len(req.Types) == 1 && req.Types[0] == "remote" { // not the server's own worker
		e.note(ctx, "claim")
	}
	return e.Engine.Claim(ctx, req)
}

func (e *hereEngine) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if len(req.Types) == 1 && req.Types[0] == "remote" {
		e.note(ctx, "beat")
	}
	return e.Engine.Beat(ctx, req)
}

func (e *hereEngine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	e.note(ctx, "finish")
	return e.Engine.Finish(ctx, reports)
}

// Only questions and claims may be kept on one node.
func TestOnlyHere(t *testing.T) {
	engine := &hereEngine{Engine: open(t), here: map[string]bool{}}
	b := start(t, engine, Options{Workers: sessions.New(engine, time.Minute, slog.New(slog.DiscardHandler))})
	header := []string{"Morningai-Only-Here", "true"}
	check := func(call string, want bool) {
		t.Helper()
		if engine.was(call) != want {
			t.Errorf("%s stayed here: %v, want %v", call, !want, want)
		}
	}
	task := b.want(202, "POST", "/v1/tasks", `{"type":"remote"}`, header...).task(t)
	check("enqueue", false)
	path := "/v1/tasks/" + task.ID.String()
	b.want(200, "GET", path, "", header...)
	check("get", true)
	b.want(200, "GET", path, "")
	check("get", false)
	b.want(200, "GET", "/v1/tasks", "", header...)
	check("list", true)
	b.want(200, "GET", "/api/agent/tasks/"+task.ID.String(), "", header...)
	check("get", true)
	b.want(200, "POST", path+"/cancel", "", header...)
	check("command", false)
	for _, wrong := range []string{"false", "1", "TRUE", ""} {
		if r := b.do("GET", path, "", "Morningai-Only-Here", wrong); r.StatusCode != 422 {
			t.Errorf("%q: %d %s", wrong, r.StatusCode, r.raw)
		}
	}

	for name, here := range map[string]struct {
		fields string
		header []string
		want   bool
	}{"field": {`,"here":true`, nil, true}, "header": {"", header, true}, "neither": {"", nil, false}} {
		b.submit("")
		r := b.want(200, "POST", "/v1/claims", `{"worker":"`+name+`","types":["remote"],"wait":"1m"`+here.fields+`}`, here.header...)
		check("claim", here.want)
		check("beat", here.want)
		var got struct {
			Claims []struct {
				ID string `json:"claim_id"`
			}
		}
		r.into(t, &got)
		b.want(200, "POST", "/v1/claims/"+got.Claims[0].ID+"/finish", `{"result":1}`)
		check("finish", here.want)
		b.want(200, "POST", "/v1/claims", `{"worker":"`+name+`","leave":true`+here.fields+`}`, here.header...)
	}
}

type redisLike struct{ morningai.Engine }

func (redisLike) Capabilities() morningai.Capabilities {
	return morningai.Capabilities{Name: engineRedis, Durable: engineRedis}
}

// A server that shares a Redis and has no journal has nothing of its own.
func TestNothingIsHereWithoutAJournal(t *testing.T) {
	b := start(t, redisLike{open(t)}, Options{})
	b.submit("")
	if out := b.claims(`,"here":true`); len(out.Claims) != 0 {
		t.Errorf("%+v", out)
	}
	b.report(200, b.claim(), "finish", `{"result":1}`)
}

func TestServerThatOnlyRuns(t *testing.T) {
	b := start(t, open(t), Options{OnlyAsk: true})
	b.refused(morningai.CodeWrongState, "POST", "/v1/tasks", `{"type":"echo"}`)
	b.want(409, "POST", "/api/agent/faq", `{"question":"Why?"}`)
	b.refused(morningai.CodeWrongState, "PATCH", "/v1/queues/mail", `{"paused":true}`)
	b.want(200, "GET", "/v1/tasks", "")
	b.want(200, "GET", "/health", "")
	b.want(200, "POST", "/v1/claims", `{"worker":"w","types":["remote"],"limit":0}`)
}

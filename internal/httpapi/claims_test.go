package httpapi

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/wire"
)

// remote is a server without a handler for the type remote.
func remote(t *testing.T, lease time.Duration) *testServer {
	engine := open(t)
	return start(t, engine, Options{Workers: sessions.New(engine, lease, slog.New(slog.DiscardHandler))})
}

func (b *testServer) submit(fields string) morningai.Task {
	b.t.Helper()
	return b.want(202, "POST", "/v1/tasks", `{"type":"remote"`+fields+`}`).task(b.t)
}

func (b *testServer) claims(fields string) wire.Claims {
	b.t.Helper()
	var out wire.Claims
	b.want(200, "POST", "/v1/claims", `{"worker":"w","types":["remote"]`+fields+`}`).into(b.t, &out)
	return out
}

// claim waits for one task.
func (b *testServer) claim() wire.Claim {
	b.t.Helper()
	out := b.claims(`,"wait":"1m"`)
	if len(out.Claims) != 1 {
		b.t.Fatalf("%+v, want one claim", out)
	}
	return out.Claims[0]
}

// report sends what a worker says of a claim.
func (b *testServer) report(status int, c wire.Claim, verb, body string) response {
	b.t.Helper()
	return b.want(status, "POST", "/v1/claims/"+c.ID+"/"+verb, body)
}

func TestLifeOfAClaim(t *testing.T) {
	b := remote(t, time.Minute)
	waiting := b.later("POST", "/v1/claims", `{"worker":"w","types":["remote"],"queues":["mail","default"],"limit":5,"wait":"1m"}`)
	task := b.submit(`,"payload":{"n":1.50},"queue":"mail","max_attempts":2`)
	var got wire.Claims
	r := <-waiting
	if r.into(t, &got); len(got.Claims) != 1 {
		t.Fatalf("%s", r.raw)
	}
	c := got.Claims[0]
	if c.Task.ID != task.ID || string(c.Task.Payload) != `{"n":1.50}` || c.Task.State != morningai.StateRunning || c.Task.Attempt != 1 || !strings.Contains(string(r.raw), `"lease":"1m0s"`) || c.Steps != nil {
		t.Errorf("%s", r.raw)
	}
	if r := b.report(200, c, "beat", `{"progress":{"done":0.10}}`); strings.TrimSpace(string(r.raw)) != `{"cancel":false}` {
		t.Errorf("%s", r.raw)
	}
	if now := b.want(200, "GET", "/v1/tasks/"+task.ID.String(), "").task(t); string(now.Progress) != `{"done":0.10}` {
		t.Errorf("progress %s", now.Progress)
	}
	b.report(200, c, "beat", "")
	b.report(200, c, "checkpoint", `{"name":"fetched","data":[1,2]}`)
	b.report(200, c, "checkpoint", `{"name":"fetched","data":"later"}`)
	b.report(200, c, "checkpoint", `{"logs":[{"message":"on the way","level":"warn","attrs":{"n":1}},{"message":"still"}]}`)

	failure := `{"error":{"code":"no_luck","message":"out of luck","after":"0s"}}`
	b.report(200, c, "finish", failure)
	again := b.claim()
	if again.Task.Attempt != 2 || again.Task.Failures != 1 || string(again.Steps["fetched"]) != "[1,2]" || len(again.Steps) != 1 {
		t.Errorf("%+v", again)
	}
	for _, verb := range []string{"beat", "finish", "checkpoint"} { // of the first claim
		body := map[string]string{"beat": `{}`, "finish": `{"result":1}`, "checkpoint": `{"name":"x"}`}[verb]
		b.refused(morningai.CodeStale, "POST", "/v1/claims/"+c.ID+"/"+verb, body)
	}
	b.report(200, again, "finish", `{"result":{"ok":true}}`)
	if r := b.report(200, again, "finish", `{"result":{"ok":true}}`); !strings.Contains(string(r.raw), `"succeeded"`) {
		t.Errorf("a repeat: %s", r.raw)
	}
	b.refused(morningai.CodeStale, "POST", "/v1/claims/"+again.ID+"/finish", failure)
	b.refused(morningai.CodeStale, "POST", "/v1/claims/"+again.ID+"/beat", `{"progress":1}`)
	if end := b.want(200, "GET", "/v1/tasks/"+task.ID.String(), "").task(t); end.State != morningai.StateSucceeded || string(end.Result) != `{"ok":true}` {
		t.Errorf("%+v", end)
	}
	var h wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+task.ID.String()+"/attempts", "").into(t, &h)
	if len(h.Attempts) != 2 || h.Attempts[0].Node != "w" || h.Attempts[0].Error.Code != "no_luck" || h.Attempts[0].Error.Message != "out of luck" || *h.Attempts[1].Outcome != "succeeded" {
		t.Errorf("%+v", h)
	}
	var l wire.Logs
	b.want(200, "GET", "/v1/tasks/"+task.ID.String()+"/logs", "").into(t, &l)
	if len(l.Logs) != 2 || l.Logs[0].Level != "warn" || string(l.Logs[0].Attrs) != `{"n":1}` || l.Logs[0].Attempt != 1 || l.Logs[1].Level != "info" {
		t.Errorf("%+v", l)
	}
}

// What a worker says decides as it does for handlers of the library.
func TestEndsOfClaims(t *testing.T) {
	b := remote(t, time.Minute)
	end := func(fields, body string) (morningai.Task, time.Time) {
		t.Helper()
		task := b.submit(fields)
		c := b.claim()
		if c.Task.ID != task.ID {
			t.Fatalf("claimed %s, want %s", c.Task.ID, task.ID)
		}
		at := time.Now()
		b.report(200, c, "finish", body)
		return b.want(200, "GET", "/v1/tasks/"+task.ID.String(), "").task(t), at
	}
	within := func(task morningai.Task, at time.Time, least, most time.Duration) {
		t.Helper()
		if d := task.RunAt.Sub(at); task.State != morningai.StateScheduled || d < least || d > most {
			t.Errorf("%s, due after %v, want %v to %v", task.State, d, least, most)
		}
	}
	task, at := end("", `{"error":{}}`)
	within(task, at, 1600*time.Millisecond, 2400*time.Millisecond+time.Minute) // 2 s ± 20 %, on a machine that may stand still
	if task.Error.Code != morningai.ErrorCodeHandler || task.Failures != 1 {
		t.Errorf("%+v", task)
	}
	task, at = end("", `{"error":{"message":"m","retry":true,"after":"1h"}}`)
	within(task, at, time.Hour, time.Hour+time.Minute)
	task, at = end("", `{"outcome":"snoozed","after":"2h"}`)
	if within(task, at, 2*time.Hour, 2*time.Hour+time.Minute); task.Failures != 0 {
		t.Errorf("%+v", task)
	}
	for body, state := range map[string]morningai.State{
		`{"error":{"code":"x","retry":false}}`: morningai.StateFailed, `{"outcome":"canceled"}`: morningai.StateCanceled, `{"result":null}`: morningai.StateSucceeded,
	} {
		if task, _ = end("", body); task.State != state {
			t.Errorf("%s: %s, want %s", body, task.State, state)
		}
	}
	if task, _ = end(`,"max_attempts":1`, `{"error":{"after":"1s"}}`); task.State != morningai.StateFailed || task.Failures != 1 {
		t.Errorf("without an attempt left: %+v", task)
	}
	var h wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+task.ID.String()+"/attempts", "").into(t, &h)
	if *h.Attempts[0].Outcome != morningai.OutcomeFailed {
		t.Errorf("without an attempt left: %+v", h)
	}
	if task, _ = end("", `{"outcome":"released"}`); task.State != morningai.StateQueued || task.Failures != 0 {
		t.Errorf("released: %+v", task)
	}
}

func TestCancelReachesAWorker(t *testing.T) {
	b := remote(t, time.Minute)
	first, second := b.submit(""), b.submit("")
	got := b.claims(`,"limit":2`)
	waiting := b.later("POST", "/v1/claims", `{"worker":"w","types":["remote"],"limit":0,"wait":"1m"}`)
	b.want(200, "POST", "/v1/tasks/"+second.ID.String()+"/cancel", "")
	r := <-waiting
	var told wire.Claims
	if r.into(t, &told); !slices.Equal(told.Cancels, []string{got.Claims[1].ID}) || len(told.Claims) != 0 {
		t.Errorf("%s", r.raw)
	}
	if out := b.claims(`,"limit":0`); len(out.Cancels) != 0 {
		t.Errorf("told again: %+v", out)
	}
	if out := b.claims(fmt.Sprintf(`,"limit":0,"holding":[%q,%q]`, got.Claims[0].ID, got.Claims[1].ID)); !slices.Equal(out.Cancels, told.Cancels) {
		t.Errorf("not told whoever names it: %+v", out)
	}
	if r := b.report(200, got.Claims[1], "beat", "{}"); !strings.Contains(string(r.raw), `"cancel":true`) {
		t.Errorf("%s", r.raw)
	}
	if r := b.report(200, got.Claims[0], "beat", "{}"); !strings.Contains(string(r.raw), `"cancel":false`) {
		t.Errorf("%s", r.raw)
	}
	if r := b.report(200, got.Claims[1], "finish", `{"result":"too late"}`); !strings.Contains(string(r.raw), `"canceled"`) {
		t.Errorf("%s", r.raw)
	}
	if now := b.want(200, "GET", "/v1/tasks/"+second.ID.String(), "").task(t); now.State != morningai.StateCanceled || string(now.Result) != `"too late"` {
		t.Errorf("%+v", now)
	}
	b.report(200, got.Claims[0], "finish", `{"result":1}`)
	if now := b.want(200, "GET", "/v1/tasks/"+first.ID.String(), "").task(t); now.State != morningai.StateSucceeded {
		t.Errorf("%+v", now)
	}
}

// An answer is filled, in the order of the queues, until it is large.
func TestManyClaimsAtOnce(t *testing.T) {
	b := remote(t, time.Minute)
	var tasks []string
	for n := range 60 {
		queue := []string{"a", "b"}[n%2]
		tasks = append(tasks, fmt.Sprintf(`{"type":"remote","queue":%q,"payload":%d}`, queue, n))
	}
	b.want(202, "POST", "/v1/tasks/batch", `{"tasks":[`+strings.Join(tasks, ",")+`]}`)
	count := func(out wire.Claims) map[string]int {
		n := map[string]int{}
		for _, c := range out.Claims {
			n[c.Task.Queue]++
		}
		return n
	}
	if n := count(b.claims(`,"queues":["b","a"],"limit":40`)); n["b"] != 30 || n["a"] != 10 {
		t.Errorf("%v", n)
	}
	if n := count(b.claims(`,"limit":100`)); n["a"] != 20 {
		t.Errorf("%v", n)
	}
	b.want(202, "POST", "/v1/tasks/batch", `{"tasks":[`+strings.Join(tasks, ",")+`]}`)
	if n := count(b.claims(`,"queues":["a","b"],"shares":[20,10],"limit":30`)); n["a"] != 20 || n["b"] != 10 {
		t.Errorf("%v", n)
	}
	b.claims(`,"limit":100`)
	large := `,"payload":"` + strings.Repeat("x", 300<<10) + `"`
	for range 20 {
		b.submit(large)
	}
	if out := b.claims(`,"limit":100`); len(out.Claims) != 16 {
		t.Errorf("%d large tasks in one answer", len(out.Claims))
	}
}

// A claim of which nothing is heard goes back, though its worker goes on asking:
// it may never have got the answer.
func TestSilentClaimGoesBack(t *testing.T) {
	b := remote(t, 1500*time.Millisecond)
	task := b.submit("")
	lost, kept := b.claim(), b.submit("")
	got := b.claim()
	if got.Task.ID != kept.ID {
		t.Fatalf("%+v", got)
	}
	for again := false; !again; {
		out := b.claims(fmt.Sprintf(`,"wait":"100ms","holding":[%q]`, got.ID))
		if again = len(out.Claims) > 0; again && (out.Claims[0].Task.ID != task.ID || out.Claims[0].Task.Failures != 0) {
			t.Fatalf("%+v", out)
		}
	}
	b.refused(morningai.CodeStale, "POST", "/v1/claims/"+lost.ID+"/finish", `{"result":1}`)
	b.report(200, got, "finish", `{"result":1}`)
	var h wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+task.ID.String()+"/attempts", "").into(t, &h)
	if *h.Attempts[0].Outcome != morningai.OutcomeReleased {
		t.Errorf("%+v", h)
	}
	out := b.claims(fmt.Sprintf(`,"wait":"1m","holding":[%q]`, lost.ID)) // answered at once
	if !slices.Equal(out.Lost, []string{lost.ID}) {
		t.Errorf("%+v", out)
	}
}

func TestWorkerLeaves(t *testing.T) {
	for name, leave := range map[string]func(*testServer){
		"says so": func(b *testServer) {
			b.want(200, "POST", "/v1/claims", `{"worker":"w","leave":true}`)
		},
		"falls silent": func(*testServer) {},
	} {
		t.Run(name, func(t *testing.T) {
			lease := 400 * time.Millisecond
			if name == "says so" {
				lease = time.Hour
			}
			b := remote(t, lease)
			task := b.submit("")
			if why := string(b.want(200, "GET", "/v1/tasks/"+task.ID.String()+"/why", "").raw); !strings.Contains(why, morningai.ReasonNoLiveHandler) {
				t.Errorf("before: %s", why)
			}
			c := b.claim()
			leave(b)
			if now := b.until("/v1/tasks/"+task.ID.String(), func(t morningai.Task) bool { return t.State == morningai.StateQueued }); now.Failures != 0 {
				t.Errorf("%+v", now)
			}
			b.refused(morningai.CodeStale, "POST", "/v1/claims/"+c.ID+"/finish", `{"result":1}`)
			for !strings.Contains(string(b.want(200, "GET", "/v1/tasks/"+task.ID.String()+"/why", "").raw), morningai.ReasonNoLiveHandler) {
			}
		})
	}
}

func TestTimeoutOfAClaim(t *testing.T) {
	b := remote(t, 1500*time.Millisecond)
	task := b.submit(`,"timeout":"100ms","max_attempts":1`)
	c := b.claim()
	for { // a worker that goes on beating
		r := b.do("POST", "/v1/claims/"+c.ID+"/beat", "{}")
		if r.StatusCode == 409 {
			break
		}
	}
	if now := b.want(200, "GET", "/v1/tasks/"+task.ID.String(), "").task(t); now.State != morningai.StateFailed || now.Error.Code != morningai.ErrorCodeTimeout {
		t.Errorf("%+v", now)
	}
}

// A server that starts anew knows no claim of the earlier one. The engine judges
// what is reported, and a claim that it still knows goes on.
func TestClaimsOutliveTheServer(t *testing.T) {
	engine := open(t)
	quiet := slog.New(slog.DiscardHandler)
	first := sessions.New(engine, time.Hour, quiet)
	defer first.Close()
	b := start(t, engine, Options{Workers: first})
	tasks := []morningai.Task{b.submit(""), b.submit(""), b.submit(""), b.submit("")}
	got := b.claims(`,"limit":4,"node":"far"`)
	b.report(200, got.Claims[2], "finish", `{"result":3}`)

	b.api.keeper = sessions.New(engine, time.Minute, quiet)
	second := b.api.keeper
	defer second.Close()
	b.report(200, got.Claims[0], "finish", `{"result":1}`)
	b.report(200, got.Claims[0], "finish", `{"result":1}`)
	b.report(200, got.Claims[2], "finish", `{"result":3}`)
	b.refused(morningai.CodeStale, "POST", "/v1/claims/"+got.Claims[2].ID+"/beat", `{}`)
	b.report(200, got.Claims[1], "beat", `{"progress":2}`)
	b.report(200, got.Claims[1], "finish", `{"error":{"after":"1h"}}`)
	var h wire.Attempts
	b.want(200, "GET", "/v1/tasks/"+tasks[0].ID.String()+"/attempts", "").into(t, &h)
	if len(h.Attempts) != 1 || h.Attempts[0].Node != "far" || *h.Attempts[0].Outcome != "succeeded" {
		t.Errorf("%+v", h)
	}
	if now := b.want(200, "GET", "/v1/tasks/"+tasks[1].ID.String(), "").task(t); now.Failures != 1 || string(now.Progress) != "2" {
		t.Errorf("%+v", now)
	}
	// The first may have been another server, which goes on.
	second.Close()
	b.api.keeper = first
	b.report(200, got.Claims[3], "beat", `{}`)
	b.report(200, got.Claims[3], "finish", `{"result":4}`)
}

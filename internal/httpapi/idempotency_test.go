package httpapi

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

func counted(b *testServer) int64 {
	b.t.Helper()
	var stats wire.Stats
	b.want(200, "GET", "/v1/stats", "").into(b.t, &stats)
	var n int64
	for _, count := range stats.States {
		n += count
	}
	return n
}

func TestKeyID(t *testing.T) {
	id := keyID("ci", "order-17")
	if id != keyID("ci", "order-17") || id[6]>>4 != 8 || id[8]>>6 != 2 {
		t.Errorf("id %s", id)
	}
	// Every node must derive the same, in every version to come.
	if want := "778f04a5-6838-816c-a593-141938ec1e1f"; id.String() != want {
		t.Errorf("id %s, want %s", id, want)
	}
	for _, other := range []morningai.ID{keyID("c", "iorder-17"), keyID("", "order-17"), keyID("ci", "order-18")} {
		if other == id {
			t.Error("two keys have one id")
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	b := start(t, open(t), Options{})
	const body = `{"type":"echo","payload":{"a":1},"delay":"1h","unique_key":"u"}`
	first := b.want(202, "POST", "/v1/tasks", body, "Idempotency-Key", "k 1")
	if first.Header.Get("Idempotent-Replayed") != "" {
		t.Error("the first is no replay")
	}
	again := b.want(202, "POST", "/v1/tasks", ` { "delay":"1h", "unique_key":"u", "type":"echo", "payload" : {"a": 1}}`, "Idempotency-Key", "k 1")
	if again.Header.Get("Idempotent-Replayed") != "true" || again.task(t).ID != first.task(t).ID || again.task(t).Duplicate {
		t.Errorf("replay %v %s", again.Header, again.raw)
	}
	for _, other := range []string{
		`{"type":"echo","payload":{"a":2},"delay":"1h","unique_key":"u"}`, `{"type":"echo","payload":{"a":1.0},"unique_key":"u"}`,
		`{"type":"fail","payload":{"a":1},"unique_key":"u"}`, `{"type":"echo","payload":{"a":1},"unique_key":"u","queue":"q"}`,
		`{"type":"echo","payload":{"a":1},"unique_key":"v"}`,
		`{"type":"echo","payload":{"a":1},"delay":"2h","unique_key":"u"}`, `{"type":"echo","payload":{"a":1},"unique_key":"u"}`,
		`{"type":"echo","payload":{"a":1},"delay":"1h","unique_key":"u","retention":"0s"}`,
		`{"type":"echo","payload":{"a":1},"unique_key":"u","trace_id":"01937c4e-0000-7000-8000-000000000001"}`,
	} {
		r := b.want(409, "POST", "/v1/tasks", other, "Idempotency-Key", "k 1")
		if !bytes.Contains(r.raw, []byte(`"idempotency_conflict"`)) || bytes.Contains(r.raw, []byte("k 1")) {
			t.Errorf("%s: %s", other, r.raw)
		}
	}
	if n := counted(b); n != 1 {
		t.Errorf("%d tasks", n)
	}
	for _, key := range []string{"é", strings.Repeat("k", 256), "a\tb"} {
		r := b.do("POST", "/v1/tasks", body, "Idempotency-Key", key)
		if r.StatusCode != 422 || !bytes.Contains(r.raw, []byte("header.Idempotency-Key")) {
			t.Errorf("key %q: %d %s", key, r.StatusCode, r.raw)
		}
	}
	b.want(422, "POST", "/v1/tasks", `{"type":"echo","id":"01937c4e-0000-7000-8000-000000000001"}`, "Idempotency-Key", "x")
	b.want(422, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo"}]}`, "Idempotency-Key", "x")
	b.want(422, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo"}]}`, "Idempotency-Key", "")
	b.want(200, "DELETE", "/v1/tasks/"+first.task(t).ID.String(), "")
	b.want(409, "POST", "/v1/tasks", body, "Idempotency-Key", "k 1")
}

func TestIdempotencyKeysBelongToTokens(t *testing.T) {
	tokens, err := readTokens(strings.NewReader("submit " + submitToken + " ci\nsubmit " + readToken + " ci\nadmin " + adminToken + " ops"))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, open(t), Options{Tokens: tokens})
	ids := map[string]morningai.ID{}
	for _, token := range []string{submitToken, readToken, adminToken} {
		b.token = token
		ids[token] = b.want(202, "POST", "/v1/tasks", `{"type":"echo"}`, "Idempotency-Key", "k").task(t).ID
	}
	if ids[submitToken] == ids[adminToken] {
		t.Error("two callers share a key")
	}
	if ids[submitToken] != ids[readToken] {
		t.Error("a token and its successor of the same name do not share a key")
	}
	for _, token := range []string{submitToken, readToken, adminToken} {
		if strings.Contains(b.log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

const racers = 24

func TestIdempotencyKeyUnderConcurrency(t *testing.T) {
	b := start(t, open(t), Options{})
	answers := make([]<-chan response, racers)
	for i := range answers {
		answers[i] = b.later("POST", "/v1/tasks", `{"type":"gate","delay":"1h"}`, "Idempotency-Key", "one")
	}
	fresh := 0
	ids := map[morningai.ID]bool{}
	for _, answer := range answers {
		r := <-answer
		if r.StatusCode != 202 {
			t.Fatalf("%d %s", r.StatusCode, r.raw)
		}
		ids[r.task(t).ID] = true
		if r.Header.Get("Idempotent-Replayed") == "" {
			fresh++
		}
	}
	if n := counted(b); len(ids) != 1 || fresh != 1 || n != 1 {
		t.Errorf("%d ids, %d first answers, %d tasks", len(ids), fresh, n)
	}
}

func TestUniqueKeyUnderConcurrency(t *testing.T) {
	b := start(t, open(t), Options{})
	answers := make([]<-chan response, racers)
	for i := range answers {
		answers[i] = b.later("POST", "/v1/tasks", fmt.Sprintf(`{"type":"gate","payload":%d,"delay":"1h","unique_key":"only"}`, i))
	}
	accepted := 0
	ids := map[morningai.ID]bool{}
	for _, answer := range answers {
		r := <-answer
		task := r.task(t)
		ids[task.ID] = true
		switch {
		case r.StatusCode == 202 && !task.Duplicate:
			accepted++
		case r.StatusCode != 200 || !task.Duplicate:
			t.Fatalf("%d %s", r.StatusCode, r.raw)
		}
	}
	if n := counted(b); len(ids) != 1 || accepted != 1 || n != 1 {
		t.Errorf("%d ids, %d accepted, %d tasks", len(ids), accepted, n)
	}
}

func TestRepeatedIDs(t *testing.T) {
	b := start(t, open(t), Options{})
	const id = "01937c4e-0000-7000-8000-000000000001"
	b.want(202, "POST", "/v1/tasks", `{"type":"echo","delay":"1h","id":"`+id+`"}`)
	b.want(202, "POST", "/v1/tasks", `{"type":"echo","delay":"1h","id":"`+id+`"}`)
	b.refused(morningai.CodeConflict, "POST", "/v1/tasks", `{"type":"fail","delay":"1h","id":"`+id+`"}`)
	b.refused(morningai.CodeConflict, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"fail","id":"`+id+`"}]}`)
	var out wire.Tasks
	b.want(202, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo","payload":1},{"type":"fail","id":"`+id+`"},{"type":"echo","payload":3}]}`).into(t, &out)
	if len(out.Tasks) != 2 || len(out.Refused) != 1 || out.Refused[0].Index != 1 || out.Refused[0].Code != morningai.CodeConflict {
		t.Errorf("a batch with one conflict: %+v", out)
	}
	if in := out.Aligned(3); len(in) != 3 || string(in[0].Payload) != "1" || !in[1].ID.IsZero() || string(in[2].Payload) != "3" {
		t.Errorf("in the places of the requests: %+v", in)
	}
	if n := counted(b); n != 3 {
		t.Errorf("%d tasks", n)
	}
}

func TestBatch(t *testing.T) {
	b := start(t, open(t), Options{})
	b.refused(morningai.CodeInvalidInput, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo"},{"type":"echo","priority":10},{"delay":"x"}]}`,
		"body.tasks[2].delay", "body.tasks[1].priority", "body.tasks[2].type")
	if n := counted(b); n != 0 {
		t.Fatalf("%d tasks of a refused batch", n)
	}
	var out wire.Tasks
	b.want(202, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo","payload":1,"delay":"1h","unique_key":"u"},{"type":"echo","payload":2},{"type":"echo","payload":3,"unique_key":"u"}]}`).into(t, &out)
	if len(out.Tasks) != 3 || string(out.Tasks[1].Payload) != "2" || !out.Tasks[2].Duplicate || out.Tasks[2].ID != out.Tasks[0].ID {
		t.Errorf("batch %+v", out)
	}
	b.want(200, "PATCH", "/v1/queues/full", `{"paused":true}`)
	full := `{"tasks":[` + strings.TrimSuffix(strings.Repeat(`{"type":"echo","queue":"full"},`, morningai.MaxBatch), ",") + `]}`
	b.want(202, "POST", "/v1/tasks/batch", full).into(t, &out)
	if len(out.Tasks) != morningai.MaxBatch {
		t.Errorf("%d of a full batch", len(out.Tasks))
	}
}

package httpapi

import (
	"io"
	"strings"
	"testing"
)

// A body that a GET brings would be ignored: it is refused, and so is a name
// that a path cannot carry.
func TestGetTakesNoBody(t *testing.T) {
	b := start(t, open(t), Options{})
	for _, path := range []string{"/v1/tasks", "/v1/queues", "/v1/stats"} {
		b.refused("invalid_input", "GET", path, `{"state":"queued"}`, "body")
		b.refused("invalid_input", "GET", path, " ", "body")
		b.refused("invalid_input", "GET", path, strings.Repeat("x", 1<<20), "body")
		b.want(200, "GET", path, "")
		// Without a length: chunked, and only reading tells whether it is empty.
		for body, status := range map[string]int{"": 200, "{}": 422} {
			if r := b.send("GET", path, io.MultiReader(strings.NewReader(body))); r.StatusCode != status {
				t.Errorf("GET %s with %q, chunked: %d, want %d", path, body, r.StatusCode, status)
			}
		}
		if r := b.do("HEAD", path, "{}"); r.StatusCode != 422 {
			t.Errorf("HEAD %s with a body: %d", path, r.StatusCode)
		}
		if r := b.do("GET", path, "{}", "Expect", "100-continue"); r.StatusCode != 422 {
			t.Errorf("GET %s that asks whether to send its body: %d", path, r.StatusCode)
		}
	}
	b.want(200, "GET", "/livez", "x") // probes are asked in many ways

	for _, name := range []string{".", ".."} {
		b.refused("invalid_input", "POST", "/v1/tasks", `{"type":"echo","queue":"`+name+`"}`, "body.queue")
		b.refused("invalid_input", "POST", "/v1/tasks", `{"type":"`+name+`"}`, "body.type")
	}
	b.want(202, "POST", "/v1/tasks", `{"type":"echo","queue":"..."}`)
	b.want(200, "GET", "/v1/queues/...", "")
}

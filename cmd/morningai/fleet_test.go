package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What commands make of answers that a server with a journal gives.
func TestFleetCommands(t *testing.T) {
	const id = "01937c4e-0000-7000-8000-000000000001"
	incident := `{"id":"` + id + `","node":"a","cause":"connection\u001b[31m refused","hint":"start it","started_at":"2026-11-23T23:00:00Z","ended_at":"2026-11-23T23:01:05Z",` +
		`"noticed_after":"300ms","accepted":12,"ran_locally":11,"delivered":3,"forwarded":1,"replayed":2,"repeated":1,"superseded":0,"set_aside":0,"refused":0,"lost":0,"backlog":4`
	alone := incident + `,"repeated_ids":["` + id + `"],"set_aside_ids":[]}`
	nodes := `{"id":"` + id + `","node":"b","url":"http://10.0.0.2:8080","version":"v1","connected":false,"protected":true,"backlog":7,"contact_at":"2026-11-23T23:00:00Z","concurrency":0,"running":0,"types":[],"queues":[]}`
	bodies := map[string]string{
		"GET /v1/incidents":       `{"incidents":[` + incident + `}]}`,
		"GET /v1/incidents/" + id: alone,
		"GET /v1/nodes":           `{"nodes":[` + nodes + `],"fresh":"stale"}`,
		"DELETE /v1/nodes/" + id:  nodes,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := bodies[r.Method+" "+r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	for line, want := range map[string][]string{
		"incident list":       {id, "2026-11-23T23:00:00Z", "1m05s", "12", "refused"},
		"incident show " + id: {"accepted", "12 tasks", "11 attempts", "2 writes in doubt", "4 entries", "300ms", "repeated ids", "lost", "start it"},
		"node list":           {id, "b", "away", "7 undelivered"},
		"node forget " + id:   {"http://10.0.0.2:8080", "v1", "7 undelivered"},
	} {
		args := append(strings.Fields(line), "--server", srv.URL)
		var out, said bytes.Buffer
		if code := run(args, streams{strings.NewReader(""), &out, &said}); code != 0 {
			t.Errorf("%s: exit %d, %s", line, code, said.String())
		}
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s does not say %q:\n%s", line, text, out.String())
			}
		}
		if strings.Contains(out.String(), "\x1b[31m refused") || strings.Contains(out.String(), "superseded") {
			t.Errorf("%s says too much:\n%q", line, out.String())
		}
		if strings.HasPrefix(line, "node list") != strings.Contains(said.String(), "is away") {
			t.Errorf("%s notes: %s", line, said.String())
		}
		out.Reset()
		if code := run(append(args, "--json"), streams{strings.NewReader(""), &out, &said}); code != 0 {
			t.Errorf("%s --json: exit %d", line, code)
		}
		found := false
		for _, body := range bodies {
			found = found || out.String() == body+"\n"
		}
		if !found {
			t.Errorf("%s --json is no body of the API: %s", line, out.String())
		}
	}
}

func TestSubmitSaysWhatBecomesOfATaskInAnOutage(t *testing.T) {
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if data, err := io.ReadAll(r.Body); err == nil {
			body = string(data)
		}
		http.Error(w, "no", http.StatusInternalServerError)
	}))
	defer srv.Close()
	submit := []string{"task", "submit", "echo", "--server", srv.URL}
	for _, c := range []struct {
		flags []string
		parts []string
	}{
		{nil, nil},
		{[]string{"--during-outage", "hold", "--durability", "journal"}, []string{`"during_outage":"hold"`, `"durability":"journal"`}},
		{[]string{"--during-outage", "run"}, []string{`"during_outage":"run"`}},
	} {
		run(append(submit, c.flags...), streams{strings.NewReader(""), io.Discard, io.Discard})
		for _, part := range c.parts {
			if !strings.Contains(body, part) {
				t.Errorf("%v sends %s", c.flags, body)
			}
		}
		if c.flags == nil && (strings.Contains(body, "during_outage") || strings.Contains(body, "durability") || body == "") {
			t.Errorf("without flags: %s", body)
		}
	}
}

package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// answering returns a client of a server that gives everyone the same answer.
func answering(t *testing.T, status int, kind, body string, headers ...string) *client.Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func someID(t *testing.T) morningai.ID {
	t.Helper()
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:8080", "ftp://host", "http://", "http://user:pw@host", "http://host?x=1", "http://host/#a", "://"} {
		if _, err := client.New(address); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"http://host", "https://host:1/prefix/", "http://[::1]:8080"} {
		if _, err := client.New(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestNewRefusesWhatIsNoToken(t *testing.T) {
	for _, token := range []string{"line\nend", "a b", "caf\u00e9", "nul\x00"} {
		_, err := client.New("http://host", client.WithToken(token))
		if !errors.Is(err, morningai.ErrInvalidInput) || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestProblemBecomesError(t *testing.T) {
	c := answering(t, 507, "application/problem+json; charset=utf-8",
		`{"title":"Insufficient Storage","status":507,"code":"storage_full","detail":"the disk is full","errors":[{"location":"body.x","message":"m"}]}`,
		"Retry-After", "10")
	_, err := c.Get(t.Context(), someID(t))
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok || !errors.Is(err, morningai.ErrStorageFull) || e.Detail != "the disk is full" || e.RetryAfter != 10*time.Second ||
		len(e.Fields) != 1 || e.Fields[0].Location != "body.x" {
		t.Fatalf("%+v", err)
	}
	if a, ok := errors.AsType[*client.AnswerError](err); !ok || a.Status != 507 {
		t.Errorf("status: %v", a)
	}
}

// What is no answer of this API must not be taken for one: not for "no such
// task", and not for an empty list.
func TestForeignAnswers(t *testing.T) {
	for name, c := range map[string]*client.Client{
		"page":             answering(t, 200, "text/html", "<html>"),
		"missing page":     answering(t, 404, "text/html", "<html>"),
		"proxy":            answering(t, 502, "text/html", "<html>"),
		"json of others":   answering(t, 404, "application/json", `{"error":"no"}`),
		"broken":           answering(t, 200, "application/json", `{"tasks":[`),
		"problem of other": answering(t, 404, "application/problem+json", `{"title":"x"}`),
		"redirect":         answering(t, 302, "text/html", "", "Location", "http://127.0.0.1:1/"),
	} {
		if _, err := c.Get(t.Context(), someID(t)); !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%s: get: %v", name, err)
		}
		if _, err := c.List(t.Context(), morningai.Filter{}); !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%s: list: %v", name, err)
		}
	}
	other := answering(t, 200, "application/json", `{"service":"other"}`)
	if _, err := other.Live(t.Context()); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("live: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+address, client.WithToken("secret-token"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Queues(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestCancelledContextIsItsOwnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := answering(t, 200, "application/json", "{}")
	if _, err := c.Wait(ctx, someID(t)); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

// A payload is sent byte for byte as far as JSON's white space goes, and what
// is no JSON is not sent at all.
func TestPayloadGoesAsItIs(t *testing.T) {
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 4096)
		n, _ := r.Body.Read(b)
		body = string(b[:n])
		w.WriteHeader(500)
	}))
	defer srv.Close()
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	const payload = `{"n":1.2300e5,"big":123456789012345678901234567890,"s":"<é\u00e9>"}`
	if _, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("echo", []byte(payload))); err == nil {
		t.Fatal("no error")
	}
	if !strings.Contains(body, `"payload":`+payload) {
		t.Errorf("sent %s", body)
	}
	body = ""
	if _, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("echo", []byte(`{"n":`))); !errors.Is(err, morningai.ErrInvalidInput) || body != "" {
		t.Errorf("broken payload: %v, sent %q", err, body)
	}
}

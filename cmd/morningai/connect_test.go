package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/address"
)

// impostor answers /livez like a server, refuses everything else, and notes
// whether it was shown a token.
func impostor(t *testing.T, instance string) (url string, shown *atomic.Bool) {
	t.Helper()
	shown = new(atomic.Bool)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			shown.Store(true)
		}
		w.Header().Set("Content-Type", "application/json")
		body := `{"service":"morningai","instance":"` + instance + `"}`
		if r.URL.Path != "/livez" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			body = `{"status":401,"code":"unauthenticated","detail":"a token is needed"}`
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, shown
}

func TestTokenIsNotSentToAGuessedAddress(t *testing.T) {
	url, shown := impostor(t, "x")
	c := reach{Token: "a-token", Data: t.TempDir()}
	l, err := c.dialOr(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = l.List(t.Context(), morningai.Filter{})
	if !errors.Is(err, client.ErrUnauthenticated) || shown.Load() {
		t.Errorf("%v, token shown: %v", err, shown.Load())
	}
	if told := l.hint(err).Error(); !strings.Contains(told, "--server "+url) || strings.Contains(told, "a-token") {
		t.Errorf("%s", told)
	}
}

// A note whose server is gone must not lead the token to whoever listens at its
// address now.
func TestTokenIsNotSentToAnotherInstance(t *testing.T) {
	url, shown := impostor(t, "new")
	c := reach{Token: "a-token", Data: t.TempDir()}
	if err := address.Write(c.Data, address.Note{URL: url, Instance: "old", PID: 1}); err != nil {
		t.Fatal(err)
	}
	_, err := c.dialOr(t.Context(), "http://127.0.0.1:0")
	if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "another server answers there") {
		t.Errorf("%v", err)
	}
	if shown.Load() {
		t.Error("the token was shown")
	}
}

func TestTokenGoesToTheNotedServer(t *testing.T) {
	url, shown := impostor(t, "same")
	c := reach{Token: "a-token", Data: t.TempDir()}
	if err := address.Write(c.Data, address.Note{URL: url, Instance: "same", PID: 1}); err != nil {
		t.Fatal(err)
	}
	l, err := c.dialOr(t.Context(), "http://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.List(t.Context(), morningai.Filter{}); !errors.Is(err, client.ErrUnauthenticated) || !shown.Load() {
		t.Errorf("%v, token shown: %v", err, shown.Load())
	}
}

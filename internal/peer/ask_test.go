package peer_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/peer"
)

func TestAsk(t *testing.T) {
	n := serve(t, time.Minute)
	id := n.submit("job")
	a := peer.NewAsker(token)
	defer a.Close()
	task, err := a.Ask(t.Context(), n.url, id)
	if err != nil || task.ID != id || task.State != morningai.StateQueued {
		t.Errorf("%+v, %v", task, err)
	}
	other, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Ask(t.Context(), n.url, other); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("an unknown task: %v", err)
	}
	stranger := peer.NewAsker("another-token-here")
	defer stranger.Close()
	if _, err := stranger.Ask(t.Context(), n.url, other); err == nil || errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("with a wrong token: %v", err)
	}
}

// Only a server's own word means that a task is not there.
func TestAskInVain(t *testing.T) {
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	for name, handler := range map[string]http.HandlerFunc{
		"silent":   func(http.ResponseWriter, *http.Request) { <-over },
		"stranger": func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"title":"Not Found","status":404,"code":"not_found","detail":"there is no such task"}`))
		},
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler)
			defer srv.Close()
			if name == "silent" {
				defer close(over)
			}
			a := peer.NewAsker("")
			defer a.Close()
			if _, err := a.Ask(t.Context(), srv.URL, id); err == nil || errors.Is(err, morningai.ErrNotFound) {
				t.Errorf("%v", err)
			}
		})
	}
	a := peer.NewAsker("")
	defer a.Close()
	if _, err := a.Ask(t.Context(), "not an address", id); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("%v", err)
	}
}

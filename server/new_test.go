package server_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

// With options that cannot be used nobody gets in, and Run says what is wrong.
func TestWrongOptions(t *testing.T) {
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	app := morningai.New(engine, morningai.WithLogger(quiet))
	missing := filepath.Join(t.TempDir(), "no-such-tokens")
	srv := server.New(app, server.Options{TokenFile: missing, Logger: quiet})
	if !errors.Is(srv.Err(), morningai.ErrInvalidInput) {
		t.Errorf("Err: %v", srv.Err())
	}
	if err := srv.Run(t.Context()); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("Run: %v", err)
	}
	for _, path := range []string{"/v1/stats", "/livez", "/"} {
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil))
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), missing) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}

// The handler works below a path too.
func TestMountedBelowAPath(t *testing.T) {
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	app := morningai.New(engine, morningai.WithLogger(quiet))
	srv := server.New(app, server.Options{Logger: quiet})
	defer srv.Close()
	mux := http.NewServeMux()
	mux.Handle("/tasks/", http.StripPrefix("/tasks", srv.Handler()))
	web := httptest.NewServer(mux)
	defer web.Close()
	cl, err := client.New(web.URL + "/tasks")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := cl.Enqueue(t.Context(), morningai.NewTaskSpec("work", nil)); err != nil {
		t.Error(err)
	}
}

package server_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

// What a worker over HTTP runs may finish while the server drains. What does not
// finish within the grace time goes back to its queue.
func TestDrainOfRemoteWorkers(t *testing.T) {
	c := config(t)
	c.Grace, c.RetainSucceeded = time.Minute, time.Hour
	r := run(t, c)
	cl, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var ids []morningai.ID
	for range 2 {
		task, err := cl.Enqueue(t.Context(), morningai.NewTaskSpec("remote", []byte("1")))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, task.ID)
	}
	got, err := cl.Claim(t.Context(), client.ClaimRequest{Worker: "w", Types: []string{"remote"}, Limit: 2})
	if err != nil || len(got.Claims) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	r.stop()
	for {
		resp, err := http.Get(r.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			break
		}
	}
	if _, err := cl.FinishClaim(t.Context(), got.Claims[0].ID, client.ClaimEnd{Result: []byte(`"in time"`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.FinishClaim(t.Context(), got.Claims[1].ID, client.ClaimEnd{Outcome: morningai.OutcomeReleased}); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	engine, err := sqlite.Open(t.Context(), filepath.Join(c.Data, "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	tasks, err := engine.Get(t.Context(), morningai.GetRequest{IDs: ids})
	if err != nil || tasks[0].State != morningai.StateSucceeded || string(tasks[0].Result) != `"in time"` || tasks[1].State != morningai.StateQueued {
		t.Errorf("%+v, %v", tasks, err)
	}
}

// What a worker over HTTP works on when its server stops is its own for a lease:
// it reports to the next run.
func TestRemoteWorkersOutliveTheServer(t *testing.T) {
	c := config(t)
	c.Grace, c.RetainSucceeded = time.Millisecond, time.Hour
	r := run(t, c)
	cl, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	task, err := cl.Enqueue(t.Context(), morningai.NewTaskSpec("remote", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cl.Claim(t.Context(), client.ClaimRequest{Worker: "w", Types: []string{"remote"}, Limit: 2})
	if err != nil || len(got.Claims) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	r.end(t)
	r = run(t, c)
	next, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if again, err := next.Claim(t.Context(), client.ClaimRequest{Worker: "other", Types: []string{"remote"}, Limit: 1, Wait: time.Millisecond}); err != nil || len(again.Claims) != 0 {
		t.Errorf("it is handed out again: %+v, %v", again, err)
	}
	if cancel, err := next.BeatClaim(t.Context(), got.Claims[0].ID, nil); err != nil || cancel {
		t.Errorf("a beat for it: %v, %v", cancel, err)
	}
	if state, err := next.FinishClaim(t.Context(), got.Claims[0].ID, client.ClaimEnd{Result: []byte(`"late"`)}); err != nil || state != morningai.StateSucceeded {
		t.Errorf("%s, %v", state, err)
	}
	end, err := next.Get(t.Context(), task.ID)
	if err != nil || end.State != morningai.StateSucceeded || string(end.Result) != `"late"` || end.Attempt != 1 {
		t.Errorf("%+v, %v", end, err)
	}
	r.end(t)
}

func TestWrongRoles(t *testing.T) {
	for name, change := range map[string]func(*server.Config){
		"unknown":              func(c *server.Config) { c.Role = "boss" },
		"api with peers":       func(c *server.Config) { c.Role, c.Peers = server.RoleAPI, []string{"http://127.0.0.1:1"} },
		"worker of nobody":     func(c *server.Config) { c.Role = server.RoleWorker },
		"peer without address": func(c *server.Config) { c.Peers = []string{""} },
		"token with a space":   func(c *server.Config) { c.Peers, c.PeerToken = []string{"http://127.0.0.1:1"}, "a b" },
	} {
		c := config(t)
		change(&c)
		if _, err := server.Open(t.Context(), c); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A program that mounts the handler itself ends the sessions of idle workers with
// Close; what the others work on they report to the next server.
func TestCloseEndsRemoteWorkers(t *testing.T) {
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	app := morningai.New(engine, morningai.WithLogger(quiet))
	serve := func() (*server.Server, *client.Client) {
		srv := server.New(app, server.Options{Logger: quiet})
		web := httptest.NewServer(srv.Handler())
		t.Cleanup(web.Close)
		cl, err := client.New(web.URL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return srv, cl
	}
	srv, cl := serve()
	task, err := cl.Enqueue(t.Context(), morningai.NewTaskSpec("remote", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cl.Claim(t.Context(), client.ClaimRequest{Worker: "w", Types: []string{"remote"}, Limit: 1})
	if err != nil || len(got.Claims) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if idle, err := cl.Claim(t.Context(), client.ClaimRequest{Worker: "idle", Types: []string{"remote"}, Limit: 1, Wait: time.Millisecond}); err != nil || len(idle.Claims) != 0 {
		t.Fatalf("%+v, %v", idle, err)
	}
	for range 2 {
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := app.Stats(t.Context())
	if err != nil || len(stats.Sessions) != 1 || stats.Sessions[0].Running != 1 {
		t.Errorf("%+v, %v", stats.Sessions, err)
	}
	next, cl := serve()
	if state, err := cl.FinishClaim(t.Context(), got.Claims[0].ID, client.ClaimEnd{Result: []byte("2")}); err != nil || state != morningai.StateSucceeded {
		t.Errorf("%s, %v", state, err)
	}
	if now, err := cl.Get(t.Context(), task.ID); err != nil || now.State != morningai.StateSucceeded || now.Attempt != 1 {
		t.Errorf("%+v, %v", now, err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

package server_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

// A program that has an HTTP server of its own mounts the API in it.
func ExampleServer_Handler() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	engine, err := sqlite.Open(ctx, filepath.Join(dir, "tasks.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	app := morningai.New(engine)
	morningai.Handle(app, "greet", func(ctx context.Context, name string) (string, error) {
		return "hello " + name, nil
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer app.Stop(ctx)

	srv := server.New(app, server.Options{})
	mux := http.NewServeMux()
	mux.Handle("/", srv.Handler())
	mux.HandleFunc("GET /mine", func(w http.ResponseWriter, r *http.Request) {})
	web := httptest.NewServer(mux)
	defer web.Close()

	c, err := client.New(web.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	task, err := c.Enqueue(ctx, morningai.NewTaskSpec("greet", []byte(`"Ada"`)))
	if err != nil {
		log.Fatal(err)
	}
	end, err := c.Wait(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(end.State, string(end.Result))
	// Output: succeeded "hello Ada"
}

// Run listens, runs the app's tasks, and drains when its context ends.
func ExampleServer_Run() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	engine, err := sqlite.Open(context.Background(), filepath.Join(dir, "tasks.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	app := morningai.New(engine)
	ctx, stop := context.WithCancel(context.Background())
	srv := server.New(app, server.Options{
		Listen: "127.0.0.1:0",
		Ready: func(url, engine string) {
			fmt.Println("ready, engine", engine)
			stop() // a real program ends with a signal
		},
	})
	fmt.Println(srv.Run(ctx))
	// Output:
	// ready, engine sqlite
	// <nil>
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

// A producer hands work to a server on another machine and waits for the
// result.
func Example() {
	ctx := context.Background()
	address, stop := exampleServer(ctx)
	defer stop()

	c, err := client.New(address)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	task, err := c.EnqueueOnce(ctx, "order-7", morningai.NewTaskSpec("greet", []byte(`"Ada"`)))
	if err != nil {
		log.Fatal(err)
	}
	end, err := c.Wait(ctx, task.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(end.State, string(end.Result))

	_, err = c.Cancel(ctx, task.ID)
	fmt.Println(errors.Is(err, morningai.ErrWrongState))
	// Output:
	// succeeded "hello Ada"
	// true
}

// exampleServer is what runs on the other machine.
func exampleServer(ctx context.Context) (address string, stop func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	engine, err := sqlite.Open(ctx, filepath.Join(dir, "tasks.db"))
	if err != nil {
		log.Fatal(err)
	}
	app := morningai.New(engine)
	morningai.Handle(app, "greet", func(ctx context.Context, name string) (string, error) {
		return "hello " + name, nil
	})
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	srv := server.New(app, server.Options{})
	web := httptest.NewServer(srv.Handler())
	return web.URL, func() {
		web.Close()
		if err := errors.Join(app.Stop(ctx), engine.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

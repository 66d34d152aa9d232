package server_test

import (
	"context"
	"errors"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/server"
)

// Limits of a running server change, those of the journal from the next look on.
func TestReloadTakesLimits(t *testing.T) {
	c := config(t)
	c.Redis = server.Redis{URL: redistest.Start(t).URL(), JournalLimit: 1 << 30}
	ready := make(chan string, 1)
	c.Ready = func(url, _ string) { ready <- url }
	ctx, stop := context.WithCancel(t.Context())
	srv, err := server.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	cl, err := client.New(<-ready)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	enqueue := func() error {
		_, err := cl.Enqueue(t.Context(), morningai.NewTaskSpec("echo", []byte("1")))
		return err
	}
	if err := enqueue(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Reload(server.Limits{Concurrency: 2, JournalLimit: 1}); err != nil {
		t.Fatal(err)
	}
	if err := enqueue(); !errors.Is(err, morningai.ErrStorageFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := srv.Reload(server.Limits{Concurrency: 0}); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("no concurrency: %v", err)
	}
	redistest.Until(t, "tasks to be taken again", func() bool { return enqueue() == nil })
	nodes, _, err := cl.Nodes(t.Context())
	for err == nil && (len(nodes) != 1 || nodes[0].Concurrency != 2) { // with the next beat
		nodes, _, err = cl.Nodes(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

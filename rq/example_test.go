package rq_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/rq"
)

// The example of docs/rq.md.
func TestExample(t *testing.T) {
	v, s := rqtest.Debian(t), redistest.Start(t)
	v.Worker(t, s.Addr(), "py", "", "images")
	text, err := enqueueAndWait(t.Context(), s.URL())
	if err != nil || text != "finished [3]" {
		t.Errorf("%s %v", text, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveJobs(ctx, s.URL()) }()
	v.Run(t, s.Addr(), `
j = queue('resize').enqueue('app.tasks.resize', 5)
until(lambda: fetch(j.id).get_status() == 'finished')`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func enqueueAndWait(ctx context.Context, url string) (string, error) {
	client, err := rq.Open(url)
	if err != nil {
		return "", err
	}
	defer client.Close()
	job, err := client.Enqueue(ctx, rq.Spec{
		ID: "thumbnail-17", Queue: "images", Func: "tasks.add", Args: []any{1}, Kwargs: map[string]any{"b": 2},
		Timeout: time.Minute, Retries: 3, Interval: []time.Duration{10 * time.Second, time.Minute},
	})
	if err != nil {
		return "", err
	}
	if job, err = client.Wait(ctx, job.ID); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s [%s]", job.Status, job.Result.Value), nil
}

func serveJobs(ctx context.Context, url string) error {
	client, err := rq.Open(url)
	if err != nil {
		return err
	}
	defer client.Close()
	worker, err := client.NewWorker(rq.WorkerConfig{
		Queues: []string{"resize"},
		Handlers: map[string]rq.Handler{
			"app.tasks.resize": func(ctx context.Context, job *rq.Job) (any, error) {
				return map[string]any{"called_with": job.Args}, nil
			},
		},
	})
	if err != nil {
		return err
	}
	return worker.Run(ctx) // until ctx ends, or RQ's shutdown command comes
}

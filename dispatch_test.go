package morningai

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"
)

// feeder hands out tasks from nowhere and takes every outcome, so that what a
// benchmark over it measures is the worker alone.
type feeder struct {
	Engine
	left     atomic.Int64
	finished atomic.Int64
	want     int64
	done     chan struct{}
	claims   atomic.Int64
	finishes atomic.Int64
}

func (*feeder) Capabilities() Capabilities { return Capabilities{} }

func (f *feeder) Claim(ctx context.Context, req ClaimRequest) (ClaimReply, error) {
	f.claims.Add(1)
	n := int64(req.N)
	if left := f.left.Add(-n); left < 0 {
		n = max(0, n+left)
	}
	if n == 0 {
		<-ctx.Done()
		return ClaimReply{}, ctx.Err()
	}
	grants := make([]Grant, n)
	for i := range grants {
		grants[i].Task = Task{Type: "noop", Timeout: time.Minute, MaxAttempts: 25, Payload: json.RawMessage(`{"x":1}`)}
	}
	return ClaimReply{Seq: f.claims.Load(), Grants: grants}, nil
}

func (f *feeder) Finish(_ context.Context, reports []Report) ([]Verdict, error) {
	f.finishes.Add(1)
	if f.finished.Add(int64(len(reports))) == f.want {
		close(f.done)
	}
	return make([]Verdict, len(reports)), nil
}

func (f *feeder) Beat(context.Context, BeatRequest) (BeatReply, error) { return BeatReply{}, nil }

// BenchmarkDispatch measures the worker's own cost of a task: claim, context,
// handler, outcome.
func BenchmarkDispatch(b *testing.B) {
	b.ReportAllocs()
	f := &feeder{want: int64(b.N), done: make(chan struct{})}
	f.left.Store(int64(b.N))
	app := New(f, WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	type in struct {
		X int `json:"x"`
	}
	Handle(app, "noop", func(context.Context, in) (int, error) { return 1, nil })
	b.ResetTimer()
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	<-f.done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(b.N)/float64(f.claims.Load()), "tasks/claim")
	b.ReportMetric(float64(b.N)/float64(f.finishes.Load()), "tasks/finish")
	if err := app.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

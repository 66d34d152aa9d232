package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

func tuningFor(measure string) tuning {
	switch measure {
	case latency:
		return forLatency
	case keeping:
		return forKeeping
	case fleet:
		return forFleet
	case alike:
		return forAlike
	}
	return forRate
}

// oneByOne is endToEnd with 16 producers that enqueue a task per call.
func (r *run) oneByOne(ctx context.Context, out *outcome) error {
	all := make(chan struct{})
	if err := r.s.start(ctx, r.counter(int64(r.Tasks), all)); err != nil {
		return err
	}
	began := time.Now()
	var next atomic.Int64
	err := parallel(16, func(int) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= r.Tasks {
				return nil
			}
			if err := r.s.enqueue(ctx, newWork(i)); err != nil {
				return err
			}
			r.accepted.Add(1)
		}
	})
	if err != nil {
		return err
	}
	<-all
	r.finished = int64(r.Tasks)
	if err := r.untilFinished(ctx); err != nil {
		return err
	}
	out.Tasks, out.Seconds = r.finished, time.Since(began).Seconds()
	return nil
}

// steady enqueues at a fixed rate beside the workers and looks once a second at
// what waits or runs.
func (r *run) steady(ctx context.Context, out *outcome) error {
	if err := r.s.start(ctx, func(int) { r.handled.Add(1) }); err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	total := int64(r.Seconds * float64(r.Rate))
	nextLook := time.Second
	var backlogs []float64
	for r.accepted.Load() < total {
		<-tick.C
		passed := time.Since(began)
		due := min(total, int64(passed.Seconds()*float64(r.Rate)))
		for r.accepted.Load() < due {
			if err := r.sendBatch(ctx, int(r.accepted.Load()), int(min(batch, due-r.accepted.Load()))); err != nil {
				return err
			}
		}
		if passed >= nextLook {
			backlogs = append(backlogs, float64(r.accepted.Load()-r.handled.Load()))
			nextLook += time.Second
		}
	}
	out.Seconds = time.Since(began).Seconds() // the producer has kept its rate, or this is longer
	r.finished = r.accepted.Load()
	if err := r.untilFinished(ctx); err != nil {
		return err
	}
	out.Tasks = r.finished
	quarter := len(backlogs) / 4
	out.Early = summarize(slices.Clone(backlogs[quarter : 2*quarter])).Median
	out.Late = summarize(slices.Clone(backlogs[len(backlogs)-quarter:])).Median
	return nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The measures. Each runs in a process of its own, on a database of its own.
const (
	enqueue1  = "enqueue, 1 producer"
	enqueue16 = "enqueue, 16 producers"
	enqueueIn = "enqueue in bulk"
	endToEnd  = "end to end"
	backlog   = "work off a backlog"
	latency   = "start latency"
	claims10k = "claims, 10k queued"
	fill1M    = "fill 1M" // prepares claims1M
	claims1M  = "claims, 1M queued"

	// On Redis only.
	oneByOne = "end to end, enqueued one at a time"
	keeping  = "end to end, results kept 24 h"
	fleet    = "end to end, 16 nodes"
	alike    = "end to end, 16 nodes with the slots of one each"
	steady   = "steady"
)

// job says what a child process has to do.
type job struct {
	Store   store
	System  string
	Measure string
	Path    string // of the database, or address of the Redis
	Seconds float64
	Tasks   int
	Rate    int
	Profile string // file for a CPU profile, if any
}

// outcome is what it found.
type outcome struct {
	Tasks   int64   // accepted, or finished where the measure is about that
	Seconds float64 // it took
	P50     float64 // milliseconds
	P99     float64
	Open    float64 // seconds to open the database
	RSS     int64   // bytes resident after opening
	PeakRSS int64
	CPU     float64 // seconds of processor time of the whole child
	Used    usage   // of the Redis server, while measuring
	Early   float64 // backlog of a steady run: median of its second quarter
	Late    float64 // and of its last
}

func (o outcome) rate() float64 { return float64(o.Tasks) / o.Seconds }

// measure does what j says and then checks that nothing was lost: it opens the
// database again and counts.
func measure(ctx context.Context, j job) (out outcome, err error) {
	c, err := find(j.Store, j.System)
	if err != nil {
		return out, err
	}
	t := tuningFor(j.Measure)
	began := time.Now()
	s, err := c.open(ctx, j.Path, t)
	if err != nil {
		return out, err
	}
	out.Open = time.Since(began).Seconds()
	if out.RSS, _, err = residentSet(); err != nil {
		return out, err
	}
	r := run{job: j, s: s}
	stopProfile, err := startProfile(j.Profile)
	if err != nil {
		return out, err
	}
	meter, metered := s.(metered)
	var before usage
	if metered {
		if before, err = meter.usage(ctx); err != nil {
			return out, err
		}
	}
	switch j.Measure {
	case enqueue1:
		err = r.produce(ctx, 1, &out)
	case enqueue16:
		err = r.produce(ctx, 16, &out)
	case enqueueIn:
		err = r.produceInBulk(ctx, &out)
	case endToEnd, keeping, fleet, alike:
		err = r.endToEnd(ctx, &out)
	case backlog, claims10k:
		if err = r.fill(ctx); err == nil {
			err = r.workOff(ctx, int64(j.Tasks), int64(j.Tasks), &out)
		}
	case fill1M:
		err = r.fill(ctx)
	case claims1M:
		var held counts
		if held, err = s.stored(ctx); err == nil {
			r.accepted.Store(held.total())
			err = r.workOff(ctx, held.waiting, int64(j.Tasks), &out)
		}
	case latency:
		err = r.latency(ctx, &out)
	case oneByOne:
		err = r.oneByOne(ctx, &out)
	case steady:
		err = r.steady(ctx, &out)
	default:
		err = fmt.Errorf("no measure is called %q", j.Measure)
	}
	if metered && err == nil {
		var after usage
		after, err = meter.usage(ctx)
		out.Used = after.since(before)
	}
	if stopErr := stopProfile(); err == nil {
		err = stopErr
	}
	if err != nil {
		return out, err
	}
	if _, out.PeakRSS, err = residentSet(); err != nil {
		return out, err
	}
	if err := s.close(ctx); err != nil {
		return out, err
	}
	return out, r.nothingLost(ctx, c)
}

type run struct {
	job
	s        system
	accepted atomic.Int64
	handled  atomic.Int64 // handler calls
	finished int64        // that the database has to hold at least
}

func (r *run) nothingLost(ctx context.Context, c contender) error {
	s, err := c.open(ctx, r.Path, tuningFor(r.Measure))
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	got, err := s.stored(ctx)
	if err != nil {
		return err
	}
	if got.total() != r.accepted.Load() || got.finished < r.finished {
		return fmt.Errorf("lost tasks: %d were accepted, %d are on disk; %d were finished, %d are on disk",
			r.accepted.Load(), got.total(), r.finished, got.finished)
	}
	return s.close(ctx)
}

// produce enqueues from n goroutines for the job's time. Tasks count when they
// have been acknowledged.
func (r *run) produce(ctx context.Context, n int, out *outcome) error {
	began := time.Now()
	until := began.Add(seconds(r.Seconds))
	err := parallel(n, func(producer int) error {
		for i := producer; time.Now().Before(until); i += n {
			if err := r.s.enqueue(ctx, newWork(i)); err != nil {
				return err
			}
			r.accepted.Add(1)
		}
		return nil
	})
	out.Tasks, out.Seconds = r.accepted.Load(), time.Since(began).Seconds()
	return err
}

// bulkProducers is how many goroutines send batches; more than one lets a
// system that can do so prepare a batch while it writes another.
const bulkProducers = 4

func (r *run) produceInBulk(ctx context.Context, out *outcome) error {
	began := time.Now()
	until := began.Add(seconds(r.Seconds))
	err := parallel(bulkProducers, func(int) error {
		for time.Now().Before(until) {
			if err := r.sendBatch(ctx, int(r.accepted.Load()), batch); err != nil {
				return err
			}
		}
		return nil
	})
	out.Tasks, out.Seconds = r.accepted.Load(), time.Since(began).Seconds()
	return err
}

func (r *run) sendBatch(ctx context.Context, first, n int) error {
	ws := make([]work, n)
	for i := range ws {
		ws[i] = newWork(first + i)
	}
	if err := r.s.bulk(ctx, ws); err != nil {
		return err
	}
	r.accepted.Add(int64(n))
	return nil
}

// fill enqueues the job's number of tasks.
func (r *run) fill(ctx context.Context) error {
	var next atomic.Int64
	return parallel(bulkProducers, func(int) error {
		for {
			first := int(next.Add(batch)) - batch
			if first >= r.Tasks {
				return nil
			}
			if err := r.sendBatch(ctx, first, min(batch, r.Tasks-first)); err != nil {
				return err
			}
		}
	})
}

// endToEnd starts workers, enqueues in bulk beside them, and takes the time
// from the first enqueue to the last finish on disk.
func (r *run) endToEnd(ctx context.Context, out *outcome) error {
	all := make(chan struct{})
	if err := r.s.start(ctx, r.counter(int64(r.Tasks), all)); err != nil {
		return err
	}
	began := time.Now()
	if err := r.fill(ctx); err != nil {
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

// workOff starts workers on the waiting tasks and takes the time until the
// first want of them have finished. If that is all of them, their finishes are
// on disk; otherwise they have been handled, and the rest is left.
func (r *run) workOff(ctx context.Context, waiting, want int64, out *outcome) error {
	if waiting < want {
		return fmt.Errorf("%d tasks are waiting, %d are needed", waiting, want)
	}
	done := make(chan struct{})
	began := time.Now()
	if err := r.s.start(ctx, r.counter(want, done)); err != nil {
		return err
	}
	<-done
	if waiting == want {
		r.finished = want
		if err := r.untilFinished(ctx); err != nil {
			return err
		}
	}
	out.Tasks, out.Seconds = want, time.Since(began).Seconds()
	return nil
}

// counter closes reached at the call number n.
func (r *run) counter(n int64, reached chan struct{}) func(int) {
	return func(int) {
		if r.handled.Add(1) == n {
			close(reached)
		}
	}
}

// untilFinished waits until the database says that all handled tasks have
// finished. What is asked is cheap for every system, and only asked at the end.
func (r *run) untilFinished(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := r.s.stored(ctx)
		if err != nil || c.finished >= r.finished {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d finished: %w", c.finished, r.finished, ctx.Err())
		}
	}
}

// latency enqueues at a fixed rate, each call on its own, and takes the time
// from just before the call to the first line of the handler. A call that has
// to wait does not hold up the next one.
func (r *run) latency(ctx context.Context, out *outcome) error {
	n := int(r.Seconds * float64(r.Rate))
	sent := make([]time.Time, n)
	took := make([]time.Duration, n)
	all := make(chan struct{})
	count := r.counter(int64(n), all)
	if err := r.s.start(ctx, func(i int) {
		took[i] = time.Since(sent[i])
		count(i)
	}); err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(r.Rate))
	defer tick.Stop()
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range n {
		<-tick.C
		group.Go(func() {
			sent[i] = time.Now()
			if err := r.s.enqueue(ctx, newWork(i)); err != nil {
				failed.Store(&err)
				return
			}
			r.accepted.Add(1)
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	<-all
	r.finished = int64(n)
	if err := r.untilFinished(ctx); err != nil {
		return err
	}
	slices.Sort(took)
	out.Tasks, out.Seconds = r.finished, time.Since(began).Seconds()
	out.P50, out.P99 = milliseconds(took[n/2]), milliseconds(took[n*99/100])
	return nil
}

// parallel runs f in n goroutines and returns the first error.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

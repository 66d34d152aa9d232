package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
)

// sweep lets ended tasks go when their time is over. Every engine does it; what
// one has removed the others do not find any more.
func (p *partition) sweep() {
	e := p.eng
	wait := e.opt.sweep
	for {
		timer := time.NewTimer(wait + rand.N(wait/4+1))
		select {
		case <-timer.C:
		case <-e.ctx.Done():
			timer.Stop()
			return
		}
		looked, err := p.sweepOnce()
		if err == nil && looked > 0 {
			wait = min(e.opt.sweep, 50*time.Millisecond) // there may be more
		} else {
			wait = min(max(2*wait, e.opt.sweep), 2*e.opt.sweep) // an idle fleet asks little
		}
	}
}

const sweepBatches = 4 // of one call

func (p *partition) sweepOnce() (int, error) {
	e := p.eng
	ctx, cancel := context.WithTimeout(e.ctx, e.opt.timeout)
	defer cancel()
	reply, err := p.others.call(ctx, scriptSweep, nil, []string{strconv.Itoa(sweepBatches), strconv.Itoa(e.opt.eventEntries),
		strconv.FormatInt(e.opt.eventAge.Milliseconds(), 10), strconv.FormatInt(e.opt.laneAge.Milliseconds(), 10)})
	if err != nil {
		return 0, err
	}
	text, err := reply[0].ToString()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// Probe writes through the path that Enqueue takes, in every partition.
func (e *Engine) Probe(ctx context.Context) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.active.Done()
	bounded, cancel := e.bounded(ctx)
	defer cancel()
	probe := func() error {
		for _, p := range e.parts {
			if err := p.probe(bounded); err != nil {
				return err
			}
		}
		return nil
	}
	if e.where.mode == modeCluster && len(e.parts) > 1 {
		probe = func() error { return e.probeApart(bounded) }
	}
	if err := probe(); err != nil {
		if e.where.secure && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ctx.Err()
			return likely(e.where, err, unavailable("probe", err))
		}
		return likely(e.where, err, e.failed(ctx, "probe", err))
	}
	return nil
}

// probe writes, and compares what Redis has stored of every lane.
func (p *partition) probe(ctx context.Context) error {
	known := p.dataSet()
	marks := p.marks(known)
	reply, err := p.others.call(ctx, scriptProbe, nil, marks)
	if err != nil {
		return err
	}
	behind, err := reply[1].ToString()
	if err != nil || behind == "0" {
		return err
	}
	return p.noticed(ctx, known)
}

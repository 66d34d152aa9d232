package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

const (
	probeAge  = time.Second     // a probe's answer is given out for this long
	probeTime = 5 * time.Second // a write that takes longer has failed

	// What is said of Redis turns within 1.5 s of an outage and of its end,
	// however Redis goes and comes: a good answer is given out for redisAge, and
	// a probe without an answer counts as down after redisPatience; a bad one is
	// given out for redisRest after a probe that takes redisPatience at most.
	redisAge      = 400 * time.Millisecond
	redisPatience = time.Second
	redisRest     = 200 * time.Millisecond
)

// prober makes real writes, one at a time however many ask, and gives out what
// the last one said for a while.
type prober struct {
	probe    func(context.Context) error
	log      *slog.Logger  // of what is found; nil if somebody else tells it
	limit    time.Duration // of one probe
	age      time.Duration // for which a good answer counts, from the moment when it was asked for
	rest     time.Duration // for which a bad one counts, from the moment when it came
	patience time.Duration // after which a probe under way counts as failed; 0: it is waited for
	late     error         // what is said then

	mu      sync.Mutex
	at      time.Time // from when the last answer counts
	err     error
	since   time.Time     // of the first failure in a row
	running chan struct{} // closed when the probe under way has ended; nil: there is none
	began   time.Time     // of the probe under way
}

// check returns why the last write failed, and since when writes fail.
func (p *prober) check(ctx context.Context) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := p.age
	if p.err != nil {
		counts = p.rest
	}
	if !p.at.IsZero() && p.running == nil && time.Since(p.at) < counts {
		return p.since, p.err
	}
	done := p.running
	if done == nil {
		done = make(chan struct{})
		p.running, p.began = done, time.Now()
		// The answer is for all who ask, so it does not end with the first of
		// them. Whoever closes the engine waits for its calls, and so for this.
		go p.run(context.WithoutCancel(ctx), done)
	}
	left := p.patience - time.Since(p.began)
	p.mu.Unlock()
	late := p.await(done, left)
	p.mu.Lock()
	if late && p.running == done && p.err == nil {
		p.fail(p.late)
	}
	return p.since, p.err
}

// await reports whether the patience with the probe has ended before it.
func (p *prober) await(done <-chan struct{}, left time.Duration) (late bool) {
	if p.patience == 0 {
		<-done
		return false
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-done:
		return false
	case <-timer.C:
		return true
	}
}

func (p *prober) run(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	began := time.Now()
	err := p.probe(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &morningai.Error{Code: morningai.CodeStorageFailed, Op: "probe",
			Detail: fmt.Sprintf("a write did not finish within %s", p.limit), Hint: "look at the disk's load and the system log", Err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = began
	switch {
	case err != nil:
		p.at = time.Now()
		if p.err == nil {
			p.fail(err)
		}
	case p.err != nil:
		p.since = time.Time{}
		if p.log != nil {
			p.log.Info("tasks are accepted again")
		}
	}
	p.err, p.running = err, nil
	close(done)
}

// fail is called with mu held, at the first failure in a row.
func (p *prober) fail(err error) {
	p.since, p.err = time.Now(), err
	if p.log != nil {
		p.log.Error("tasks are not accepted", "error", err)
	}
}

// notInTime is what is said of a Redis that takes a probe and gives no answer.
func notInTime() error {
	return &morningai.Error{Code: codeRedisUnavailable, Op: "probe", Detail: "Redis does not answer in time", Hint: "check the server and the network"}
}

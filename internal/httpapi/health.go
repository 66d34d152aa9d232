package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

const (
	probeAge  = time.Second     // a probe's answer is given out for this long
	probeTime = 5 * time.Second // a write that takes longer has failed
	// redisPatience is how long a caller waits for an answer of Redis. The
	// probe itself goes on for as long as the engine waits, and then knows why.
	redisPatience = time.Second
)

// prober asks the engine for a real write, at most once per probeAge however
// many ask.
type prober struct {
	probe    func(context.Context) error
	log      *slog.Logger
	limit    time.Duration // of one probe
	patience time.Duration // of those who ask; 0: they wait for the probe's end

	mu      sync.Mutex
	at      time.Time // when the last probe ended
	err     error
	since   time.Time     // of the first failure in a row
	running chan struct{} // closed when the probe under way has ended; nil: there is none
}

// check returns why tasks are not accepted, and since when.
func (p *prober) check(ctx context.Context) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < probeAge {
		return p.since, p.err
	}
	done := p.running
	if done == nil {
		done = make(chan struct{})
		p.running = done
		// The answer is for all who ask, so it does not end with the first of
		// them. Whoever closes the engine waits for its calls, and so for this.
		go p.run(context.WithoutCancel(ctx), done)
	}
	p.mu.Unlock()
	late := p.await(done)
	p.mu.Lock()
	if late && p.running == done && p.err == nil {
		p.fail(&morningai.Error{Code: codeRedisUnavailable, Op: "probe", Detail: "Redis does not answer in time", Hint: "check the server and the network"})
	}
	return p.since, p.err
}

// await reports whether the caller's patience has ended before the probe.
func (p *prober) await(done <-chan struct{}) (late bool) {
	if p.patience == 0 {
		<-done
		return false
	}
	timer := time.NewTimer(p.patience)
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
	err := p.probe(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &morningai.Error{Code: morningai.CodeStorageFailed, Op: "probe",
			Detail: fmt.Sprintf("a write did not finish within %s", p.limit), Hint: "look at the disk's load and the system log", Err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil && p.err == nil:
		p.fail(err)
	case err == nil && p.err != nil:
		p.since = time.Time{}
		p.log.Info("tasks are accepted again")
	}
	p.at, p.err, p.running = time.Now(), err, nil
	close(done)
}

// fail is called with mu held, at the first failure in a row.
func (p *prober) fail(err error) {
	p.since, p.err = time.Now(), err
	p.log.Error("tasks are not accepted", "error", err)
}

func (a *api) health(c *call) (answer, error) {
	h := wire.Health{Status: "ok", Version: a.version, Engine: a.client.Engine().Capabilities().Name}
	since, err := a.prober.check(c.r.Context())
	if err == nil {
		var stats morningai.Stats
		stats, err = a.client.Stats(c.r.Context())
		h.Workers, since = len(stats.Sessions), time.Now()
	}
	if a.redis {
		h.Redis.Status = "up"
	} else {
		h.Redis.Status, h.Storage = "not configured", &wire.Storage{Status: "ok"}
	}
	if err == nil {
		return answer{http.StatusOK, h}, nil
	}
	f := failureOf(err)
	cause, hint, since := f.detail, "", since.UTC()
	code := morningai.CodeStorageFailed
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		hint = e.Hint
		if e.Detail != "" {
			cause = e.Detail
		}
		if e.Code == morningai.CodeStorageFull {
			code = e.Code
		}
	}
	h.Status = "down"
	if a.redis {
		code = codeRedisUnavailable
		h.Redis = wire.RedisHealth{Status: "down", Since: &since, Cause: cause, Hint: hint}
	} else {
		h.Storage = &wire.Storage{Status: string(code), Since: &since, Cause: cause, Hint: hint}
	}
	f.retry = max(f.retry, kindOf(code).retry)
	f.headers(c.w.Header())
	return answer{http.StatusServiceUnavailable, h}, nil
}

// healthRedis has the bodies of the system that this one replaces, but asks
// Redis before it says anything.
func (a *api) healthRedis(c *call) (answer, error) {
	if !a.redis {
		return answer{http.StatusNotFound, wire.Status{Status: "Redis is not configured"}}, nil
	}
	if _, err := a.prober.check(c.r.Context()); err != nil {
		failure{retry: kindOf(codeRedisUnavailable).retry}.headers(c.w.Header())
		return answer{http.StatusServiceUnavailable, wire.Status{Status: "Redis is down"}}, nil
	}
	return answer{http.StatusOK, wire.Status{Status: "Redis is up"}}, nil
}

func (a *api) livez(*call) (answer, error) {
	return answer{http.StatusOK, a.live}, nil
}

func (a *api) readyz(c *call) (answer, error) {
	select {
	case <-a.stopping:
		return answer{}, refusal(morningai.CodeClosed, "the server is stopping", "")
	default:
	}
	if _, err := a.prober.check(c.r.Context()); err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.Status{Status: "ok"}}, nil
}

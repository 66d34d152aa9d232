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
)

// prober asks the engine for a real write, at most once per probeAge however
// many ask.
type prober struct {
	probe func(context.Context) error
	log   *slog.Logger
	limit time.Duration // of one probe

	mu    sync.Mutex // held while probing: the others wait for its answer
	at    time.Time
	err   error
	since time.Time // of the first failure in a row
}

// check returns why tasks are not accepted, and since when.
func (p *prober) check(ctx context.Context) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < probeAge {
		return p.since, p.err
	}
	// The answer is for all who ask, so it does not end with the first of them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.limit)
	defer cancel()
	err := p.probe(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &morningai.Error{Code: morningai.CodeStorageFailed, Op: "probe",
			Detail: fmt.Sprintf("a write did not finish within %s", p.limit), Hint: "look at the disk's load and the system log", Err: err}
	}
	now := time.Now()
	switch {
	case err != nil && p.err == nil:
		p.since = now
		p.log.Error("tasks are not accepted", "error", err)
	case err == nil && p.err != nil:
		p.since = time.Time{}
		p.log.Info("tasks are accepted again")
	}
	p.at, p.err = now, err
	return p.since, err
}

func (a *api) health(c *call) (answer, error) {
	h := wire.Health{Status: "ok", Version: a.version, Engine: a.client.Engine().Capabilities().Name,
		Redis: wire.RedisHealth{Status: "not configured"}, Storage: wire.Storage{Status: "ok"}}
	since, err := a.prober.check(c.r.Context())
	if err == nil {
		var stats morningai.Stats
		stats, err = a.client.Stats(c.r.Context())
		h.Workers, since = len(stats.Sessions), time.Now()
	}
	if err == nil {
		return answer{http.StatusOK, h}, nil
	}
	f := failureOf(err)
	h.Status = "down"
	since = since.UTC()
	h.Storage = wire.Storage{Status: string(morningai.CodeStorageFailed), Since: &since, Cause: f.detail}
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		h.Storage.Hint = e.Hint
		if e.Detail != "" {
			h.Storage.Cause = e.Detail
		}
		if e.Code == morningai.CodeStorageFull {
			h.Storage.Status = string(e.Code)
		}
	}
	f.retry = max(f.retry, kindOf(morningai.CodeStorageFailed).retry)
	f.headers(c.w.Header())
	return answer{http.StatusServiceUnavailable, h}, nil
}

func (a *api) healthRedis(*call) (answer, error) {
	return answer{http.StatusNotFound, wire.Status{Status: "Redis is not configured"}}, nil
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

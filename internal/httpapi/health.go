package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

func (a *api) health(c *call) (answer, error) {
	h := wire.Health{Status: "ok", Version: a.version, Engine: a.engine}
	if a.backups != nil {
		backups := a.backups()
		h.Backups = &backups
	}
	if a.fleet != nil {
		return a.fleetHealth(c, h)
	}
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
	code, cause, hint := causeOf(err)
	since = since.UTC()
	h.Status = "down"
	if a.redis {
		code = codeRedisUnavailable
		h.Redis = wire.RedisHealth{Status: "down", Since: &since, Cause: cause, Hint: hint}
	} else {
		h.Storage = &wire.Storage{Status: string(code), Since: &since, Cause: cause, Hint: hint}
	}
	return a.down(c, h, err, code), nil
}

// fleetHealth is how a server with a journal is: without Redis it goes on, and
// says that it is degraded.
func (a *api) fleetHealth(c *call, h wire.Health) (answer, error) {
	st, err := a.fleet.Status(c.r.Context())
	if err != nil {
		st.Refusing = err
	}
	h.Redis.Status = "up"
	if st.Contact == morningai.ContactDown || st.Contact == morningai.ContactRecovering {
		since := st.Since.UTC()
		h.Status, h.Redis = "degraded", wire.RedisHealth{Status: "down", Cause: st.Cause, Since: &since, Hint: st.Hint}
	}
	if len(st.Away) > 0 {
		since := st.Since.UTC()
		h.Status, h.Redis = "degraded", wire.RedisHealth{Status: "partly", Cause: st.Cause, Since: &since, Hint: st.Hint}
		for _, a := range st.Away {
			h.Redis.Partitions = append(h.Redis.Partitions, a.Part)
		}
	}
	h.Journal = &wire.Journal{Status: "ok", Entries: st.Backlog, Bytes: st.Journal.Bytes, Limit: st.JournalLimit,
		Tombstones: st.TombstonesSince.UTC(), Unprotected: st.Unprotected}
	h.Workers = a.workers(c.r.Context())
	if st.Refusing == nil {
		return answer{http.StatusOK, h}, nil
	}
	code, cause, hint := causeOf(st.Refusing)
	h.Status, h.Journal.Status, h.Journal.Cause, h.Journal.Hint = "down", string(code), cause, hint
	return a.down(c, h, st.Refusing, code), nil
}

// workers counts live sessions; in an outage they are those known last.
func (a *api) workers(ctx context.Context) int {
	const patience = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if stats, err := a.client.Stats(ctx); err == nil {
		a.sessions.Store(int64(len(stats.Sessions)))
	}
	return int(a.sessions.Load())
}

// down answers that tasks are not accepted because of err.
func (a *api) down(c *call, h wire.Health, err error, code morningai.Code) answer {
	f := failureOf(err)
	f.retry = max(f.retry, kindOf(code).retry)
	f.headers(c.w.Header())
	return answer{http.StatusServiceUnavailable, h}
}

// causeOf words why tasks are not accepted.
func causeOf(err error) (code morningai.Code, cause, hint string) {
	code, cause = morningai.CodeStorageFailed, failureOf(err).detail
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		hint = e.Hint
		if e.Detail != "" {
			cause = e.Detail
		}
		if e.Code == morningai.CodeStorageFull {
			code = e.Code
		}
	}
	return code, cause, hint
}

// healthRedis has the bodies of the system that this one replaces, to the byte, but
// asks Redis before it says anything.
func (a *api) healthRedis(c *call) (answer, error) {
	if !a.redis {
		return answer{http.StatusNotFound, exactly(`{"status":"Redis is not configured"}`)}, nil
	}
	if _, err := a.redisProber.check(c.r.Context()); err != nil {
		failure{retry: kindOf(codeRedisUnavailable).retry}.headers(c.w.Header())
		return answer{http.StatusServiceUnavailable, exactly(`{"status":"Redis is down"}`)}, nil
	}
	return answer{http.StatusOK, exactly(`{"status":"Redis is up"}`)}, nil
}

func exactly(body string) content { return content{"application/json", []byte(body)} }

func (a *api) livez(*call) (answer, error) {
	return answer{http.StatusOK, a.live}, nil
}

func (a *api) readyz(c *call) (answer, error) {
	select {
	case <-a.stopping:
		return answer{}, refusal(morningai.CodeClosed, "the server is stopping", "")
	default:
	}
	if err := a.accepting(c.r.Context()); err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.Status{Status: "ok"}}, nil
}

// accepting returns why tasks are not accepted. With a journal they are while
// Redis is away.
func (a *api) accepting(ctx context.Context) error {
	if a.fleet == nil {
		_, err := a.prober.check(ctx)
		return err
	}
	st, err := a.fleet.Status(ctx)
	if err != nil {
		return err
	}
	return st.Refusing
}

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/RC918/morningai/internal/wire"
)

// Live says who answers at the address.
type Live struct {
	Version string
	// Instance names this run of the server. Documents is a fingerprint of the
	// folder that it answers questions from. Either may be "".
	Instance, Documents string
}

// Live asks who answers. What is not a MorningAI server is an
// [ErrUnreachable].
func (c *Client) Live(ctx context.Context) (Live, error) {
	const op = "ask who answers"
	var out wire.Live
	r := call{op: op, method: http.MethodGet, path: []string{"livez"}}
	if err := c.do(ctx, r, &out); err != nil {
		return Live{}, err
	}
	if out.Service != wire.Service {
		return Live{}, c.foreign(op, http.StatusOK)
	}
	return Live{Version: out.Version, Instance: out.Instance, Documents: out.Documents}, nil
}

// Health is how a server is.
type Health struct {
	Status  string // "ok", "degraded", or "down": tasks are not accepted
	Engine  string
	Version string
	Workers int     // live worker sessions
	Storage Storage // of the embedded engine
	Redis   Redis
	Journal *Journal // of a server that shares a Redis; nil if it keeps none
	Backups *Backups // that the server makes by itself; nil if it makes none
}

// Backups says how scheduled backups fare.
type Backups struct {
	Status      string    // "ok", "none": there has not been one yet, or "failing"
	LastAt      time.Time // when the newest was begun; zero without one
	File        string    // its name
	Bytes       int64
	Cause, Hint string
}

// Journal is what a server remembers of tasks that Redis may not have.
type Journal struct {
	Status      string // "ok", or the code of what keeps tasks from being accepted
	Cause, Hint string
	Entries     int64 // what Redis has still to be told
	Bytes       int64
	Limit       int64     // in bytes; 0: none
	Since       time.Time // what ended since then is remembered
	Unprotected []string  // servers on the same Redis that keep no journal
}

// Storage is what the server's last real write said.
type Storage struct {
	Status      string // "ok", or the code of what keeps tasks from being accepted
	Cause, Hint string
	Since       time.Time // zero if nothing is wrong
}

// Redis is what the server's last real write to Redis said.
type Redis struct {
	Status      string // "up", "down" or "not configured"
	Cause, Hint string
	Since       time.Time // zero unless it is down
}

// Health returns how the server is. A server that answers that it is down is
// not an error here.
func (c *Client) Health(ctx context.Context) (Health, error) {
	const op = "get health"
	r := call{op: op, method: http.MethodGet, path: []string{"health"}}
	var out wire.Health
	status, body, err := c.send(ctx, r)
	if status == http.StatusServiceUnavailable && json.Unmarshal(body, &out) == nil && out.Status != "" {
		err = nil
	}
	if err == nil {
		err = c.accept(op, status, body, &out)
	}
	if err != nil {
		return Health{}, err
	}
	h := Health{Status: out.Status, Engine: out.Engine, Version: out.Version, Workers: out.Workers,
		Redis: Redis{Status: out.Redis.Status, Cause: out.Redis.Cause, Hint: out.Redis.Hint}}
	if out.Redis.Since != nil {
		h.Redis.Since = *out.Redis.Since
	}
	if s := out.Storage; s != nil {
		h.Storage = Storage{Status: s.Status, Cause: s.Cause, Hint: s.Hint}
		if s.Since != nil {
			h.Storage.Since = *s.Since
		}
	}
	if b := out.Backups; b != nil {
		h.Backups = &Backups{Status: b.Status, File: b.File, Bytes: b.Bytes, Cause: b.Cause, Hint: b.Hint}
		if b.LastAt != nil {
			h.Backups.LastAt = *b.LastAt
		}
	}
	if j := out.Journal; j != nil {
		h.Journal = &Journal{Status: j.Status, Cause: j.Cause, Hint: j.Hint, Entries: j.Entries, Bytes: j.Bytes, Limit: j.Limit,
			Since: j.Tombstones, Unprotected: j.Unprotected}
	}
	return h, nil
}

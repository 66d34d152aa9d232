package client_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

// fleet is a real engine beside a Redis that is away, as far as it says.
type fleet struct {
	*sqlite.Engine
	members   []morningai.Member
	incidents []morningai.Incident
	doubt     error
}

var since = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (f *fleet) Status(context.Context) (morningai.FleetStatus, error) {
	return morningai.FleetStatus{Contact: morningai.ContactDown, Since: since, Cause: "connection refused", Hint: "start it", Backlog: 4,
		Journal: morningai.JournalInfo{Bytes: 4096}, JournalLimit: 1 << 20, TombstonesSince: since, Unprotected: []string{"bare"}}, nil
}
func (f *fleet) ProbeShared(context.Context) error                       { return errors.New("connection refused") }
func (f *fleet) Incidents(context.Context) ([]morningai.Incident, error) { return f.incidents, nil }
func (f *fleet) Members(context.Context) ([]morningai.Member, error)     { return f.members, nil }
func (f *fleet) Undelivered(context.Context) (int64, error)              { return 4, nil }
func (f *fleet) Forget(_ context.Context, id morningai.ID) error {
	f.members = slices.DeleteFunc(f.members, func(m morningai.Member) bool { return m.Journal == id })
	return nil
}

func (f *fleet) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if f.doubt != nil && len(specs) == 1 {
		return nil, f.doubt
	}
	receipts, err := f.Engine.Enqueue(ctx, specs)
	if f.doubt != nil && specs[1].Type == "doubtful" {
		receipts[1] = morningai.Receipt{Err: f.doubt}
	} else if f.doubt != nil {
		return nil, f.doubt
	}
	return receipts, err
}

func fleetClient(t *testing.T) (*client.Client, *fleet) {
	t.Helper()
	engine, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{Engine: engine}
	app := morningai.New(f)
	srv := server.New(app, server.Options{})
	web := httptest.NewServer(srv.Handler())
	c, err := client.New(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		web.Close()
		app.Client.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, f
}

func TestFleet(t *testing.T) {
	c, f := fleetClient(t)
	ctx := t.Context()
	f.members = []morningai.Member{{Journal: morningai.ID{1}, Node: "a", URL: "http://a", Version: "v", Backlog: 2, ContactAt: since}}
	f.incidents = []morningai.Incident{{ID: morningai.ID{9}, Cause: "c", StartedAt: since, NoticedAfter: time.Second, Accepted: 3, RepeatedIDs: []morningai.ID{{5}}}}

	nodes, fresh, err := c.Nodes(ctx)
	if err != nil || fresh != morningai.FreshLive || len(nodes) != 1 || nodes[0].ID != (morningai.ID{1}) || nodes[0].Node != "a" || nodes[0].URL != "http://a" ||
		nodes[0].Version != "v" || nodes[0].Connected || !nodes[0].Protected || nodes[0].Backlog != 2 || !nodes[0].ContactAt.Equal(since) {
		t.Errorf("%+v, %s, %v", nodes, fresh, err)
	}
	if gone, err := c.ForgetNode(ctx, morningai.ID{1}); err != nil || gone.Node != "a" {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err := c.ForgetNode(ctx, morningai.ID{1}); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("%v", err)
	}

	all, err := c.Incidents(ctx)
	if err != nil || len(all) != 1 || all[0].ID != (morningai.ID{9}) || all[0].NoticedAfter != time.Second || all[0].Accepted != 3 || all[0].RepeatedIDs != nil || !all[0].EndedAt.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
	one, err := c.Incident(ctx, morningai.ID{9})
	if err != nil || len(one.RepeatedIDs) != 1 || one.RepeatedIDs[0] != (morningai.ID{5}) {
		t.Errorf("%+v, %v", one, err)
	}
	if _, err := c.Incident(ctx, morningai.ID{8}); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("%v", err)
	}

	h, err := c.Health(ctx)
	if err != nil || h.Status != "degraded" || h.Engine != "redis" || h.Redis.Status != "down" || h.Redis.Cause != "connection refused" || !h.Redis.Since.Equal(since) ||
		h.Journal == nil || h.Journal.Entries != 4 || h.Journal.Bytes != 4096 || h.Journal.Limit != 1<<20 || !h.Journal.Since.Equal(since) || h.Journal.Unprotected[0] != "bare" {
		t.Errorf("%+v, %v", h, err)
	}
}

// What is in doubt can be asked for again: its id is known.
func TestDoubt(t *testing.T) {
	c, f := fleetClient(t)
	f.doubt = &morningai.Error{Code: morningai.CodeAcceptUnknown, Detail: "no answer"}
	spec := morningai.NewTaskSpec("a", nil)
	_, err := c.Enqueue(t.Context(), spec)
	if e, ok := errors.AsType[*morningai.Error](err); !ok || e.Code != morningai.CodeAcceptUnknown || e.TaskID.IsZero() || e.RetryAfter == 0 {
		t.Errorf("%+v", err)
	}
	answer := func(err error) *client.AnswerError {
		a, ok := errors.AsType[*client.AnswerError](err)
		if !ok || !errors.Is(err, morningai.ErrAcceptUnknown) || len(a.TaskIDs) != 2 || a.TaskIDs[1].IsZero() {
			t.Fatalf("%+v", err)
		}
		return a
	}
	_, err = c.EnqueueBatch(t.Context(), []morningai.TaskSpec{spec, spec})
	if answer(err).TaskIDs[0].IsZero() {
		t.Errorf("%+v", err)
	}
	other := morningai.NewTaskSpec("doubtful", nil)
	tasks, err := c.EnqueueBatch(t.Context(), []morningai.TaskSpec{spec, other})
	if a := answer(err); !a.TaskIDs[0].IsZero() || len(tasks) != 2 || tasks[0].ID.IsZero() || !tasks[1].ID.IsZero() {
		t.Errorf("%+v, %+v", tasks, err)
	}
}

package httpapi

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// scripted is a real engine and a fleet that says what the test tells it to.
type scripted struct {
	morningai.Engine

	mu        sync.Mutex
	status    morningai.FleetStatus
	statusErr error
	shared    func(context.Context) error // of a probe; nil: it passes
	incidents []morningai.Incident
	members   []morningai.Member
	forgotten []morningai.ID
	refuses   error // what Forget returns
	statsErr  error
	pending   bool // commands and settings are
	accept    func([]morningai.TaskSpec) ([]morningai.Receipt, error)
}

func (f *scripted) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *scripted) Status(context.Context) (morningai.FleetStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.statusErr
}

func (f *scripted) ProbeShared(ctx context.Context) error {
	f.mu.Lock()
	probe := f.shared
	f.mu.Unlock()
	if probe == nil {
		return nil
	}
	return probe(ctx)
}

func (f *scripted) Incidents(context.Context) ([]morningai.Incident, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.incidents, nil
}

func (f *scripted) Members(context.Context) ([]morningai.Member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members, nil
}

func (f *scripted) Forget(_ context.Context, journal morningai.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses == nil {
		f.forgotten = append(f.forgotten, journal)
	}
	return f.refuses
}

func (f *scripted) Undelivered(context.Context) (int64, error) { return 0, nil }

func (f *scripted) Stats(ctx context.Context) (morningai.Stats, error) {
	f.mu.Lock()
	err := f.statsErr
	f.mu.Unlock()
	if err != nil {
		return morningai.Stats{}, err
	}
	return f.Engine.Stats(ctx)
}

func (f *scripted) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	f.mu.Lock()
	accept := f.accept
	f.mu.Unlock()
	if accept == nil {
		return f.Engine.Enqueue(ctx, specs)
	}
	return accept(specs)
}

func (f *scripted) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	results, err := f.Engine.Command(ctx, cmds)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range results {
		results[i].Task.Pending, results[i].Task.Fresh = f.pending, morningai.FreshStale
	}
	return results, err
}

func (f *scripted) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	config, err := f.Engine.SetQueue(ctx, name, change)
	f.mu.Lock()
	defer f.mu.Unlock()
	config.Pending = f.pending
	return config, err
}

func startFleet(t *testing.T) (*testServer, *scripted) {
	t.Helper()
	f := &scripted{Engine: open(t), status: morningai.FleetStatus{Contact: morningai.ContactUp}}
	return start(t, f, Options{Fleet: f}), f
}

func TestWhatIsPendingIsAccepted(t *testing.T) {
	b, f := startFleet(t)
	f.set(func() { f.pending = true })
	submit := func() string {
		return "/v1/tasks/" + b.want(202, "POST", "/v1/tasks", `{"type":"echo","delay":"1h"}`).task(t).ID.String()
	}
	for _, c := range [][2]string{{"POST", "/cancel"}, {"POST", "/retry"}, {"POST", "/run"}, {"DELETE", ""}} {
		path := submit()
		if c[1] == "/retry" {
			b.want(202, "POST", path+"/cancel", "")
		}
		if r := b.want(202, c[0], path+c[1], ""); !bytes.Contains(r.raw, []byte(`"pending":true`)) || r.task(t).Fresh != morningai.FreshStale {
			t.Errorf("%s: %s", c, r.raw)
		}
	}
	if r := b.want(202, "PATCH", "/v1/queues/q", `{"paused":true}`); !bytes.Contains(r.raw, []byte(`"paused":true`)) || !bytes.Contains(r.raw, []byte(`"pending":true`)) {
		t.Errorf("queue %s", r.raw)
	}
	f.set(func() { f.pending = false })
	if r := b.want(200, "PATCH", "/v1/queues/q", `{"paused":false}`); bytes.Contains(r.raw, []byte("pending")) {
		t.Errorf("queue %s", r.raw)
	}
	if r := b.want(200, "POST", submit()+"/cancel", ""); bytes.Contains(r.raw, []byte("pending")) {
		t.Errorf("cancel %s", r.raw)
	}
}

func TestPoliciesReachTheEngine(t *testing.T) {
	b, f := startFleet(t)
	var got []morningai.TaskSpec
	f.set(func() {
		f.accept = func(specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			got = append(got, specs...)
			return f.Engine.Enqueue(context.Background(), specs)
		}
	})
	b.want(202, "POST", "/v1/tasks", `{"type":"echo","during_outage":"hold","durability":"journal"}`)
	b.want(202, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo","durability":"redis"},{"type":"echo"}]}`)
	if len(got) != 3 || got[0].DuringOutage != morningai.OutageHold || got[0].Durability != morningai.DurabilityJournal ||
		got[1].DuringOutage != "" || got[1].Durability != morningai.DurabilityRedis || got[2].Durability != "" {
		t.Errorf("the engine was asked for %+v", got)
	}
	b.refused(morningai.CodeInvalidInput, "POST", "/v1/tasks", `{"type":"echo","during_outage":"wait","durability":"disk"}`, "body.during_outage", "body.durability")
	b.refused(morningai.CodeInvalidInput, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"echo","during_outage":""}]}`, "body.tasks[0].during_outage")
	b.refused(morningai.CodeInvalidInput, "POST", "/v1/tasks", `{"type":"echo","durability":1}`, "body.durability")
}

// Who cannot be told whether a task was accepted gets its id, to ask again.
func TestTasksInDoubt(t *testing.T) {
	b, f := startFleet(t)
	doubt := &morningai.Error{Code: morningai.CodeAcceptUnknown, Op: "enqueue", Detail: "neither journal nor Redis answered"}
	var asked []morningai.ID
	f.set(func() {
		f.accept = func(specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			asked = asked[:0]
			receipts := make([]morningai.Receipt, len(specs))
			for i, s := range specs {
				asked = append(asked, s.ID)
				receipts[i].Err = doubt
				if s.Type == "conflict" {
					receipts[i].Err = morningai.ErrConflict
				}
			}
			if len(specs) == 3 || specs[0].Type == "whole" {
				return nil, doubt
			}
			return receipts, nil
		}
	})
	var p wire.Problem
	for _, body := range []string{`{"type":"echo"}`, `{"type":"whole"}`} {
		p = wire.Problem{}
		r := b.refused(morningai.CodeAcceptUnknown, "POST", "/v1/tasks", body)
		r.into(t, &p)
		if p.ID != asked[0] || p.ID.IsZero() || len(p.IDs) != 0 || r.Header.Get("Retry-After") == "" {
			t.Errorf("asked for %v: %s", asked, r.raw)
		}
	}
	for _, body := range []string{`{"tasks":[{"type":"conflict"},{"type":"echo"}]}`, `{"tasks":[{"type":"a"},{"type":"b"},{"type":"c"}]}`} {
		p = wire.Problem{}
		r := b.refused(morningai.CodeAcceptUnknown, "POST", "/v1/tasks/batch", body)
		r.into(t, &p)
		if len(p.IDs) != len(asked) || p.IDs[1] != asked[1] || !p.ID.IsZero() {
			t.Errorf("asked for %v: %s", asked, r.raw)
		}
	}
	r := b.want(503, "POST", "/api/agent/faq", `{"question":"why?"}`)
	if !bytes.Contains(r.raw, []byte(`"code":"accept_unknown"`)) || !bytes.Contains(r.raw, []byte(`"task_id":"`+asked[0].String())) {
		t.Errorf("asked for %v: %s", asked, r.raw)
	}
	// One of them is certain: the others are named beside it.
	f.set(func() {
		f.accept = func(specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
			return []morningai.Receipt{{Task: morningai.Task{ID: specs[0].ID, State: morningai.StateQueued, Fresh: morningai.FreshLocal}}, {Err: doubt}}, nil
		}
	})
	var out wire.Tasks
	b.want(202, "POST", "/v1/tasks/batch", `{"tasks":[{"type":"a"},{"type":"b","id":"01937c4e-0000-7000-8000-000000000001"}]}`).into(t, &out)
	if len(out.Refused) != 1 || out.Refused[0].Code != morningai.CodeAcceptUnknown || out.Refused[0].ID.String() != "01937c4e-0000-7000-8000-000000000001" {
		t.Errorf("batch %+v", out)
	}
}

func TestIncidents(t *testing.T) {
	b, f := startFleet(t)
	const id = "01937c4e-0000-7000-8000-000000000001"
	known, err := morningai.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	f.set(func() {
		f.incidents = []morningai.Incident{{ID: morningai.ID{9}, StartedAt: time.Now()},
			{ID: known, Cause: "connection refused", StartedAt: time.Now(), EndedAt: time.Now(), NoticedAfter: 1500 * time.Millisecond, Repeated: 1, RepeatedIDs: []morningai.ID{{5}}}}
	})
	r := b.want(200, "GET", "/v1/incidents", "")
	var all wire.Incidents
	r.into(t, &all)
	if len(all.Incidents) != 2 || all.Incidents[0].EndedAt != nil || all.Incidents[1].ID != known || bytes.Contains(r.raw, []byte("_ids")) {
		t.Errorf("incidents %s", r.raw)
	}
	r = b.want(200, "GET", "/v1/incidents/"+id, "")
	for _, field := range []string{`"noticed_after":"1.5s"`, `"cause":"connection refused"`, `"repeated_ids":["05000000-`, `"set_aside_ids":[]`} {
		if !bytes.Contains(r.raw, []byte(field)) {
			t.Errorf("%s is not in %s", field, r.raw)
		}
	}
	for _, unknown := range []string{"01937c4e-0000-7000-8000-000000000002", "nonsense"} {
		b.refused(morningai.CodeNotFound, "GET", "/v1/incidents/"+unknown, "")
	}
}

func TestNodes(t *testing.T) {
	b, f := startFleet(t)
	dead := morningai.ID{1}
	f.set(func() {
		f.members = []morningai.Member{{Journal: dead, Node: "dead", Backlog: 5, ContactAt: time.Now()}, {Journal: morningai.ID{2}, Node: "here", Connected: true}}
	})
	var nodes wire.Nodes
	b.want(200, "GET", "/v1/nodes", "").into(t, &nodes)
	if len(nodes.Nodes) != 3 || nodes.Fresh != morningai.FreshLive {
		t.Fatalf("nodes %+v", nodes)
	}
	for _, n := range nodes.Nodes {
		if n.ID == dead && (n.Connected || n.Backlog != 5) || !n.Protected && n.Concurrency == 0 {
			t.Errorf("node %+v", n)
		}
		if !n.Protected {
			b.refused(morningai.CodeWrongState, "DELETE", "/v1/nodes/"+n.ID.String(), "")
		}
	}
	f.set(func() { f.refuses = morningai.ErrWrongState })
	b.refused(morningai.CodeWrongState, "DELETE", "/v1/nodes/"+dead.String(), "")
	f.set(func() { f.refuses = morningai.ErrUnavailable })
	b.refused(morningai.CodeUnavailable, "DELETE", "/v1/nodes/"+dead.String(), "")
	f.set(func() { f.refuses = nil })
	if r := b.want(200, "DELETE", "/v1/nodes/"+dead.String(), ""); !bytes.Contains(r.raw, []byte(`"backlog":5`)) {
		t.Errorf("forgotten %s", r.raw)
	}
	f.set(func() {
		if len(f.forgotten) != 1 || f.forgotten[0] != dead {
			t.Errorf("forgotten %v", f.forgotten)
		}
	})
	b.refused(morningai.CodeNotFound, "DELETE", "/v1/nodes/"+morningai.ID{7}.String(), "")
	b.refused(morningai.CodeNotFound, "DELETE", "/v1/nodes/nonsense", "")

	// In an outage the members are known, and what is not among them is not "not found".
	f.set(func() { f.statsErr = morningai.ErrStatusUnknown })
	b.want(200, "GET", "/v1/nodes", "").into(t, &nodes)
	if len(nodes.Nodes) != 2 || nodes.Fresh != morningai.FreshStale {
		t.Errorf("in an outage: %+v", nodes)
	}
	b.refused(morningai.CodeStatusUnknown, "DELETE", "/v1/nodes/"+morningai.ID{7}.String(), "")
	f.set(func() { f.members = nil })
	b.refused(morningai.CodeStatusUnknown, "GET", "/v1/nodes", "")
}

// An engine without a fleet has its sessions, and had no outages.
func TestFleetOfOne(t *testing.T) {
	b := start(t, open(t), Options{})
	if r := b.want(200, "GET", "/v1/incidents", ""); strings.TrimSpace(string(r.raw)) != `{"incidents":[]}` {
		t.Errorf("incidents %s", r.raw)
	}
	var nodes wire.Nodes
	b.want(200, "GET", "/v1/nodes", "").into(t, &nodes)
	if len(nodes.Nodes) != 1 || nodes.Nodes[0].Protected || !nodes.Nodes[0].Connected || len(nodes.Nodes[0].Types) != 4 {
		t.Fatalf("nodes %+v", nodes)
	}
	b.refused(morningai.CodeWrongState, "DELETE", "/v1/nodes/"+nodes.Nodes[0].ID.String(), "")
	b.refused(morningai.CodeNotFound, "DELETE", "/v1/nodes/"+morningai.ID{7}.String(), "")
}

func TestHealthInAnOutage(t *testing.T) {
	b, f := startFleet(t)
	since := time.Now().Add(-time.Minute)
	f.set(func() {
		f.status.Journal = morningai.JournalInfo{Bytes: 4096, Since: since.Add(-time.Hour)}
		f.status.TombstonesSince = since
		f.status.Backlog, f.status.JournalLimit, f.status.Unprotected = 3, 1<<20, []string{"bare"}
	})
	health := func(status int) (h wire.Health) {
		t.Helper()
		r := b.want(status, "GET", "/health", "")
		r.into(t, &h)
		if (status == 503) != (r.Header.Get("Retry-After") != "") {
			t.Errorf("%d with the headers %v", status, r.Header)
		}
		return h
	}
	h := health(200)
	if h.Status != "ok" || h.Engine != "redis" || h.Redis.Status != "up" || h.Storage != nil || h.Workers != 1 || h.Journal.Status != "ok" ||
		h.Journal.Entries != 3 || h.Journal.Bytes != 4096 || h.Journal.Limit != 1<<20 || !h.Journal.Tombstones.Equal(since) || len(h.Journal.Unprotected) != 1 {
		t.Errorf("healthy: %+v %+v", h, h.Journal)
	}
	f.set(func() { f.status.Contact = morningai.ContactSuspect })
	if h := health(200); h.Status != "ok" || h.Redis.Status != "up" {
		t.Errorf("suspect: %+v", h)
	}
	for _, contact := range []morningai.Contact{morningai.ContactDown, morningai.ContactRecovering} {
		f.set(func() {
			f.status.Contact, f.status.Since, f.status.Cause, f.status.Hint = contact, since, "connection refused", "start it"
			f.statsErr = morningai.ErrStatusUnknown
		})
		if h := health(200); h.Status != "degraded" || h.Redis.Status != "down" || h.Redis.Cause != "connection refused" || h.Redis.Hint != "start it" ||
			!h.Redis.Since.Equal(since) || h.Workers != 1 {
			t.Errorf("%s: %+v", contact, h)
		}
		b.want(200, "GET", "/readyz", "")
		b.want(200, "GET", "/livez", "")
	}
	f.set(func() {
		f.status.Refusing = &morningai.Error{Code: morningai.CodeStorageFull, Detail: "the journal is at its limit", Hint: "make room"}
	})
	if h := health(503); h.Status != "down" || h.Redis.Status != "down" || h.Journal.Status != "storage_full" || h.Journal.Hint != "make room" || h.Journal.Cause != "the journal is at its limit" {
		t.Errorf("full: %+v %+v", h, h.Journal)
	}
	b.refused(morningai.CodeStorageFull, "GET", "/readyz", "")
	f.set(func() {
		f.status, f.statusErr = morningai.FleetStatus{Contact: morningai.ContactUp}, errors.New("read error")
	})
	if h := health(503); h.Journal.Status != "storage_failed" {
		t.Errorf("unreadable: %+v", h.Journal)
	}
}

// The exact bodies, from a probe of Redis itself: the engine goes on without it.
func TestHealthOfRedisWithAJournal(t *testing.T) {
	b, f := startFleet(t)
	is := func(status int, body string) {
		t.Helper()
		r := b.want(status, "GET", "/health/redis", "")
		if string(r.raw) != body || (status == 503) != (r.Header.Get("Retry-After") != "") {
			t.Errorf("%s %v", r.raw, r.Header)
		}
	}
	is(200, `{"status":"Redis is up"}`)
	f.set(func() { f.shared = func(context.Context) error { return errors.New("gone") } })
	b.api.redisProber.forget()
	is(503, `{"status":"Redis is down"}`)
	b.want(200, "GET", "/readyz", "")
	if strings.Contains(b.log.String(), "not accepted") {
		t.Errorf("the log says that tasks are not accepted:\n%s", b.log)
	}
	f.set(func() { f.shared = nil })
	b.api.redisProber.forget()
	is(200, `{"status":"Redis is up"}`)
}

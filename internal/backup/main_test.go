package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/resilient"
	"github.com/RC918/morningai/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// embedded opens the embedded engine in a folder.
func embedded(t *testing.T, folder string, opts ...sqlite.Option) *sqlite.Engine {
	t.Helper()
	e := must[*sqlite.Engine](t)(sqlite.Open(t.Context(), filepath.Join(folder, "tasks.db"), append(opts, sqlite.WithSync(sqlite.SyncNormal))...))
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// crew is a session that runs tasks of an engine.
type crew struct {
	t  *testing.T
	e  morningai.Engine
	id morningai.SessionID
}

func join(t *testing.T, e morningai.Engine, id byte) *crew {
	t.Helper()
	c := &crew{t: t, e: e, id: morningai.SessionID{1, id}}
	must[morningai.BeatReply](t)(e.Beat(t.Context(), morningai.BeatRequest{Session: c.id, Node: "node", Types: []string{"work"}, Concurrency: 100, LeaseTime: time.Minute}))
	return c
}

func (c *crew) claim(n int) []morningai.Grant {
	c.t.Helper()
	req := morningai.ClaimRequest{Session: c.id, Types: []string{"work"}, N: n}
	reply, err := c.e.Claim(c.t.Context(), req)
	if errors.Is(err, morningai.ErrUnavailable) { // the claim that notices a new generation of the data brings nothing
		reply, err = c.e.Claim(c.t.Context(), req)
	}
	return must[morningai.ClaimReply](c.t)(reply, err).Grants
}

func (c *crew) finish(g morningai.Grant, outcome morningai.Outcome) {
	c.t.Helper()
	r := morningai.Report{Lease: g.Lease, Node: "node", Outcome: outcome, Attempt: g.Task.Attempt, StartedAt: time.Now(), FinishedAt: time.Now()}
	switch outcome {
	case morningai.OutcomeSucceeded:
		r.Result = json.RawMessage(`{"done": 1.50}`)
	case morningai.OutcomeFailed, morningai.OutcomeRetry:
		r.Error, r.Stack = &morningai.TaskError{Code: morningai.ErrorCodePanic, Message: "broken"}, "stack of it"
	}
	if outcome == morningai.OutcomeRetry {
		r.RunAt = time.Now().Add(time.Hour)
	}
	if v := must[[]morningai.Verdict](c.t)(c.e.Finish(c.t.Context(), []morningai.Report{r})); v[0].Err != nil {
		c.t.Fatal(v[0].Err)
	}
}

func spec(n int) morningai.TaskSpec {
	return morningai.NewTaskSpec("work", fmt.Appendf(nil, `{"n": %d}`, n))
}

func enqueue(t *testing.T, e morningai.Engine, specs ...morningai.TaskSpec) []morningai.ID {
	t.Helper()
	var ids []morningai.ID
	for _, r := range must[[]morningai.Receipt](t)(e.Enqueue(t.Context(), specs)) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		ids = append(ids, r.Task.ID)
	}
	return ids
}

// scene is an engine with a task in every state, and more.
type scene struct {
	succeeded, failed, retrying, running, cancelling, deleted, queued, scheduled, keyed morningai.ID
	count                                                                               int // tasks, the deleted one left out
}

func fill(t *testing.T, e morningai.Engine) scene {
	t.Helper()
	var s scene
	first := spec(0)
	first.Metadata, first.Retention = map[string]string{"a": "ä"}, new(time.Duration)
	*first.Retention = 48 * time.Hour
	ids := enqueue(t, e, first, spec(1), spec(2), spec(3), spec(4))
	s.succeeded, s.failed, s.retrying, s.running, s.cancelling = ids[0], ids[1], ids[2], ids[3], ids[4]
	crew := join(t, e, 1)
	grants := crew.claim(5)
	if len(grants) != 5 {
		t.Fatalf("%d grants", len(grants))
	}
	points := []morningai.Checkpoint{
		{Lease: grants[0].Lease, Kind: morningai.CheckpointStep, Name: "step", Data: json.RawMessage(`1.0`)},
		{Lease: grants[0].Lease, Kind: morningai.CheckpointLog, Line: morningai.LogLine{Attempt: 1, At: time.Now(), Level: "info", Message: "a line"}},
		{Lease: grants[3].Lease, Kind: morningai.CheckpointProgress, Data: json.RawMessage(`{"half": true}`)},
	}
	for _, err := range must[[]error](t)(e.Checkpoint(t.Context(), points)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	crew.finish(grants[0], morningai.OutcomeSucceeded)
	crew.finish(grants[1], morningai.OutcomeFailed)
	crew.finish(grants[2], morningai.OutcomeRetry)
	later, keyed := spec(6), spec(7)
	later.RunAt, keyed.UniqueKey = time.Now().Add(time.Hour), "key"
	rest := enqueue(t, e, spec(5), later, keyed, spec(8))
	s.queued, s.scheduled, s.keyed, s.deleted = rest[0], rest[1], rest[2], rest[3]
	for _, r := range must[[]morningai.CommandResult](t)(e.Command(t.Context(), []morningai.Command{
		{Kind: morningai.CommandDelete, ID: s.deleted}, {Kind: morningai.CommandCancel, ID: s.cancelling}})) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	yes, most, rate := true, 7, morningai.Rate{Count: 5, Per: time.Minute}
	must[morningai.QueueConfig](t)(e.SetQueue(t.Context(), "mail", morningai.QueueChange{Paused: &yes}))
	must[morningai.QueueConfig](t)(e.SetQueue(t.Context(), "slow", morningai.QueueChange{Concurrency: &most, Rate: &rate}))
	s.count = 8
	return s
}

var someIncident = morningai.Incident{ID: morningai.ID{1, 2, 3}, Node: "node", Cause: "connection refused", StartedAt: time.Unix(1_700_000_000, 0).UTC(), Accepted: 3, Backlog: 2}

// saved writes a backup of an engine.
func saved(t *testing.T, e morningai.Engine, key []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tasks.backup")
	var b bytes.Buffer
	must[Manifest](t)(Create(t.Context(), Source{Engine: e, Program: "test", Key: key,
		Incidents: func(context.Context) ([]morningai.Incident, error) { return []morningai.Incident{someIncident}, nil }}, &b))
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// into is a restore's way to an engine.
func into(to Target) func(context.Context, *Report) (Target, error) {
	return func(context.Context, *Report) (Target, error) { return to, nil }
}

func records(t *testing.T, e morningai.Engine) map[morningai.ID]morningai.Record {
	t.Helper()
	out := map[morningai.ID]morningai.Record{}
	if err := export(t.Context(), e, func(all []morningai.Record) error {
		for _, r := range all {
			out[r.Task.ID] = r
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// flat is what a record says, without what does not travel.
func flat(t *testing.T, r morningai.Record) string {
	t.Helper()
	c := comparison{}
	sum := c.hash(&r)
	if c.err != nil {
		t.Fatal(c.err)
	}
	return string(sum[:])
}

func keepsIncidents(journal morningai.Journal) func(context.Context, []morningai.Incident) error {
	return func(ctx context.Context, all []morningai.Incident) error {
		return resilient.PutIncidents(ctx, journal, all)
	}
}

func queueNames(t *testing.T, e morningai.Engine) map[string]morningai.QueueConfig {
	t.Helper()
	out := map[string]morningai.QueueConfig{}
	for _, q := range must[morningai.Stats](t)(e.Stats(t.Context())).Queues {
		c := q.QueueConfig
		c.Version, c.Changed = 0, morningai.QueueTimes{} // a restore is a change of its own
		out[q.Name] = c
	}
	return out
}

func sorted(ids []morningai.ID) []morningai.ID {
	slices.SortFunc(ids, func(a, b morningai.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

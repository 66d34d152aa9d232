package wire_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// through sends a value as JSON and reads it back.
func through[T any](t *testing.T, v T) T {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("came back as\n%+v, not\n%+v", got, want)
	}
}

var at = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func TestWhatIsSentComesBack(t *testing.T) {
	queues := []morningai.QueueInfo{
		{QueueConfig: morningai.QueueConfig{Name: "a", Paused: true, Concurrency: 3, Rate: morningai.Rate{Count: 5, Per: time.Minute}, Pending: true},
			OldestQueuedAt: at, Counts: map[morningai.State]int64{"blocked": 0, "queued": 1, "running": 2, "scheduled": 3, "retrying": 1, "succeeded": 4, "failed": 5, "canceled": 6}},
		{QueueConfig: morningai.QueueConfig{Name: "b"},
			Counts: map[morningai.State]int64{"blocked": 0, "queued": 0, "running": 0, "scheduled": 0, "retrying": 0, "succeeded": 0, "failed": 0, "canceled": 0}},
	}
	for i, q := range through(t, wire.NewQueues(queues)).Queues {
		same(t, q.Model(), queues[i])
	}
	stats := morningai.Stats{States: map[morningai.State]int64{"queued": 7}, Fresh: morningai.FreshLive, AsOf: at,
		Throughput: morningai.Throughput{Window: time.Minute, Enqueued: 1, Succeeded: 2, Retried: 3, Failed: 4, Canceled: 5}}
	same(t, through(t, wire.NewStats(stats)).Model(), stats)
	attempts := []morningai.Attempt{
		{Number: 1, Life: 1, Node: "n", StartedAt: at, FinishedAt: at, Outcome: morningai.OutcomeRetry, Error: &morningai.TaskError{Code: "c", Message: "m"}, Stack: "s"},
		{Number: 2, Life: 1, Node: "n", StartedAt: at},
	}
	same(t, through(t, wire.NewAttempts(attempts)).Model(), attempts)
	lines := []morningai.LogLine{{Attempt: 1, At: at, Level: "info", Message: "m", Attrs: json.RawMessage(`{"a":1}`)}, {Attempt: 1, At: at, Level: "warn"}}
	same(t, through(t, wire.NewLogs(lines)).Model(), lines)
	page := morningai.Page{Tasks: []morningai.Task{{Type: "a", Payload: json.RawMessage("1"), Metadata: map[string]string{}}}, Next: "c", Fresh: morningai.FreshLive}
	same(t, through(t, wire.NewTaskPage(page)).Page(), page)
	if text, _ := json.Marshal(wire.NewTaskPage(morningai.Page{})); !strings.HasPrefix(string(text), `{"tasks":[],"next_cursor":null`) {
		t.Errorf("an empty page is %s", text)
	}
}

func TestSpecsComeBack(t *testing.T) {
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	keep := time.Duration(0)
	spec := morningai.TaskSpec{ID: id, TraceID: id, Type: "a", Queue: "q", Priority: 0, Payload: json.RawMessage(`{"a":1.0}`), RunAt: at.Add(time.Hour),
		MaxAttempts: 3, Timeout: time.Second, UniqueKey: "u", Metadata: map[string]string{"a": "b"}, Retention: &keep, Exclusive: true,
		DuringOutage: morningai.OutageHold, Durability: morningai.DurabilityJournal}
	req := through(t, wire.NewTaskRequest(spec))
	got, err := req.Spec(at)
	if err != nil {
		t.Fatal(err)
	}
	same(t, string(got.Payload), string(spec.Payload))
	spec.Payload = got.Payload // a spec remembers which bytes were checked
	if err := spec.Normalize(); err != nil {
		t.Fatal(err)
	}
	same(t, got, spec)
}

func TestDelaysCountFromNow(t *testing.T) {
	delay := wire.Duration(time.Minute)
	req := wire.TaskRequest{Type: "a", Delay: &delay}
	if spec, err := req.Spec(at); err != nil || !spec.RunAt.Equal(at.Add(time.Minute)) {
		t.Errorf("due %s, %v", spec.RunAt, err)
	}
	delay = 0
	if spec, err := req.Spec(at); err != nil || !spec.RunAt.IsZero() {
		t.Errorf("due %s, %v", spec.RunAt, err)
	}
	delay = 1<<63 - 1
	if _, err := req.Spec(at); err != nil {
		t.Errorf("the longest duration: %v", err)
	}
}

func TestQueueChangesComeBack(t *testing.T) {
	yes, three, none := true, 3, 0
	rate, noRate := morningai.Rate{Count: 1, Per: time.Hour}, morningai.Rate{}
	for _, c := range []struct {
		change morningai.QueueChange
		json   string
	}{
		{morningai.QueueChange{}, `{}`},
		{morningai.QueueChange{Paused: &yes}, `{"paused":true}`},
		{morningai.QueueChange{Concurrency: &three, Rate: &rate}, `{"concurrency":3,"rate":"1/h"}`},
		{morningai.QueueChange{Concurrency: &none, Rate: &noRate}, `{"concurrency":null,"rate":null}`},
	} {
		sent := wire.NewQueueChange(c.change)
		if text, err := json.Marshal(sent); err != nil || string(text) != c.json {
			t.Errorf("sent as %s, want %s (%v)", text, c.json, err)
		}
		got, err := sent.Model()
		if err != nil {
			t.Error(err)
		}
		same(t, got, c.change)
	}
	p := new(int)
	if _, err := (wire.QueueChange{Concurrency: &p}).Model(); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("a concurrency of 0: %v", err)
	}
}

package morningai

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTaskJSONRoundTrip(t *testing.T) {
	times := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "unset") {
			return time.Time{}
		}
		return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "µs")).UTC()
	})
	raws := rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`1e400`), json.RawMessage(`{"a":"<b>&\u2028"}`), json.RawMessage(`[0.10]`)})
	rapid.Check(t, func(t *rapid.T) {
		id, err := NewID()
		if err != nil {
			t.Fatal(err)
		}
		in := Task{
			ID: id, TraceID: id, Type: "mail", Queue: "default",
			Priority: rapid.IntRange(0, 9).Draw(t, "priority"),
			State:    rapid.SampledFrom(States()).Draw(t, "state"),
			Attempt:  rapid.Int().Draw(t, "attempt"), Failures: 1, MaxAttempts: 25,
			Timeout: time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "timeout")),
			Payload: json.RawMessage(`{"n":12345678901234567890.50}`), Result: raws.Draw(t, "result"), Progress: raws.Draw(t, "progress"),
			Metadata:  rapid.MapOfN(rapid.String(), rapid.String(), 1, 3).Draw(t, "metadata"),
			CreatedAt: times.Draw(t, "created"), RunAt: times.Draw(t, "run"), StartedAt: times.Draw(t, "started"), FinishedAt: times.Draw(t, "finished"),
			Life: 1, Version: rapid.Int64().Draw(t, "version"), Fresh: FreshLive, AsOf: times.Draw(t, "as of"),
			Durable: "sqlite", Runs: "here", Duplicate: rapid.Bool().Draw(t, "duplicate"), CancelRequested: rapid.Bool().Draw(t, "cancel"), Pending: rapid.Bool().Draw(t, "pending"),
		}
		if rapid.Bool().Draw(t, "has error") {
			in.Error = &TaskError{Code: "boom", Message: "<no>"}
		}
		data, err := in.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var out Task
		if err := json.Unmarshal(data, &out); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("wrote %+v\nread  %+v", in, out)
		}
	})
}

func TestTaskJSONKeepsPayloadText(t *testing.T) {
	payload := `{"html":"<b>&amp;</b>","n":1.50,"sep":"` + "\u2028" + `"}`
	task := Task{Payload: json.RawMessage(payload)}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(task); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"payload":`+payload) {
		t.Errorf("the payload was changed: %s", b.String())
	}
}

func TestTaskJSONShowsWhatIsNotSet(t *testing.T) {
	data, err := Task{}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"result":null`, `"error":null`, `"progress":null`, `"metadata":{}`, `"run_at":null`, `"timeout":"0s"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is missing in %s", want, data)
		}
	}
	for _, absent := range []string{"durable", "runs", "duplicate", "cancel_requested"} {
		if strings.Contains(string(data), absent) {
			t.Errorf("%s is shown though unset: %s", absent, data)
		}
	}
	if err := json.Unmarshal([]byte(`{"timeout":"soon"}`), &Task{}); err == nil {
		t.Error("a timeout that is no duration was read")
	}
}

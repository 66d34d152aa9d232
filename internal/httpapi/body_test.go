package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/strictjson"
	"github.com/RC918/morningai/internal/wire"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func readSpec(body string) (spec morningai.TaskSpec, err error) {
	var req wire.TaskRequest
	err = decode([]byte(body), &req, func() (err error) {
		spec, err = req.Spec(noon)
		return err
	})
	return spec, err
}

func locations(err error) []string {
	var at []string
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		for _, f := range e.Fields {
			at = append(at, f.Location)
		}
	}
	return at
}

func TestTaskBodyHasDefaults(t *testing.T) {
	spec, err := readSpec(`{"type":"echo"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := morningai.NewTaskSpec("echo", json.RawMessage("null"))
	if !spec.SameRequest(&want) || !spec.RunAt.IsZero() || spec.Retention != nil || spec.TraceID != spec.ID || spec.ID.IsZero() {
		t.Errorf("got %+v", spec)
	}
}

func TestTaskBodyIsTakenWhole(t *testing.T) {
	const id = "01937c4e-0000-7000-8000-000000000001"
	spec, err := readSpec(`{"type":"a.b:c-d_E","queue":"mail","priority":0,"max_attempts":1,"timeout":"1ms","delay":"1h",
		"payload":{"n": 1.50e0},"unique_key":"k\u00e9y","metadata":{"a":"b"},"retention":"0s","id":"` + id + `","trace_id":"` + id + `"}`)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Type != "a.b:c-d_E" || spec.Queue != "mail" || spec.Priority != 0 || spec.MaxAttempts != 1 || spec.Timeout != time.Millisecond ||
		!spec.RunAt.Equal(noon.Add(time.Hour)) || string(spec.Payload) != `{"n":1.50e0}` || spec.UniqueKey != "kéy" ||
		spec.Metadata["a"] != "b" || *spec.Retention != 0 || spec.ID.String() != id || spec.TraceID.String() != id {
		t.Errorf("got %+v", spec)
	}
}

func TestTaskBodyNamesEveryWrongField(t *testing.T) {
	for body, want := range map[string][]string{
		`{"type":"e","priority":12,"delay":"soon"}`:                                 {"body.delay", "body.priority"},
		`{"priority":"high"}`:                                                       {"body.priority", "body.type"},
		`{"type":1}`:                                                                {"body.type"},
		`{"type":"a b"}`:                                                            {"body.type"},
		`{"type":"` + strings.Repeat("a", 129) + `"}`:                               {"body.type"},
		`{"type":"e","queue":""}`:                                                   {"body.queue"},
		`{"type":"e","priority":-1}`:                                                {"body.priority"},
		`{"type":"e","priority":99999999999999999999}`:                              {"body.priority"},
		`{"type":"e","priority":null}`:                                              {"body.priority"},
		`{"type":"e","max_attempts":0}`:                                             {"body.max_attempts"},
		`{"type":"e","max_attempts":5.0}`:                                           {"body.max_attempts"},
		`{"type":"e","timeout":"-1s"}`:                                              {"body.timeout"},
		`{"type":"e","timeout":"10000h"}`:                                           {"body.timeout"},
		`{"type":"e","timeout":60}`:                                                 {"body.timeout"},
		`{"type":"e","delay":"-1s"}`:                                                {"body.delay"},
		`{"type":"e","delay":"1s","run_at":"2030-01-01T00:00:00Z"}`:                 {"body.delay"},
		`{"type":"e","run_at":"10000-01-01T00:00:00Z"}`:                             {"body.run_at"},
		`{"type":"e","run_at":"9999-12-31T23:59:59-10:00"}`:                         {"body.run_at"},
		`{"type":"e","run_at":"0001-01-01T00:00:00Z"}`:                              {"body.run_at"},
		`{"type":"e","run_at":"1969-01-01T00:00:00Z"}`:                              {"body.run_at"},
		`{"type":"e","run_at":"2026-01-01"}`:                                        {"body.run_at"},
		`{"type":"e","retention":"-1ns"}`:                                           {"body.retention"},
		`{"type":"e","retention":"100000h"}`:                                        {"body.retention"},
		`{"type":"e","unique_key":""}`:                                              {"body.unique_key"},
		`{"type":"e","unique_key":"` + strings.Repeat("k", 513) + `"}`:              {"body.unique_key"},
		`{"type":"e","metadata":{"":"v"}}`:                                          {"body.metadata"},
		`{"type":"e","metadata":{"k":"` + strings.Repeat("v", 1<<14) + `"}}`:        {"body.metadata"},
		`{"type":"e","metadata":{"k":1}}`:                                           {"body.metadata.k"},
		`{"type":"e","id":"00000000-0000-0000-0000-000000000000"}`:                  {"body.id"},
		`{"type":"e","id":"{01937c4e-0000-7000-8000-000000000001}"}`:                {"body.id"},
		`{"type":"e","trace_id":"x"}`:                                               {"body.trace_id"},
		`{"type":"e","Priority":1,"after":[],"during_outages":"run","exclusive":1}`: {"body.Priority", "body.after", "body.during_outages", "body.exclusive"},
		`[]`: {"body"},
	} {
		_, err := readSpec(body)
		got := locations(err)
		slices.Sort(got)
		if morningai.CodeOf(err) != morningai.CodeInvalidInput || !slices.Equal(got, want) {
			t.Errorf("%.80s: %v at %q, want %q", body, err, got, want)
		}
	}
}

func TestTaskBodyTooLarge(t *testing.T) {
	fits := `{"type":"e","payload":"` + strings.Repeat("x", morningai.MaxPayload-2) + `"}`
	if _, err := readSpec(fits); err != nil {
		t.Errorf("a payload of the largest size: %v", err)
	}
	over := `{"type":"e","priority":99,"payload":"` + strings.Repeat("x", morningai.MaxPayload-1) + `"}`
	if _, err := readSpec(over); !errors.Is(err, morningai.ErrTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestBatchBody(t *testing.T) {
	read := func(body string) ([]morningai.TaskSpec, error) {
		var req wire.BatchRequest
		var specs []morningai.TaskSpec
		err := decode([]byte(body), &req, func() (err error) {
			specs, err = batchSpecs(req.Tasks, noon)
			return err
		})
		return specs, err
	}
	items := func(n int, item string) string {
		return `{"tasks":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	if specs, err := read(items(1000, `{"type":"e"}`)); err != nil || len(specs) != 1000 {
		t.Errorf("a full batch: %d, %v", len(specs), err)
	}
	const id = `"id":"01937c4e-0000-7000-8000-000000000001"`
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"empty":           {`{"tasks":[]}`, []string{"body.tasks"}},
		"missing":         {`{}`, []string{"body.tasks"}},
		"null":            {`{"tasks":null}`, []string{"body.tasks"}},
		"one too many":    {items(1001, `{"type":"e"}`), []string{"body.tasks"}},
		"a million":       {items(1_000_000, `{}`), []string{"body.tasks"}},
		"a million ones":  {items(1_000_000, `1`), nil},
		"located":         {`{"tasks":[{"type":"e"},{"type":"e","delay":1},{"priority":5},7]}`, []string{"body.tasks[1].delay", "body.tasks[3]", "body.tasks[2].type"}},
		"one id for two":  {`{"tasks":[{"type":"e",` + id + `},{"type":"e",` + id + `}]}`, []string{"body.tasks[1].id"}},
		"all are wrong":   {items(1000, `{"type":""}`), nil},
		"a list of lists": {`{"tasks":[[]]}`, []string{"body.tasks[0]"}},
	} {
		_, err := read(c.body)
		if morningai.CodeOf(err) != morningai.CodeInvalidInput || c.want != nil && !slices.Equal(locations(err), c.want) {
			t.Errorf("%s: %v at %.10q", name, morningai.CodeOf(err), locations(err))
		}
		if n := len(failureOf(err).fields); n > strictjson.MaxWrong {
			t.Errorf("%s: %d fields are listed", name, n)
		}
	}
	big := `{"tasks":[{"type":"e"},{"type":"e","payload":"` + strings.Repeat("x", morningai.MaxPayload) + `"}]}`
	if _, err := read(big); !errors.Is(err, morningai.ErrTooLarge) || locations(err)[0] != "body.tasks[1].payload" {
		t.Errorf("a large payload: %v", err)
	}
}

func TestContentType(t *testing.T) {
	for _, c := range []struct {
		header   http.Header
		required bool
		ok       bool
	}{
		{http.Header{"Content-Type": {"application/json"}}, true, true},
		{http.Header{"Content-Type": {"Application/JSON; charset=UTF-8"}}, true, true},
		{http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity"}}, true, true},
		{http.Header{}, false, true},
		{http.Header{}, true, false},
		{http.Header{"Content-Type": {""}}, true, false},
		{http.Header{"Content-Type": {"text/plain"}}, true, false},
		{http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, false, false},
		{http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, true, false},
		{http.Header{"Content-Type": {"text/plain; application/json"}}, true, false},
		{http.Header{"Content-Type": {"application/json; charset=utf-16"}}, true, false},
		{http.Header{"Content-Type": {"application/json", "text/plain"}}, true, false},
		{http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, true, false},
		{http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity", "br"}}, true, false},
	} {
		err := checkType(c.header, c.required)
		if c.ok != (err == nil) || !c.ok && morningai.CodeOf(err) != codeUnsupportedType {
			t.Errorf("%v (required %v): %v", c.header, c.required, err)
		}
	}
}

// checkRefusal holds for every refusal of a body: it has a code of the table
// with a status of the caller's, located fields, and fixed words.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	f := failureOf(err)
	if f.kind.status < 400 || f.kind.status > 499 {
		t.Errorf("answered %d: %v", f.kind.status, err)
	}
	for _, field := range f.fields {
		if !strings.HasPrefix(field.Location, "body") || field.Message == "" {
			t.Errorf("field %+v", field)
		}
	}
	if _, err := json.Marshal(f.problem()); err != nil {
		t.Error(err)
	}
}

func FuzzTaskBody(f *testing.F) {
	for _, s := range []string{
		`{"type":"echo","payload":{"x":1},"queue":"q","priority":0,"delay":"1m","max_attempts":3,"timeout":"1s","unique_key":"u","metadata":{"a":"b"},"retention":"1h"}`,
		`{"type":"e","run_at":"2030-01-01T00:00:00Z","id":"01937c4e-0000-7000-8000-000000000001","trace_id":"01937c4e-0000-7000-8000-000000000001"}`,
		`{"type":"e","priority":1e2,"delay":"9999999h"}`, `{"type":"e","type":"f"}`, "{\"type\":\"\xff\"}", `{"type":"\u0000"}`, `[[[[[[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		spec, err := readSpec(string(body))
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if err := spec.Normalize(); err != nil {
			t.Fatalf("accepted, but an engine refuses it: %v", err)
		}
		again, err := json.Marshal(wire.NewTaskRequest(spec))
		if err != nil {
			t.Fatal(err)
		}
		back, err := readSpec(string(again))
		if err != nil || !back.SameRequest(&spec) || back.ID != spec.ID || back.TraceID != spec.TraceID || !back.RunAt.Equal(spec.RunAt) {
			t.Errorf("not the same when sent again: %v\n%+v\n%+v", err, spec, back)
		}
	})
}

func FuzzBatchBody(f *testing.F) {
	f.Add([]byte(`{"tasks":[{"type":"a"},{"type":"b","delay":"1s"}]}`))
	f.Add([]byte(`{"tasks":[{"type":"a","payload":[[[]]]},1,null,{}]}`))
	f.Add([]byte(`{"tasks":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var req wire.BatchRequest
		var specs []morningai.TaskSpec
		err := decode(body, &req, func() (err error) {
			specs, err = batchSpecs(req.Tasks, noon)
			return err
		})
		if err != nil {
			checkRefusal(t, err)
		} else if len(specs) == 0 || len(specs) > morningai.MaxBatch {
			t.Errorf("%d tasks were accepted", len(specs))
		}
	})
}

func FuzzQueueBody(f *testing.F) {
	for _, s := range []string{`{"paused":true,"concurrency":5,"rate":"10/s"}`, `{"concurrency":null,"rate":null}`, `{"concurrency":0,"rate":"0/s"}`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var req wire.QueueChange
		var change morningai.QueueChange
		err := decode(body, &req, func() (err error) {
			if change, err = req.Model(); err != nil {
				return err
			}
			return change.Validate("q")
		})
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again, err := json.Marshal(wire.NewQueueChange(change))
		if err != nil {
			t.Fatal(err)
		}
		var back wire.QueueChange
		if err := decode(again, &back, nil); err != nil {
			t.Fatal(err)
		}
		if model, err := back.Model(); err != nil || fmt.Sprint(show(model)) != fmt.Sprint(show(change)) {
			t.Errorf("%s came back as %v, not %v (%v)", again, show(model), show(change), err)
		}
	})
}

func show(c morningai.QueueChange) []any {
	var out []any
	if c.Paused != nil {
		out = append(out, "paused", *c.Paused)
	}
	if c.Concurrency != nil {
		out = append(out, "concurrency", *c.Concurrency)
	}
	if c.Rate != nil {
		out = append(out, "rate", *c.Rate)
	}
	return out
}

func FuzzQuestionBody(f *testing.F) {
	f.Add([]byte(`{"question":"How?"}`))
	f.Add([]byte(`{"question":" "}`))
	f.Add([]byte(`{"question":"\ud83d\ude00","x":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		spec, err := questionSpec(body)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if err := spec.Normalize(); err != nil {
			t.Errorf("accepted, but an engine refuses it: %v", err)
		}
		if q := textIn(spec.Payload, "question"); q == nil || strings.TrimSpace(*q) != *q {
			t.Errorf("payload %s", spec.Payload)
		}
	})
}

package morningai

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawWhole makes a record with any subset of everything that one can have.
func drawWhole(t *rapid.T) Record {
	id := func(name string) (out ID) {
		copy(out[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
		return out
	}
	text := func(name string) string { return rapid.String().Draw(t, name) }
	data := func(name string) []byte {
		if v := rapid.SliceOf(rapid.Byte()).Draw(t, name); len(v) > 0 {
			return v
		}
		return nil
	}
	at := func(name string) time.Time {
		switch rapid.IntRange(0, 3).Draw(t, name+" kind") {
		case 0:
			return time.Time{}
		case 1: // as the embedded engine keeps them
			return time.UnixMicro(rapid.Int64Range(packedFrom*1e6, packedUntil*1e6-1).Draw(t, name)).UTC()
		}
		return time.Unix(rapid.Int64Range(packedFrom, packedUntil-1).Draw(t, name), rapid.Int64Range(0, 999_999_999).Draw(t, name+" rest")).UTC()
	}
	failure := func(name string) *TaskError {
		if rapid.Bool().Draw(t, name) {
			return &TaskError{Code: text(name + " code"), Message: text(name + " message")}
		}
		return nil
	}
	outcome := func(name string) Outcome { return rapid.SampledFrom(packedOutcomes[:]).Draw(t, name) }
	r := Record{
		Task: Task{
			ID: id("id"), TraceID: id("trace"), Type: text("type"), Queue: text("queue"), Priority: rapid.Int().Draw(t, "priority"),
			State: rapid.SampledFrom(packedStates[:]).Draw(t, "state"), Attempt: rapid.Int().Draw(t, "attempt"), Failures: rapid.Int().Draw(t, "failures"),
			MaxAttempts: rapid.Int().Draw(t, "max attempts"), Timeout: time.Duration(rapid.Int64().Draw(t, "timeout")),
			Payload: data("payload"), Result: data("result"), Error: failure("error"), Progress: data("progress"),
			CreatedAt: at("created"), RunAt: at("run at"), StartedAt: at("started"), FinishedAt: at("finished"),
			Life: rapid.Int64().Draw(t, "life"), Version: rapid.Int64().Draw(t, "version"), CancelRequested: rapid.Bool().Draw(t, "cancel"),
			Exclusive: rapid.Bool().Draw(t, "exclusive"),
		},
		UniqueKey: text("key"), Fingerprint: text("fingerprint"), Claim: rapid.Int64().Draw(t, "claim"), Lease: rapid.Int64().Draw(t, "lease"),
		Node: text("node"), Session: SessionID(id("session")), Settled: outcome("settled"), Deleted: rapid.Bool().Draw(t, "deleted"),
	}
	if rapid.Bool().Draw(t, "same trace") {
		r.Task.TraceID = r.Task.ID
	}
	if m := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata"); len(m) > 0 {
		r.Task.Metadata = m
	}
	if rapid.Bool().Draw(t, "own retention") {
		r.Retention = new(time.Duration(rapid.Int64().Draw(t, "retention")))
	}
	for range rapid.IntRange(0, 4).Draw(t, "attempts") {
		a := Attempt{Number: rapid.Int().Draw(t, "number"), Life: rapid.Int64().Draw(t, "life"), Node: r.Node, StartedAt: at("started"), FinishedAt: at("finished"),
			Outcome: outcome("outcome"), Error: failure("error"), Stack: text("stack")}
		if rapid.Bool().Draw(t, "other node") {
			a.Node = text("node")
		}
		r.Attempts = append(r.Attempts, a)
	}
	for range rapid.IntRange(0, 3).Draw(t, "steps") {
		if r.Steps == nil {
			r.Steps = map[string]json.RawMessage{}
		}
		r.Steps[text("step")] = data("step's result")
	}
	for range rapid.IntRange(0, 3).Draw(t, "lines") {
		r.Logs = append(r.Logs, LogLine{Attempt: rapid.Int().Draw(t, "attempt"), At: at("at"), Level: text("level"), Message: text("message"), Attrs: data("attrs")})
	}
	return r
}

func pack(t interface{ Fatalf(string, ...any) }, r *Record) []byte {
	b, err := r.AppendBinary(nil)
	if err != nil {
		t.Fatalf("pack %+v: %v", r, err)
	}
	return b
}

func TestPackedRecordIsTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawWhole(t)
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "what is there already")
		b, err := want.AppendBinary(bytes.Clone(prefix))
		if err != nil {
			t.Fatalf("pack: %v", err)
		}
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("what was there is gone")
		}
		b = b[len(prefix):]
		got, err := ParseRecord(b)
		if err != nil {
			t.Fatalf("parse: %v", err)
		}
		if !bytes.Equal(pack(t, &got), b) {
			t.Fatal("the same record has another form")
		}
		part := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
		if _, err := ParseRecord(part); err == nil {
			t.Fatalf("%d bytes of %d are a record", len(part), len(b))
		}
		if _, err := ParseRecord(append(bytes.Clone(b), 0)); err == nil {
			t.Fatal("a byte too many is a record")
		}
		clear(b) // the record shares nothing with the bytes
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%+v\nwant\n%+v", got, want)
		}
	})
}

// Every field of a record travels, except those that say how it was read: a new
// field that the form lacks is found here.
func TestPackedRecordIsComplete(t *testing.T) {
	var want Record
	n := int64(0)
	fill(t, reflect.ValueOf(&want).Elem(), &n)
	want.Task.State, want.Settled, want.Attempts[0].Outcome = StateBlocked, OutcomeLost, OutcomeSnoozed
	want.Task.Pending, want.Task.Fresh, want.Task.AsOf = false, "", time.Time{}
	want.Task.Durable, want.Task.Runs, want.Task.Duplicate = "", "", false
	got, err := ParseRecord(pack(t, &want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v\n%v", got, want, err)
	}
}

// fill gives everything a value of its own that is not zero.
func fill(t *testing.T, v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(*n, *n).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(time.Duration(*n).String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint8:
		v.SetUint(uint64(*n))
	default:
		t.Fatalf("a %s is new", v.Kind())
	}
}

func TestRecordThatCannotBePacked(t *testing.T) {
	for what, r := range map[string]Record{
		"a state":      {Task: Task{State: "bogus"}},
		"an outcome":   {Settled: "bogus"},
		"an attempt's": {Attempts: []Attempt{{Outcome: "bogus"}}},
		"a time":       {Task: Task{CreatedAt: time.Unix(packedUntil, 0)}},
		"an old time":  {Task: Task{RunAt: time.Unix(math.MinInt32*1000, 0)}},
	} {
		b, err := r.AppendBinary([]byte("before"))
		if !errors.Is(err, ErrInvalidInput) || string(b) != "before" {
			t.Errorf("%s: %q %v", what, b, err)
		}
	}
	for what, b := range map[string][]byte{"": nil, "0": {0}, "1": {recordFormat}, "2": {secondRecordFormat}} {
		if _, err := ParseRecord(b); !errors.Is(err, ErrInvalidInput) {
			t.Errorf("%q: %v", what, err)
		}
	}
	if _, err := ParseRecord([]byte{secondRecordFormat + 1}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a later format: %v", err)
	}
}

// commonRecord is a task that has ended at its first attempt.
func commonRecord() Record {
	at := time.UnixMicro(1_800_000_000_123_456).UTC()
	return Record{
		Task: Task{ID: ID{1, 2, 3}, TraceID: ID{1, 2, 3}, Type: "mail", Queue: DefaultQueue, Priority: DefaultPriority, State: StateSucceeded, Attempt: 1,
			MaxAttempts: DefaultMaxAttempts, Timeout: DefaultTimeout, Payload: json.RawMessage(`{"x":1}`), Result: json.RawMessage(`true`),
			CreatedAt: at, StartedAt: at.Add(time.Millisecond), FinishedAt: at.Add(time.Second), Life: 1, Version: 3},
		Claim: 1, Lease: -1 << 60, Node: "host-1", Settled: OutcomeSucceeded,
		Attempts: []Attempt{{Number: 1, Life: 1, Node: "host-1", StartedAt: at.Add(time.Millisecond), FinishedAt: at.Add(time.Second), Outcome: OutcomeSucceeded}},
	}
}

// A count or a length that lies is refused before anything is made for it.
func TestParseRecordIsFrugal(t *testing.T) {
	r := commonRecord()
	whole := pack(t, &r)
	for i := range whole {
		lie := append(bytes.Clone(whole[:i]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
		lie = append(lie, whole[min(i+1, len(whole)):]...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = ParseRecord(lie) // whether it is one is not the point
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 64<<10 {
			t.Fatalf("a lie at byte %d takes %d bytes", i, allocated)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	r := commonRecord()
	for range 2 {
		b, err := r.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		r.Steps, r.Task.Metadata = map[string]json.RawMessage{"a": []byte("1"), "b": nil}, map[string]string{"k": "v"}
		r.Logs, r.Retention, r.UniqueKey = []LogLine{{Attempt: 1, Level: "info", Message: "m"}, {At: time.Unix(1, 1)}}, new(time.Hour), "u"
		r.Attempts[0].Error, r.Attempts[0].Stack, r.Attempts[0].Node = &TaskError{"c", "m"}, "s", "other"
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseRecord(b)
		if err != nil {
			return
		}
		again, err := ParseRecord(pack(t, &got))
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("%v:\n%+v\nis not\n%+v", err, again, got)
		}
	})
}

func BenchmarkPackRecord(b *testing.B) {
	r := commonRecord()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = r.AppendBinary(buf[:0]) // it can be packed
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}

func BenchmarkParseRecord(b *testing.B) {
	r := commonRecord()
	raw, err := r.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecord(raw); err != nil {
			b.Fatal(err)
		}
	}
}

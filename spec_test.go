package morningai

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNormalizeFillsInIDs(t *testing.T) {
	s := NewTaskSpec("mail", nil)
	if err := s.Normalize(); err != nil {
		t.Fatal(err)
	}
	if s.ID.IsZero() || s.TraceID != s.ID || string(s.Payload) != "null" {
		t.Errorf("normalized to %+v", s)
	}
	again := s
	if err := again.Normalize(); err != nil || again.ID != s.ID || again.TraceID != s.TraceID {
		t.Errorf("a second Normalize made %+v, %v", again, err)
	}
}

func TestNormalizeNamesEveryWrongField(t *testing.T) {
	seconds := func(n int) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	for location, change := range map[string]func(*TaskSpec){
		"type":         func(s *TaskSpec) { s.Type = "a b" },
		"queue":        func(s *TaskSpec) { s.Queue = "" },
		"priority":     func(s *TaskSpec) { s.Priority = 10 },
		"max_attempts": func(s *TaskSpec) { s.MaxAttempts = 0 },
		"timeout":      func(s *TaskSpec) { s.Timeout = -1 },
		"run_at":       func(s *TaskSpec) { s.RunAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"unique_key":   func(s *TaskSpec) { s.UniqueKey = strings.Repeat("k", MaxUniqueKey+1) },
		"retention":    func(s *TaskSpec) { s.Retention = seconds(-1) },
		"payload":      func(s *TaskSpec) { s.Payload = json.RawMessage(`{"a":1}{}`) },
		"metadata":     func(s *TaskSpec) { s.Metadata = map[string]string{"": "v"} },
	} {
		t.Run(location, func(t *testing.T) {
			s := NewTaskSpec("mail", json.RawMessage(`{"secret":1}`))
			change(&s)
			err := s.Normalize()
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code != CodeInvalidInput || len(e.Fields) != 1 || e.Fields[0].Location != location {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats the payload: %v", err)
			}
			if !s.ID.IsZero() {
				t.Error("a refused spec was changed")
			}
		})
	}
	all := TaskSpec{Priority: -1, Payload: json.RawMessage(`{`)}
	if e, _ := errors.AsType[*Error](all.Normalize()); e == nil || len(e.Fields) != 6 {
		t.Errorf("all at once: %v", e)
	}
}

func TestNormalizeBounds(t *testing.T) {
	ok := NewTaskSpec("mail", json.RawMessage(`"`+strings.Repeat("x", MaxPayload-2)+`"`))
	ok.Priority, ok.MaxAttempts, ok.Timeout = MaxPriority, MaxAttemptsCap, MaxTimeout
	ok.UniqueKey = strings.Repeat("k", MaxUniqueKey)
	if err := ok.Normalize(); err != nil {
		t.Errorf("the largest spec: %v", err)
	}
	large := NewTaskSpec("mail", json.RawMessage(`"`+strings.Repeat("x", MaxPayload)+`"`))
	if err := large.Normalize(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a payload over the limit: %v", err)
	}
}

func TestPayloadText(t *testing.T) {
	for payload, want := range map[string]bool{
		`1e400`:                 true, // a number, kept digit for digit
		`"\u0001"`:              true,
		`"\\u0000"`:             true, // a backslash and the text u0000
		`"\u0000"`:              false,
		`"\\\u0000"`:            false,
		`{"\u0000":1}`:          false,
		"\"\xff\"":              false,
		"":                      true, // stands for null
		" ":                     false,
		`{"a":1} `:              true,
		`[` + "\x00" + `]`:      false,
		`"` + "\u2028<&>" + `"`: true,
	} {
		s := NewTaskSpec("mail", json.RawMessage(payload))
		if err := s.Normalize(); (err == nil) != want {
			t.Errorf("payload %q: %v", payload, err)
		}
	}
}

func TestValidName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9_.:-]{1,128}`).Draw(t, "name")
		if ValidName(name) != (name != "." && name != "..") {
			t.Fatalf("%q: %v", name, ValidName(name))
		}
		if bad := name + rapid.SampledFrom([]string{" ", "/", "\x00", "é", "\n", "%"}).Draw(t, "bad"); ValidName(bad) {
			t.Fatalf("%q is accepted", bad)
		}
	})
	if ValidName("") || ValidName(strings.Repeat("a", MaxName+1)) {
		t.Error("length is not bounded")
	}
	for name, ok := range map[string]bool{".": false, "..": false, "...": true, ".a": true, "a.": true, "..a": true} {
		if ValidName(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}

func TestSameRequest(t *testing.T) {
	base := NewTaskSpec("mail", json.RawMessage(`{}`))
	base.Metadata = map[string]string{"a": "b"}
	repeat := base
	repeat.RunAt, repeat.Metadata = time.Now(), map[string]string{"a": "b"}
	if !base.SameRequest(&repeat) {
		t.Error("a repeat with another time is a conflict")
	}
	for name, change := range map[string]func(*TaskSpec){
		"type":     func(s *TaskSpec) { s.Type = "other" },
		"queue":    func(s *TaskSpec) { s.Queue = "other" },
		"payload":  func(s *TaskSpec) { s.Payload = json.RawMessage(`{"a":1}`) },
		"priority": func(s *TaskSpec) { s.Priority++ },
		"metadata": func(s *TaskSpec) { s.Metadata = map[string]string{"a": "c"} },
	} {
		other := base
		change(&other)
		if base.SameRequest(&other) {
			t.Errorf("another %s counts as the same request", name)
		}
	}
}

// The first moment is the same in every zone.
func TestRunAtIsJudgedInUTC(t *testing.T) {
	east := time.FixedZone("", 5*3600)
	for at, ok := range map[time.Time]bool{
		time.Date(1970, 1, 1, 0, 0, 0, 0, east): false,
		time.Date(1970, 1, 1, 5, 0, 0, 0, east): true,
	} {
		spec := NewTaskSpec("t", nil)
		spec.RunAt = at
		if err := spec.Normalize(); (err == nil) != ok {
			t.Errorf("%v: %v", at, err)
		}
	}
}

func TestFreshID(t *testing.T) {
	made, given, set := NewTaskSpec("t", nil), NewTaskSpec("t", nil), NewTaskSpec("t", nil)
	given.ID = ID{1}
	set.SetFreshID(ID{2})
	for i, s := range []*TaskSpec{&made, &given, &set} {
		if err := s.Normalize(); err != nil {
			t.Fatal(err)
		}
		if fresh := s.FreshID(); fresh != (i != 1) {
			t.Errorf("spec %d has a fresh id: %v", i, fresh)
		}
	}
	if set.ID != (ID{2}) {
		t.Errorf("the id that was set is now %s", set.ID)
	}
	if made.ID = (ID{3}); made.FreshID() {
		t.Error("an id that was put in later counts as made")
	}
}

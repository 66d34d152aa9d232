package morningai

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestIDsGrowAndCarryTheirTime(t *testing.T) {
	before := time.Now().Add(-time.Second)
	var last string
	for range 10_000 {
		id, err := NewID()
		if err != nil {
			t.Fatal(err)
		}
		s := id.String()
		if s <= last {
			t.Fatalf("id %s is not after %s", s, last)
		}
		if at := id.Time(); at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Fatalf("id carries the time %v", at)
		}
		last = s
	}
	if at := (ID{}).Time(); !at.IsZero() {
		t.Errorf("the zero id has the time %v", at)
	}
}

func TestIDTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		text := id.String()
		if want := uuid.UUID(id).String(); text != want {
			t.Fatalf("%s, the uuid package says %s", text, want)
		}
		for _, s := range []string{text, strings.ToUpper(text)} {
			back, err := ParseID(s)
			if err != nil || back != id {
				t.Fatalf("ParseID(%s) = %v, %v", s, back, err)
			}
		}
		data, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		var back ID
		if err := json.Unmarshal(data, &back); err != nil || back != id {
			t.Fatalf("JSON %s reads as %v, %v", data, back, err)
		}
	})
}

func TestParseIDRefusesOtherForms(t *testing.T) {
	const good = "01937c4e-8f2a-7c3d-9b1e-0123456789ab"
	for _, bad := range []string{
		"", "demo-job-0", good[:35], good + "0", "{" + good + "}", "urn:uuid:" + good,
		strings.ReplaceAll(good, "-", ""), strings.Replace(good, "-", "_", 1),
		strings.Replace(good, "9b", "zz", 1), strings.Replace(good, "01937c4e-", "01937c4-e", 1),
	} {
		id, err := ParseID(bad)
		if !errors.Is(err, ErrInvalidInput) || !id.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v", bad, id, err)
		}
		if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error repeats the input: %v", err)
		}
	}
}

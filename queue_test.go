package morningai

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{Count: rapid.IntRange(1, maxRate).Draw(t, "count"),
			Per: rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "per")}
		back, err := ParseRate(r.String())
		if err != nil || back != r {
			t.Fatalf("%s reads as %v, %v", r, back, err)
		}
	})
}

func TestParseRateRefuses(t *testing.T) {
	for _, s := range []string{"", "/s", "10", "10/", "10/d", "0/s", "-1/s", "+1/s", "1.5/s", "1000001/s", "10/s ", "10/ms", "99999999999999999999/s"} {
		if r, err := ParseRate(s); !errors.Is(err, ErrInvalidInput) || !r.IsZero() {
			t.Errorf("ParseRate(%q) = %v, %v", s, r, err)
		}
	}
	if (Rate{}).String() != "" {
		t.Error("no limit has a text")
	}
}

func TestQueueChangeValidate(t *testing.T) {
	two, tooMany, none := 2, MaxConcurrency+1, 0
	if err := (QueueChange{Concurrency: &two, Rate: &Rate{Count: 1, Per: time.Hour}}).Validate("mail"); err != nil {
		t.Error(err)
	}
	if err := (QueueChange{Concurrency: &none, Rate: &Rate{}}).Validate("mail"); err != nil {
		t.Errorf("clearing limits: %v", err)
	}
	err := QueueChange{Concurrency: &tooMany, Rate: &Rate{Count: 1, Per: time.Millisecond}}.Validate("a b")
	if e, _ := errors.AsType[*Error](err); e == nil || len(e.Fields) != 3 {
		t.Errorf("three wrong fields: %v", err)
	}
}

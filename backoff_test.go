package morningai

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		failures := rapid.IntRange(-1, 20_000).Draw(t, "failures")
		middle := time.Hour
		if failures <= 11 {
			middle = time.Duration(1<<max(failures, 0)) * time.Second
		}
		got := Backoff(failures)
		if got < middle*8/10 || got > middle*12/10 {
			t.Fatalf("after %d failures %v, want %v ± 20 %%", failures, got, middle)
		}
	})
	different := map[time.Duration]bool{}
	for range 20 {
		different[Backoff(5)] = true
	}
	if len(different) < 10 {
		t.Errorf("20 tasks that failed together come back at %d times", len(different))
	}
}

package resilient

import (
	"testing"
	"time"
)

// A call that takes long is no silence as long as replies come within it, and is one
// from the last of them on.
func TestRepliesWithinACall(t *testing.T) {
	now := time.Now()
	d := detector{heard: now, healthy: now}
	d.began(now)
	at := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	if got := d.silence(at(350)); got != 350*time.Millisecond {
		t.Errorf("without a reply the silence is %v", got)
	}
	d.hear(at(300))
	d.hear(at(100)) // what is learned later
	if got := d.silence(at(350)); got != 50*time.Millisecond {
		t.Errorf("after a reply the silence is %v", got)
	}
	l := defaults().limits
	if got := d.wake(&l); !got.Equal(at(300).Add(l.suspect)) {
		t.Errorf("it is looked at again after %v", got.Sub(now))
	}
}

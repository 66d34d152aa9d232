package morningai

import (
	"math/rand/v2"
	"time"
)

const (
	backoffCap    = time.Hour
	backoffJitter = 0.2
)

// Backoff returns how long a task that has failed so many times waits before
// its next attempt: min(2^failures s, 1 h) ± 20 %. The jitter keeps tasks that
// failed together from coming back together.
func Backoff(failures int) time.Duration {
	d := backoffCap
	if failures < 12 { // 2^12 s is over the hour
		d = time.Second << max(failures, 0)
	}
	return jitter(d)
}

// jitter returns d ± 20 %.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + backoffJitter*(2*rand.Float64()-1)))
}

// repeatDelay paces repeated calls to an engine that cannot do its work just
// now: from 20 ms, doubling, to 2 s at most.
func repeatDelay(tries int) time.Duration {
	return jitter(20 * time.Millisecond << min(max(tries, 0), 6))
}

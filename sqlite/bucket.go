package sqlite

import (
	"time"

	"github.com/RC918/morningai"
)

// bucket is a token bucket: as many tokens as the rate's count, refilled
// evenly over its period.
type bucket struct {
	rate   morningai.Rate
	tokens float64
	at     time.Time
}

func newBucket(rate morningai.Rate, now time.Time) bucket {
	return bucket{rate: rate, tokens: float64(rate.Count), at: now}
}

func (b *bucket) refill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(float64(b.rate.Count), b.tokens+float64(b.rate.Count)*d.Seconds()/b.rate.Per.Seconds())
	}
	b.at = now
}

// next is when there will be a token; the zero time if there is one or no limit.
func (b *bucket) next(now time.Time) time.Time {
	if b.rate.IsZero() {
		return time.Time{}
	}
	b.refill(now)
	if b.tokens >= 1 {
		return time.Time{}
	}
	wait := time.Duration((1 - b.tokens) * float64(b.rate.Per) / float64(b.rate.Count))
	return now.Add(max(wait, time.Microsecond))
}

func (b *bucket) take() {
	if !b.rate.IsZero() {
		b.tokens--
	}
}

package resilient

import "time"

// WithPatience is for tests that share a busy disk: no call is late.
func WithPatience(factor int) Option {
	return func(c *config) {
		for _, d := range []*time.Duration{&c.limits.budget, &c.limits.suspect, &c.limits.open, &c.limits.call} {
			*d *= time.Duration(factor)
		}
	}
}

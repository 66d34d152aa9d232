package redis

import "time"

// WithClock replaces the wall clock that the engine tells its scripts, so that
// a test can let hours of retention pass.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// WithBlock sets how long one blocking pop lasts.
func WithBlock(d time.Duration) Option { return func(o *options) { o.blockFor = d } }

// SweepAll removes everything whose time is over.
func (e *Engine) SweepAll() error {
	for _, p := range e.parts {
		for {
			n, err := p.sweepOnce()
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
		}
	}
	return nil
}

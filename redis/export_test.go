package redis

import "time"

// WithClock replaces the wall clock that the engine tells its scripts, so that
// a test can let hours of retention pass.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// WithClockEvery sets how often the clock is compared with that of Redis.
func WithClockEvery(d time.Duration) Option { return func(o *options) { o.clockEvery = d } }

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

// Scripts are the SHA-1 of each script, by name.
func Scripts() map[string]string {
	return map[string]string{
		"open": scriptOpen.sha, "probe": scriptProbe.sha, "enqueue": scriptEnqueue.sha, "work": scriptWork.sha, "beat": scriptBeat.sha,
		"reap": scriptReap.sha, "command": scriptCommand.sha, "queue": scriptQueue.sha, "import": scriptImport.sha, "export": scriptExport.sha,
		"sweep": scriptSweep.sha, "get": scriptGet.sha, "list": scriptList.sha, "stats": scriptStats.sha, "events": scriptEvents.sha,
		"restore": scriptRestore.sha, "mend": scriptMend.sha,
	}
}

// Unavailable is what people are told of an error of the network.
func Unavailable(err error) error { return unavailable("probe", err) }

// KeyNames are the keys of a partition.
func KeyNames() []string { return keyNames }

// ClockApart is what decides whether a node trusts its clock.
var ClockApart = clockApart

// Waiting is how many claims wait for a token.
func (e *Engine) Waiting() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.waiters {
		w.mu.Lock()
		n += w.subs
		w.mu.Unlock()
	}
	return n
}

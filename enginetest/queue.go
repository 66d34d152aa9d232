package enginetest

import (
	"time"

	"github.com/RC918/morningai"
)

func queueChecks() []check {
	return []check{
		{"what a change leaves nil stays", queuePartly},
		{"settings survive a reopen", queueReopened},
		{"a bad change is refused whole", queueRefused},
		{"a change repeated leads to the same settings", queueRepeated},
		{"changes at once do not lose each other", queueRace},
	}
}

func queuePartly(r *rig) {
	rate := morningai.Rate{Count: 5, Per: time.Minute}
	var last int64
	for i, c := range []struct {
		change morningai.QueueChange
		want   morningai.QueueConfig
	}{
		{morningai.QueueChange{}, morningai.QueueConfig{}},
		{morningai.QueueChange{Paused: new(true)}, morningai.QueueConfig{Paused: true}},
		{morningai.QueueChange{Concurrency: new(3)}, morningai.QueueConfig{Paused: true, Concurrency: 3}},
		{morningai.QueueChange{Rate: &rate}, morningai.QueueConfig{Paused: true, Concurrency: 3, Rate: rate}},
		{morningai.QueueChange{Paused: new(false), Concurrency: new(0)}, morningai.QueueConfig{Rate: rate}},
		{morningai.QueueChange{Rate: &morningai.Rate{}}, morningai.QueueConfig{}},
	} {
		got := r.setQueue("q", c.change)
		r.want(i == 0 || got.Version > last, "change %d: version %d after %d", i, got.Version, last)
		last = got.Version
		c.want.Name, c.want.Version = "q", got.Version
		r.want(got == c.want, "change %d: %+v, want %+v", i, got, c.want)
		r.want(r.queue("q").QueueConfig == c.want, "change %d: stats say %+v, want %+v", i, r.queue("q").QueueConfig, c.want)
	}
}

func queueReopened(r *rig) {
	rate := morningai.Rate{Count: 7, Per: time.Hour}
	want := r.setQueue("q", morningai.QueueChange{Paused: new(true), Concurrency: new(9), Rate: &rate})
	for range 2 {
		r.reopen()
		r.want(r.queue("q").QueueConfig == want, "after a reopen %+v, want %+v", r.queue("q").QueueConfig, want)
	}
	got := r.setQueue("q", morningai.QueueChange{Paused: new(false)})
	r.want(got.Concurrency == 9 && got.Rate == rate && got.Version > want.Version, "after a reopen a change leads to %+v", got)
}

func queueRefused(r *rig) {
	bad := map[string]morningai.QueueChange{
		"no spaces": {}, "": {},
		"q":  {Paused: new(true), Concurrency: new(-1)},
		"q2": {Rate: &morningai.Rate{Count: 1, Per: time.Millisecond}},
		"q3": {Rate: &morningai.Rate{Count: -1, Per: time.Second}},
	}
	for name, c := range bad {
		_, err := r.eng.SetQueue(r.ctx, name, c)
		r.wantError(err, morningai.ErrInvalidInput, "queue %q, change %+v", name, c)
	}
	r.want(len(r.stats().Queues) == 0, "a refused change made a queue: %+v", r.stats().Queues)
}

func queueRepeated(r *rig) {
	change := morningai.QueueChange{Paused: new(true), Concurrency: new(2)}
	first := r.setQueue("q", change)
	again := r.setQueue("q", change)
	first.Version = again.Version
	r.want(first == again, "repeated: %+v, first %+v", again, first)
	r.want(len(r.stats().Queues) == 1, "a repeat made a queue")
}

func queueRace(r *rig) {
	rate := morningai.Rate{Count: 1, Per: time.Hour}
	changes := []morningai.QueueChange{{Paused: new(true)}, {Concurrency: new(4)}, {Rate: &rate}}
	r.together(len(changes), func(i int) error {
		_, err := r.eng.SetQueue(r.ctx, "q", changes[i])
		return err
	})
	got := r.queue("q")
	r.want(got.Paused && got.Concurrency == 4 && got.Rate == rate, "three changes at once lead to %+v", got.QueueConfig)
}

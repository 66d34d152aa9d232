package enginetest

import (
	"math/rand/v2"
	"time"

	"github.com/RC918/morningai"
)

func queueChecks() []check {
	return []check{
		{"what a change leaves nil stays", queuePartly},
		{"settings survive a reopen", queueReopened},
		{"a bad change is refused whole", queueRefused},
		{"a change repeated leads to the same settings", queueRepeated},
		{"a change that comes late does not undo a later one", queueLate},
		{"late changes lead to the same settings in every order", queueOrders},
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
		c.want.Name, c.want.Version, c.want.Changed = "q", got.Version, got.Changed
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
	first.Version, first.Changed = again.Version, again.Changed
	r.want(first == again, "repeated: %+v, first %+v", again, first)
	r.want(len(r.stats().Queues) == 1, "a repeat made a queue")
}

// queueLate: a node that could not tell a change at once tells it with its time.
func queueLate(r *rig) {
	first := r.setQueue("q", morningai.QueueChange{Paused: new(true), Concurrency: new(2)})
	at := first.Changed.Paused
	r.want(!at.IsZero() && first.Changed.Concurrency.Equal(at) && first.Changed.Rate.IsZero(), "the times of the first change are %+v", first.Changed)
	got := r.setQueue("q", morningai.QueueChange{Paused: new(false), At: at.Add(-time.Millisecond)})
	r.want(got == first, "an earlier change that comes late leads to %+v, want %+v", got, first)
	got = r.setQueue("q", morningai.QueueChange{Paused: new(false), At: at})
	r.want(got == first, "an end of the pause of the same moment leads to %+v, want %+v", got, first)
	got = r.setQueue("q", morningai.QueueChange{Paused: new(false), Concurrency: new(7), Rate: &morningai.Rate{Count: 3, Per: time.Second}, At: at.Add(-time.Second)})
	r.want(got.Paused && got.Concurrency == 2 && got.Rate.Count == 3, "of an earlier change not only the limit that nobody set counts: %+v", got)
	late := at.Add(time.Hour)
	got = r.setQueue("q", morningai.QueueChange{Paused: new(false), At: late})
	r.want(!got.Paused && got.Changed.Paused.Equal(late) && got.Changed.Concurrency.Equal(at) && got.Version > first.Version, "a later change leads to %+v", got)
	got = r.setQueue("q", morningai.QueueChange{Paused: new(true)})
	r.want(got.Paused && got.Changed.Paused.After(late), "a change that comes at once is not later than all before: %+v", got)
	r.reopen()
	r.want(r.queue("q").QueueConfig == got, "after a reopen %+v, want %+v", r.queue("q").QueueConfig, got)
}

func queueOrders(r *rig) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	changes := []morningai.QueueChange{
		{Paused: new(true), At: at}, {Paused: new(false), At: at}, {Paused: new(false), Concurrency: new(3), At: at.Add(-time.Second)},
		{Concurrency: new(5), At: at.Add(time.Second)},
	}
	for seed := range uint64(8) {
		r.fresh()
		rnd := rand.New(rand.NewPCG(seed, 3))
		for _, i := range append(rnd.Perm(len(changes)), rnd.Perm(len(changes))...) {
			r.setQueue("q", changes[i])
		}
		got := r.queue("q")
		r.want(got.Paused && got.Concurrency == 5, "order %d of changes leads to %+v", seed, got.QueueConfig)
	}
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

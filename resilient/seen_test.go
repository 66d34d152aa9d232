package resilient

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// What a node has seen of a task that another one has accepted is shown as last
// known when that node is gone and may hold more of it: not told as unknown.
func TestWhatWasSeenOfADeadNodeIsShown(t *testing.T) {
	b := newBench(t)
	c := b.c
	c.contact.state, c.met = morningai.ContactUp, true
	c.members = []morningai.Member{{Journal: morningai.ID{9}, Node: "gone", Backlog: 3, ContactAt: c.now.Add(-time.Minute)}}
	c.membersAt = c.now
	get := func(id morningai.ID) (got morningai.Task, err error) {
		b.makeAll(c.step(c.now, func() {
			c.get(&getOp{req: morningai.GetRequest{IDs: []morningai.ID{id}}, done: func(tasks []morningai.Task, e error) {
				if err = e; e == nil {
					got = tasks[0]
				}
			}})
		}))
		return got, err
	}
	seen, unseen := morningai.ID{1}, morningai.ID{2}
	c.known.see(&morningai.Task{ID: seen, State: morningai.StateRunning, Life: 1, Version: 2, Fresh: morningai.FreshLocal})
	if got, err := get(seen); err != nil || got.State != morningai.StateRunning || got.Fresh != morningai.FreshStale {
		t.Errorf("what was seen is answered with %s %s, %v", got.State, got.Fresh, err)
	}
	if _, err := get(unseen); morningai.CodeOf(err) != morningai.CodeStatusUnknown {
		t.Errorf("what was not is answered with %v", err)
	}
}

// In an outage a queue in which there are only tasks of this node is listed too.
func TestQueuesOfTheJournalAreListed(t *testing.T) {
	b := newBench(t)
	c := b.c
	c.pages.stats = &morningai.Stats{Queues: []morningai.QueueInfo{{QueueConfig: morningai.QueueConfig{Name: "known"}}}}
	spec := morningai.NewTaskSpec("work", []byte(`{}`))
	spec.Queue = "ours"
	if err := spec.Normalize(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.journal.Enqueue(t.Context(), []morningai.TaskSpec{spec}); err != nil {
		t.Fatal(err)
	}
	var got []morningai.QueueInfo
	b.makeAll(c.step(c.now, func() {
		c.stats(&statsOp{done: func(s morningai.Stats, err error) {
			if err != nil {
				t.Error(err)
			}
			got = s.Queues
		}})
	}))
	if len(got) != 2 || got[0].Name != "known" || got[1].Name != "ours" || got[1].Counts[morningai.StateQueued] != 1 {
		t.Errorf("the queues are %+v", got)
	}
}

// makeAll is make, with the calls of the shared engine.
func (b *bench) makeAll(effects []effect) {
	for i := range effects {
		if f := &effects[i]; f.to == toShared && f.waits == 0 {
			result, err := f.call(b.Context(), b.c.remote, b.c.journal)
			b.makeAll(b.c.step(b.c.now, func() { f.then(result, err) }))
			continue
		}
		b.make(effects[i : i+1])
	}
}

// What has ended is not shown as waiting again, although a loss has taken the end for
// a moment and what was put back bears the larger version of the new generation.
func TestAnEndIsNotTakenBack(t *testing.T) {
	k := newLastKnown()
	id := morningai.ID{1}
	k.show(morningai.Task{ID: id, State: morningai.StateCanceled, Life: 1, Version: 3, Fresh: morningai.FreshLive})
	k.generation++
	queued := morningai.Task{ID: id, State: morningai.StateQueued, Life: 1, Version: versionStride + 1, Fresh: morningai.FreshLive}
	if got := k.show(queued); got.State != morningai.StateCanceled || got.Fresh != morningai.FreshStale {
		t.Errorf("a canceled task is shown as %s, %s", got.State, got.Fresh)
	}
	canceled := morningai.Task{ID: id, State: morningai.StateCanceled, Life: 1, Version: versionStride + 3, Fresh: morningai.FreshLive}
	if got := k.show(canceled); got.State != morningai.StateCanceled || got.Fresh != morningai.FreshLive {
		t.Errorf("once the end is put back it is shown as %s, %s", got.State, got.Fresh)
	}
	queued.Life = 2
	if got := k.show(queued); got.State != morningai.StateQueued {
		t.Errorf("a new life is shown as %s", got.State)
	}
}

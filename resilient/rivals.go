package resilient

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

// meetingTime is for how long a task that took its unique key in an outage does
// not start afterwards, so that what other nodes gave the key to meanwhile can
// meet it. They notice the end of the outage within less.
const meetingTime = 2 * time.Second

// sharesKeys reports whether another node may have given a key to another task.
func (c *core) sharesKeys() bool {
	return c.hasOthers() && c.now.Sub(c.incidents.current.EndedAt) < meetingTime
}

func (c *core) hasOthers() bool { return len(c.members)+len(c.alone) > 1 }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rival is a task of ours and the holder of its unique key.
type rival struct {
	ours   *morningai.Record
	holder morningai.Task
}

// resolve decides who keeps a unique key: of two that have not started, the one
// that was accepted earlier. The other ends as canceled, superseded.
func (f *forwarding) resolve(rivals []rival) {
	if len(rivals) == 0 {
		f.then(nil)
		return
	}
	c := f.c
	var gone []morningai.Record
	var cancels []morningai.Command
	var again []*morningai.Record
	for _, x := range rivals {
		if x.holder.Attempt == 0 && x.holder.State != morningai.StateRunning && earlierThan(&x.ours.Task, &x.holder) {
			cancels = append(cancels, morningai.Command{Kind: morningai.CommandCancel, ID: x.holder.ID, Version: x.holder.Version, Error: superseded(x.ours.Task.ID)})
			again = append(again, x.ours)
			continue
		}
		gone = append(gone, c.supersededRecord(x.ours, x.holder.ID))
	}
	c.incidents.current.Superseded += int64(len(rivals))
	f.importAll(gone, func() { f.displace(cancels, again) })
}

func (f *forwarding) displace(cancels []morningai.Command, again []*morningai.Record) {
	if len(cancels) == 0 {
		f.then(nil)
		return
	}
	f.c.supersede(cancels, func(err error) {
		if err != nil {
			f.then(err)
			return
		}
		f.enqueue(again) // whoever has started meanwhile holds the key for good
	})
}

// supersede cancels holders of unique keys.
func (c *core) supersede(cancels []morningai.Command, then func(error)) {
	onShared(c, "command", c.cfg.limits.call, func(ctx context.Context) ([]morningai.CommandResult, error) { return c.remote.Command(ctx, cancels) },
		func(results []morningai.CommandResult, err error) {
			if err != nil {
				then(err)
				return
			}
			var kept []morningai.Note
			for i := range results {
				if note, err := orderedNote(&cancels[i], &results[i], c.now); err == nil && results[i].Err == nil {
					kept = append(kept, note)
				}
			}
			c.keepOrders(kept, func() { then(nil) })
		})
}

// takeKeys gives tasks that are about to be put back their unique keys, which others
// may have taken since they were lost. One of those that has not begun gives way to
// what has. A task that is not there is only to hold the key until it is put back.
func (c *core) takeKeys(page []morningai.Record, then func(error)) {
	var specs []morningai.TaskSpec
	for i := range page {
		if r := &page[i]; r.UniqueKey != "" && !r.Deleted && !r.Task.State.Terminal() {
			s := r.Spec()
			s.RunAt = c.now.Add(tombstones)
			specs = append(specs, s)
		}
	}
	c.takeEach(specs, true, then)
}

func (c *core) takeEach(specs []morningai.TaskSpec, first bool, then func(error)) {
	if len(specs) == 0 {
		then(nil)
		return
	}
	onShared(c, "enqueue", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Receipt, error) { return c.remote.Enqueue(ctx, specs) },
		func(receipts []morningai.Receipt, err error) {
			if err != nil {
				then(err)
				return
			}
			var cancels []morningai.Command
			var again []morningai.TaskSpec
			for i := range receipts {
				if x := &receipts[i].Task; first && receipts[i].Err == nil && x.Duplicate && x.Attempt == 0 {
					cancels = append(cancels, morningai.Command{Kind: morningai.CommandCancel, ID: x.ID, Version: x.Version, Error: superseded(specs[i].ID)})
					again = append(again, specs[i])
				}
			}
			if len(cancels) == 0 {
				then(nil)
				return
			}
			c.incidents.current.Superseded += int64(len(cancels))
			c.supersede(cancels, func(err error) {
				if err != nil {
					then(err)
					return
				}
				c.takeEach(again, false, then)
			})
		})
}

func earlierThan(a, b *morningai.Task) bool {
	if x, y := acceptedAt(a), acceptedAt(b); !x.Equal(y) {
		return x.Before(y)
	}
	return string(a.ID[:]) < string(b.ID[:])
}

// acceptedAt is when a task was accepted. What has just reached the shared engine
// may show when it did; an id says when it was made, which is not later than its
// acceptance and the same for whoever looks.
func acceptedAt(t *morningai.Task) time.Time {
	if made := t.ID.Time(); t.ID[6]>>4 == 7 && made.Before(t.CreatedAt) {
		return made
	}
	return t.CreatedAt.Truncate(time.Millisecond)
}

func superseded(by morningai.ID) *morningai.TaskError {
	return &morningai.TaskError{Code: morningai.ErrorCodeSuperseded, Message: "another task holds its unique key: " + by.String()}
}

func (c *core) supersededRecord(r *morningai.Record, by morningai.ID) morningai.Record {
	out := *r
	out.Task.State, out.Task.Error, out.Task.FinishedAt = morningai.StateCanceled, superseded(by), c.now.UTC()
	out.Task.Version++
	return out
}

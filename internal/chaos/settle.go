package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// settle waits until nothing moves any more: Redis is up for every server, no
// journal has anything to deliver, and no task waits or runs. It returns what
// still moves if that does not come about.
func (f *fleet) settle(ctx context.Context) string {
	for _, n := range f.nodes {
		last := ""
		err := until(ctx, "all to settle", func() (bool, error) {
			last = n.restless(ctx)
			return last == "", nil
		})
		if err != nil {
			return fmt.Sprintf("%v after the fault server %s has not settled: %s", patience, n.name, last)
		}
	}
	return ""
}

// restless says what still moves on a server.
func (n *node) restless(ctx context.Context) string {
	c := n.client.Load()
	h, err := c.Health(ctx)
	switch {
	case err != nil:
		return "its health is unknown: " + err.Error()
	case h.Status != "ok" || h.Redis.Status != "up":
		return fmt.Sprintf("it is %s, Redis is %s: %s", h.Status, h.Redis.Status, h.Redis.Cause)
	case h.Journal != nil && h.Journal.Entries > 0:
		return fmt.Sprintf("its journal has %d entries to deliver", h.Journal.Entries)
	}
	incidents, err := c.Incidents(ctx)
	if err != nil {
		return "its incidents are unknown: " + err.Error()
	}
	for i := range incidents {
		if incidents[i].EndedAt.IsZero() || incidents[i].Backlog > 0 {
			return fmt.Sprintf("incident %s has not ended", incidents[i].ID)
		}
	}
	for _, state := range []morningai.State{morningai.StateQueued, morningai.StateRunning, morningai.StateScheduled, morningai.StateBlocked} {
		page, err := c.List(ctx, morningai.Filter{State: state, Limit: 10})
		if err != nil {
			return "its tasks are unknown: " + err.Error()
		}
		for i := range page.Tasks {
			if id := page.Tasks[i].ID; !n.fleet.odd[id] {
				return fmt.Sprintf("task %s is %s", id, state)
			}
		}
	}
	return ""
}

// ends reads what every server says at the end.
func (f *fleet) ends(ctx context.Context) error {
	f.final = drill.Final{}
	for _, n := range f.nodes {
		nf := drill.NodeFinal{Node: n.name}
		err := until(ctx, "server "+n.name+" to list its tasks", func() (bool, error) {
			var err error
			nf.Tasks, err = n.tasks(ctx)
			return err == nil, ctx.Err()
		})
		if err != nil {
			return err
		}
		if nf.Queues, err = n.queues(ctx); err != nil {
			return err
		}
		incidents, err := n.client.Load().Incidents(ctx)
		if err != nil {
			return err
		}
		for i := range incidents {
			one, err := n.client.Load().Incident(ctx, incidents[i].ID) // with its ids
			if err != nil {
				return err
			}
			nf.Lost += one.Lost
			nf.SetAside = append(nf.SetAside, one.SetAsideIDs...)
			nf.Repeated = append(append(nf.Repeated, one.RepeatedIDs...), one.MaybeRepeatedIDs...)
		}
		f.final.Nodes = append(f.final.Nodes, nf)
	}
	f.final.At = f.now()
	return nil
}

// queues reads the settings of a server's queues.
func (n *node) queues(ctx context.Context) (map[string]drill.QueueFinal, error) {
	all, err := n.client.Load().Queues(ctx)
	out := map[string]drill.QueueFinal{}
	for i := range all {
		set := map[string]string{}
		if all[i].Concurrency > 0 {
			set["concurrency"] = strconv.Itoa(all[i].Concurrency)
		}
		if !all[i].Rate.IsZero() {
			set["rate"] = all[i].Rate.String()
		}
		if all[i].Paused || len(set) > 0 {
			out[all[i].Name] = drill.QueueFinal{Paused: all[i].Paused, Settings: set}
		}
	}
	return out, err
}

var errNotLive = errors.New("the list is not live")

// tasks reads all tasks of a server, and the attempts of those that ran more
// than once.
func (n *node) tasks(ctx context.Context) (map[morningai.ID]drill.TaskFinal, error) {
	c := n.client.Load()
	out := map[morningai.ID]drill.TaskFinal{}
	for cursor := ""; ; {
		page, err := c.List(ctx, morningai.Filter{Limit: 1000, Cursor: cursor})
		if err != nil {
			return nil, err
		}
		if page.Fresh != morningai.FreshLive {
			return nil, errNotLive
		}
		for i := range page.Tasks {
			t := &page.Tasks[i]
			end := drill.TaskFinal{State: t.State, Life: t.Life, Version: t.Version, Payload: drill.DigestOf(t.Payload), Result: drill.DigestOf(t.Result),
				CancelRequested: t.CancelRequested, Pending: t.Pending, MaybeRepeated: t.MaybeRepeated}
			if t.Error != nil {
				end.Code = t.Error.Code
			}
			if t.Attempt > 1 {
				attempts, err := c.Attempts(ctx, t.ID)
				if err != nil {
					return nil, err
				}
				for _, a := range attempts {
					end.Attempts = append(end.Attempts, drill.AttemptFinal{Number: int64(a.Number), Life: a.Life, Node: a.Node, Outcome: a.Outcome})
				}
			}
			out[t.ID] = end
		}
		if cursor = page.Next; cursor == "" {
			return out, nil
		}
	}
}

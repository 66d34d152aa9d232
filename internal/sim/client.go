package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// clients are the people and programs that use the fleet. What they do does not
// depend on what they are answered, except that what is in doubt is asked again.
type clients struct {
	w        *world
	random   *rand.Rand
	watching *rand.Rand
	asked    []morningai.TaskSpec   // all that anybody has asked for
	homes    map[morningai.ID]*host // who was asked first
	made     int
	until    time.Duration
}

var queues = []string{"q0", "q1"}

// begin plans all that clients do.
func (c *clients) begin() {
	for range c.w.plan.calls {
		c.w.after(time.Duration(c.random.Float64()*float64(c.until)), c.call)
	}
}

// any is a node that takes requests; nil if none does.
func (c *clients) any() *host {
	h := c.w.hosts[c.random.IntN(len(c.w.hosts))]
	if !h.up {
		return nil
	}
	return h
}

func (c *clients) call() {
	h := c.any()
	who := fmt.Sprint("client", c.random.IntN(3))
	draw := c.random.Float64()
	if h == nil {
		return
	}
	switch {
	case draw < 0.42:
		c.enqueue(h, who, c.specs())
	case draw < 0.50:
		c.repeat(who)
	case draw < 0.72:
		c.read(h, h.reader(who))
	case draw < 0.78:
		c.list(h, h.reader(who))
	case draw < 0.95:
		c.command(h, h.reader(who))
	default:
		c.setQueue(h, h.reader(who))
	}
}

// reader is a client of one process: what that has shown ends with it.
func (h *host) reader(who string) string {
	if h.runs > 1 {
		return fmt.Sprint(who, "/", h.runs)
	}
	return who
}

// specs are new tasks.
func (c *clients) specs() []morningai.TaskSpec {
	n := 1
	if chance(c.random, 0.15) {
		n = 2 + c.random.IntN(3)
	}
	out := make([]morningai.TaskSpec, n)
	durability := []morningai.Durability{"", "", "", morningai.DurabilityBoth, morningai.DurabilityJournal, morningai.DurabilityRedis}[c.random.IntN(6)]
	for i := range out {
		s := morningai.NewTaskSpec("work", json.RawMessage(fmt.Sprintf(`{"n":%d}`, c.made)))
		id := c.w.newID(c.random)
		if chance(c.random, 0.5) {
			s.SetFreshID(id)
		} else {
			s.ID = id
		}
		if chance(c.random, 0.15) {
			s.Type = "rare"
		}
		s.Queue = queues[c.random.IntN(len(queues))]
		s.Priority = c.random.IntN(3)
		s.MaxAttempts = 1 + c.random.IntN(4)
		s.Durability = durability
		if chance(c.random, 0.2) {
			s.UniqueKey = fmt.Sprint("key", c.random.IntN(3))
		}
		if chance(c.random, 0.1) {
			s.RunAt = c.w.wall().Add(between(c.random, 0, 8*time.Second))
		}
		if chance(c.random, 0.15) {
			s.DuringOutage = morningai.OutageHold
		}
		out[i] = s
		c.w.names[id] = fmt.Sprint("t", c.made)
		c.made++
	}
	return out
}

// enqueue asks for tasks, and asks again if the answer leaves it open.
func (c *clients) enqueue(h *host, who string, specs []morningai.TaskSpec) {
	asks := who
	who = h.reader(who)
	calls := make([]drill.Call, len(specs))
	for i := range specs {
		if err := specs[i].Normalize(); err != nil {
			panic(err) // clients ask for nothing wrong
		}
		s := &specs[i]
		c.asked = append(c.asked, *s)
		if c.homes[s.ID] == nil {
			c.homes[s.ID] = h
		}
		calls[i] = c.w.hist.Begin(drill.Op{Node: h.name, Client: who, Kind: drill.Enqueue, Task: s.ID, Payload: drill.DigestOf(s.Payload), Queue: s.Queue, Key: s.UniqueKey})
		c.w.trace(who, "asks %s for %v queue %s key %q durability %q %s", h.name, s.ID, s.Queue, s.UniqueKey, s.Durability, s.DuringOutage)
	}
	h.event(func() {
		h.node.Enqueue(specs, func(receipts []morningai.Receipt, err error) {
			var again []morningai.TaskSpec
			for i := range specs {
				r := morningai.Receipt{Err: err}
				if err == nil {
					r = receipts[i]
				}
				calls[i].Return(func(op *drill.Op) { op.Receive(&r) })
				c.w.trace(who, "is answered for %v: %s v%d durable %s runs %s duplicate %v%s", specs[i].ID, r.Task.State, r.Task.Version, r.Task.Durable, r.Task.Runs, r.Task.Duplicate, failure(r.Err))
				if out, _ := drill.Judge(r.Err); out == drill.Unknown {
					again = append(again, given(&specs[i]))
				}
			}
			if len(again) > 0 && c.w.now < c.until+10*time.Second {
				c.w.after(between(c.random, 50*time.Millisecond, 3*time.Second), func() {
					if h.up {
						c.enqueue(h, asks, again)
					}
				})
			}
		})
	})
}

// repeat asks for a known task again, as it was asked for or with another
// payload: mostly where it was asked for first, since nodes that are cut off
// from each other cannot know that it is the same.
func (c *clients) repeat(who string) {
	if len(c.asked) == 0 {
		return
	}
	s := c.asked[c.random.IntN(len(c.asked))]
	h := c.homes[s.ID]
	if chance(c.random, 0.1) {
		h = c.any()
	}
	if h == nil || !h.up {
		return
	}
	again := given(&s)
	if chance(c.random, 0.25) {
		again.Payload = json.RawMessage(`{"other":true}`)
	}
	c.enqueue(h, who, []morningai.TaskSpec{again})
}

// given is the same request once more, with the id that it has now.
func given(s *morningai.TaskSpec) morningai.TaskSpec {
	out := morningai.NewTaskSpec(s.Type, s.Payload)
	out.ID, out.Queue, out.Priority, out.MaxAttempts, out.UniqueKey, out.RunAt = s.ID, s.Queue, s.Priority, s.MaxAttempts, s.UniqueKey, s.RunAt
	out.Durability, out.DuringOutage, out.Exclusive = s.Durability, s.DuringOutage, s.Exclusive
	return out
}

// known is a task that somebody has asked for; mostly one of the last.
func (c *clients) known() (morningai.ID, bool) {
	if len(c.asked) == 0 {
		return morningai.ID{}, false
	}
	back := int(c.random.ExpFloat64() * 4)
	return c.asked[max(0, len(c.asked)-1-back)].ID, true
}

func (c *clients) read(h *host, who string) {
	if id, ok := c.known(); ok {
		c.readOne(h, who, id)
	}
}

func (c *clients) readOne(h *host, who string, id morningai.ID) {
	call := c.w.hist.Begin(drill.Op{Node: h.name, Client: who, Kind: drill.Read, Task: id})
	h.event(func() {
		h.node.Get(morningai.GetRequest{IDs: []morningai.ID{id}, Lingering: true}, false, func(tasks []morningai.Task, err error) {
			call.Return(func(op *drill.Op) {
				switch {
				case err != nil:
					op.Outcome, op.Code = drill.Judge(err)
				case tasks[0].ID.IsZero():
					op.Outcome, op.Code = drill.Fail, morningai.CodeNotFound
				default:
					op.Show(&tasks[0])
				}
			})
			if err != nil || tasks[0].ID.IsZero() {
				c.w.trace(who, "reads %v on %s: not there%s", id, h.name, failure(err))
			} else {
				t := &tasks[0]
				c.w.trace(who, "reads %v on %s: %s life %d v%d attempt %d %s", id, h.name, t.State, t.Life, t.Version, t.Attempt, t.Fresh)
			}
		})
	})
}

// watch reads a task again and again on the node that has just finished it on its
// own: what it says of the end must hold when the shared engine has decided.
func (c *clients) watch(h *host, id morningai.ID) {
	if !chance(c.watching, 0.5) {
		return
	}
	for _, most := range []time.Duration{50 * time.Millisecond, time.Second, 4 * time.Second, 10 * time.Second, 20 * time.Second} {
		h.later(between(c.watching, most/5, most), func() { c.readOne(h, h.reader("watcher"), id) })
	}
}

// list asks for all tasks of a queue. A few tasks are looked for in the answer.
func (c *clients) list(h *host, who string) {
	filter := morningai.Filter{Limit: 1000}
	if chance(c.random, 0.5) {
		filter.Queue = queues[c.random.IntN(len(queues))]
	}
	call := c.w.hist.Begin(drill.Op{Node: h.name, Client: who, Kind: drill.List, Queue: filter.Queue})
	looked := map[morningai.ID]drill.Call{}
	for range 3 {
		if id, ok := c.known(); ok && looked[id] == (drill.Call{}) {
			looked[id] = c.w.hist.Begin(drill.Op{Node: h.name, Client: who, Kind: drill.Read, Task: id})
		}
	}
	h.event(func() {
		h.node.List(filter, func(page morningai.Page, err error) {
			call.Return(func(op *drill.Op) {
				op.Outcome, op.Code = drill.Judge(err)
				op.Count, op.Fresh = int64(len(page.Tasks)), page.Fresh
			})
			c.w.trace(who, "lists %q on %s: %d tasks %s%s", filter.Queue, h.name, len(page.Tasks), page.Fresh, failure(err))
			for i := range page.Tasks {
				if look, ok := looked[page.Tasks[i].ID]; ok {
					look.Return(func(op *drill.Op) { op.Show(&page.Tasks[i]) })
				}
			}
		})
	})
}

var commandOps = map[morningai.CommandKind]drill.Kind{
	morningai.CommandCancel: drill.Cancel, morningai.CommandRetry: drill.Retry, morningai.CommandRun: drill.Run, morningai.CommandDelete: drill.Delete,
}

func (c *clients) command(h *host, who string) {
	id, ok := c.known()
	if !ok {
		return
	}
	kinds := []morningai.CommandKind{morningai.CommandCancel, morningai.CommandCancel, morningai.CommandRetry, morningai.CommandRetry, morningai.CommandRun, morningai.CommandDelete}
	c.order(h, who, morningai.Command{Kind: kinds[c.random.IntN(len(kinds))], ID: id})
}

func (c *clients) order(h *host, who string, cmd morningai.Command) {
	id := cmd.ID
	call := c.w.hist.Begin(drill.Op{Node: h.name, Client: who, Kind: commandOps[cmd.Kind], Task: id})
	c.w.trace(who, "orders %s to %s %v", h.name, cmd.Kind, id)
	h.event(func() {
		h.node.Command([]morningai.Command{cmd}, func(results []morningai.CommandResult, err error) {
			var t morningai.Task
			if err == nil {
				t, err = results[0].Task, results[0].Err
			}
			call.Return(func(op *drill.Op) {
				if op.Outcome, op.Code = drill.Judge(err); err == nil {
					op.Show(&t)
					op.Pending = t.Pending
				}
			})
			c.w.trace(who, "is answered to %s %v: %s life %d v%d pending %v%s", cmd.Kind, id, t.State, t.Life, t.Version, t.Pending, failure(err))
		})
	})
}

func (c *clients) setQueue(h *host, who string) {
	queue := queues[c.random.IntN(len(queues))]
	op := drill.Op{Node: h.name, Client: who, Queue: queue}
	var change morningai.QueueChange
	switch c.random.IntN(5) {
	case 0, 1:
		op.Kind, change.Paused = drill.Pause, new(true)
	case 2, 3:
		op.Kind, change.Paused = drill.Resume, new(false)
	default:
		n := 1 + c.random.IntN(4)
		op.Kind, op.Key, op.Value, change.Concurrency = drill.Set, "concurrency", fmt.Sprint(n), &n
	}
	call := c.w.hist.Begin(op)
	h.event(func() {
		h.node.SetQueue(queue, change, func(config morningai.QueueConfig, err error) {
			call.Return(func(op *drill.Op) { op.Outcome, op.Code = drill.Judge(err); op.Pending = config.Pending })
			c.w.trace(who, "sets %s of %s on %s: pending %v%s", op.Kind, queue, h.name, config.Pending, failure(err))
		})
	})
}

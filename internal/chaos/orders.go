package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// orders are scenarios in which more is asked of the servers than to run tasks.
func orders() []scenario {
	var c commands
	var k keys
	var e exclusives
	return []scenario{
		{name: "commands", what: "tasks are canceled, retried, run and removed while Redis is away", play: c.play, after: c.after},
		{name: "pauses", what: "queues are paused while Redis is away", play: playPauses, after: afterPauses},
		{name: "unique-keys", what: "two servers give one unique key away while Redis is away", play: k.play, after: k.after},
		{name: "exclusive", what: "a server that runs exclusive tasks is cut off for longer than its lease", proxied: true, play: e.play, after: e.after},
	}
}

// work is a task that the callee counts, which lasts so long.
func (f *fleet) work(lasts time.Duration) morningai.TaskSpec {
	return morningai.NewTaskSpec("http", fmt.Appendf(nil, `{"url":"%s?ms=%d"}`, f.callee.url, lasts.Milliseconds()))
}

// special enqueues a task that counting passes over: it need not succeed.
func (f *fleet) special(n *node, spec morningai.TaskSpec) (morningai.ID, error) {
	id, err := f.ask(n, spec)
	if err != nil {
		return id, fmt.Errorf("a task is not accepted by server %s: %w", n.name, err)
	}
	f.odd[id] = true
	return id, nil
}

// order gives a command for a task and records it.
func (f *fleet) order(ctx context.Context, n *node, kind drill.Kind, id morningai.ID) (*morningai.Task, error) {
	c := n.client.Load()
	call := f.history.Begin(drill.Op{Kind: kind, Node: n.name, Client: "operator", Task: id})
	task, err := map[drill.Kind]func(context.Context, morningai.ID) (*morningai.Task, error){
		drill.Cancel: c.Cancel, drill.Retry: c.Retry, drill.Run: c.RunNow, drill.Delete: c.Delete}[kind](ctx, id)
	call.Return(func(o *drill.Op) {
		if o.Outcome, o.Code = drill.Judge(err); err == nil {
			o.Show(task)
			o.Pending = task.Pending
		}
	})
	return task, err
}

// becomes waits until a server shows a task in a state.
func (f *fleet) becomes(ctx context.Context, n *node, id morningai.ID, state morningai.State) error {
	return until(ctx, fmt.Sprintf("task %s to be %s on server %s", id, state, n.name), func() (bool, error) {
		task, err := n.client.Load().Get(ctx, id)
		return err == nil && task.State == state, ctx.Err()
	})
}

// degraded waits until all servers work on their own.
func (f *fleet) degraded(ctx context.Context) error {
	for _, n := range f.nodes {
		if err := until(ctx, "server "+n.name+" to notice the outage", func() (bool, error) {
			h, err := n.client.Load().Health(ctx)
			return err == nil && h.Status == "degraded", ctx.Err()
		}); err != nil {
			return err
		}
	}
	return nil
}

// state waits until every server says of a task what it has to, and notes where that
// does not come about. At first it may be unknown: another server may have it.
func (f *fleet) state(ctx context.Context, id morningai.ID, name string, want morningai.State) error {
	for _, n := range f.nodes {
		var task *morningai.Task
		var said error
		err := until(ctx, name+" to end", func() (bool, error) {
			task, said = n.client.Load().Get(ctx, id)
			return want == "" && errors.Is(said, morningai.ErrNotFound) || said == nil && task.State == want, nil
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && said != nil:
			f.broke("%s is not %q on server %s: %v", name, want, n.name, said)
		case err != nil:
			f.broke("%s is %s on server %s, and not %q (%v)", name, task.State, n.name, want, task.Error)
		}
	}
	return nil
}

// commands are orders for tasks that Redis has, and for one that it has not.
type commands struct {
	waits, never, later, gone, failed, runs, held morningai.ID
}

func (c *commands) play(ctx context.Context, f *fleet) error {
	a, b := f.nodes[0], f.nodes[1]
	future := f.work(0)
	future.RunAt = time.Now().Add(time.Hour)
	fails := morningai.NewTaskSpec("flaky", []byte(`{"fail_times":1}`))
	fails.MaxAttempts = 1
	for _, one := range []struct {
		id   *morningai.ID
		on   *node
		spec morningai.TaskSpec
	}{{&c.waits, a, future}, {&c.never, b, future}, {&c.later, a, future}, {&c.gone, a, future}, {&c.failed, a, fails}, {&c.runs, b, f.work(time.Hour)}} {
		var err error
		if *one.id, err = f.special(one.on, one.spec); err != nil {
			return err
		}
	}
	if err := errors.Join(f.becomes(ctx, a, c.failed, morningai.StateFailed), f.becomes(ctx, b, c.runs, morningai.StateRunning)); err != nil {
		return err
	}
	f.from = time.Now()
	return f.away(ctx, freeze, thaw, func() error {
		if err := f.degraded(ctx); err != nil {
			return err
		}
		for _, o := range []struct {
			kind drill.Kind
			on   *node
			id   morningai.ID
			what string
		}{
			{drill.Cancel, a, c.waits, "the cancel of a scheduled task"}, {drill.Cancel, b, c.never, "the cancel of a scheduled task"},
			{drill.Run, a, c.later, "the order to run a scheduled task"}, {drill.Retry, a, c.failed, "the retry of a failed task"},
			{drill.Delete, a, c.gone, "the removal of a scheduled task"}, {drill.Cancel, b, c.runs, "the cancel of a running task"},
		} {
			task, err := f.order(ctx, o.on, o.kind, o.id)
			if err != nil || !task.Pending {
				f.broke("%s is not acknowledged as pending by the server that accepted it: %v", o.what, err)
			}
		}
		spec := f.work(0)
		spec.DuringOutage = morningai.OutageHold
		var err error
		if c.held, err = f.special(a, spec); err != nil {
			return err
		}
		task, err := f.order(ctx, a, drill.Cancel, c.held)
		if err != nil || task.Pending || task.State != morningai.StateCanceled {
			f.broke("the cancel of a task that only its server knows does not happen at once: it is %s, pending %v, %v", task.State, task.Pending, err)
		}
		unknown, err := morningai.NewID()
		if err != nil {
			return err
		}
		if _, err := b.client.Load().Cancel(ctx, unknown); morningai.CodeOf(err) != morningai.CodeStatusUnknown {
			f.broke("the cancel of an id that nobody knows is answered with %v, and not with status_unknown", err)
		}
		return nil
	})
}

func (c *commands) after(ctx context.Context, f *fleet) error {
	var errs []error
	for _, t := range []struct {
		id   morningai.ID
		name string
		want morningai.State
	}{
		{c.waits, "a task that was canceled", morningai.StateCanceled}, {c.never, "a task that was canceled", morningai.StateCanceled},
		{c.later, "a task that was told to run", morningai.StateSucceeded}, {c.gone, "a task that was removed", ""},
		{c.failed, "a task that was retried", morningai.StateSucceeded}, {c.runs, "a task that was canceled while it ran", morningai.StateCanceled},
		{c.held, "a task that was canceled before Redis knew it", morningai.StateCanceled},
	} {
		errs = append(errs, f.state(ctx, t.id, t.name, t.want))
	}
	for _, id := range []morningai.ID{c.waits, c.never, c.gone, c.held} {
		if f.callee.ran(id) > 0 {
			f.broke("task %s ran although it was canceled or removed", id)
		}
	}
	if n := f.callee.ran(c.later); n != 1 {
		f.broke("a task that was told to run has run %d times", n)
	}
	return errors.Join(errs...)
}

// pausedBefore and pausedInside are queues.
const (
	pausedBefore = "paused-before"
	pausedInside = "paused-inside"
)

// pause stops a queue, or lets it go on.
func (f *fleet) pause(ctx context.Context, n *node, queue string, stop bool) (morningai.QueueInfo, error) {
	kind := drill.Pause
	if !stop {
		kind = drill.Resume
	}
	call := f.history.Begin(drill.Op{Kind: kind, Node: n.name, Client: "operator", Queue: queue})
	q, err := n.client.Load().SetQueue(ctx, queue, morningai.QueueChange{Paused: &stop})
	call.Return(func(o *drill.Op) {
		o.Outcome, o.Code = drill.Judge(err)
		o.Pending = q.Pending
	})
	return q, err
}

// playPauses pauses a queue before the outage and another one in it, and gives both
// a task.
func playPauses(ctx context.Context, f *fleet) error {
	a, b := f.nodes[0], f.nodes[1]
	// On a busy machine there may be an outage already, and what is paused in one holds
	// on the server that was told alone.
	if err := until(ctx, "a pause to be in Redis", func() (bool, error) {
		q, err := f.pause(ctx, a, pausedBefore, true)
		return err == nil && !q.Pending, err
	}); err != nil {
		return err
	}
	for _, n := range f.nodes {
		if err := until(ctx, "server "+n.name+" to be in contact", func() (bool, error) {
			h, err := n.client.Load().Health(ctx)
			return err == nil && h.Status == "ok", ctx.Err()
		}); err != nil {
			return err
		}
	}
	// Servers ask every few seconds what others have set.
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	f.from = time.Now()
	return f.away(ctx, freeze, thaw, func() error {
		if err := f.degraded(ctx); err != nil {
			return err
		}
		if q, err := f.pause(ctx, b, pausedInside, true); err != nil || !q.Pending {
			f.broke("a pause in an outage is not acknowledged as pending: %v", err)
		}
		for _, queue := range []string{pausedBefore, pausedInside} {
			spec := f.work(0)
			spec.Queue = queue
			if _, err := f.special(b, spec); err != nil {
				return err
			}
		}
		return nil
	})
}

func afterPauses(ctx context.Context, f *fleet) error {
	for _, n := range f.nodes {
		for _, queue := range []string{pausedBefore, pausedInside} {
			if q, err := n.client.Load().Queue(ctx, queue); err != nil || !q.Paused || q.Counts[morningai.StateQueued] != 1 {
				f.broke("queue %s is paused on server %s: %v, and has %d tasks that wait, not 1 (%v)", queue, n.name, q.Paused, q.Counts[morningai.StateQueued], err)
			}
		}
	}
	for id := range f.odd {
		if f.callee.ran(id) > 0 {
			f.broke("task %s ran although its queue is paused", id)
		}
	}
	return nil
}

// keys is one unique key, given away twice.
type keys struct{ first, second morningai.ID }

func (k *keys) play(ctx context.Context, f *fleet) error {
	a, b := f.nodes[0], f.nodes[1]
	spec := f.work(0)
	spec.UniqueKey, spec.DuringOutage = "drill", morningai.OutageHold
	return f.away(ctx, freeze, thaw, func() (err error) {
		if err = f.degraded(ctx); err != nil {
			return err
		}
		if k.first, err = f.special(a, spec); err != nil {
			return err
		}
		task, err := a.client.Load().Enqueue(ctx, spec)
		if err != nil || !task.Duplicate || task.ID != k.first {
			f.broke("a unique key that a task of the same server holds is given away: %v", err)
		}
		k.second, err = f.special(b, spec)
		return err
	})
}

func (k *keys) after(ctx context.Context, f *fleet) error {
	err := errors.Join(f.state(ctx, k.first, "the first task with a unique key", morningai.StateSucceeded),
		f.state(ctx, k.second, "the second task with a unique key", morningai.StateCanceled))
	task, err2 := f.nodes[2].client.Load().Get(ctx, k.second)
	if err2 == nil && (task.Error == nil || task.Error.Code != morningai.ErrorCodeSuperseded) {
		f.broke("the second task with a unique key does not say that it was superseded, but %v", task.Error)
	}
	if first, second := f.callee.ran(k.first), f.callee.ran(k.second); first != 1 || second != 0 {
		f.broke("of two tasks with one unique key the first ran %d times and the second %d times", first, second)
	}
	return errors.Join(err, err2)
}

// exclusives are tasks of which no two runs may be under way at once.
type exclusives struct{ ids []morningai.ID }

func (e *exclusives) play(ctx context.Context, f *fleet) error {
	spec := f.work(lease + f.config.Duration) // still runs when the lease is over
	spec.Exclusive = true
	for range 30 {
		id, err := f.ask(f.some(), spec)
		if err != nil {
			return err
		}
		e.ids = append(e.ids, id)
	}
	if err := until(ctx, "exclusive tasks to run", func() (bool, error) {
		for _, id := range e.ids {
			if now, _ := f.callee.running(id); now == 0 {
				return false, nil
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	f.from = time.Now()
	return cutOff(ctx, f)
}

func (e *exclusives) after(_ context.Context, f *fleet) error {
	again := 0
	for _, id := range e.ids {
		if f.callee.ran(id) > 1 {
			again++
		}
		if _, both := f.callee.running(id); both {
			f.broke("task %s is exclusive, and two of its runs were under way at once", id)
		}
	}
	if again == 0 {
		f.broke("no exclusive task was stopped and run by another server")
	}
	return nil
}

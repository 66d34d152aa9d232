package enginetest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/RC918/morningai"
)

func readMutants(add adder) {
	add("counts drift", func(e *Reference, t *twisted) {
		var drift int64
		t.command = func(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
			got, err := e.Command(ctx, cmds)
			for i := range got {
				if got[i].Err == nil && cmds[i].Kind == morningai.CommandDelete {
					drift++
				}
			}
			return got, err
		}
		t.stats = func(ctx context.Context) (morningai.Stats, error) {
			s, err := e.Stats(ctx)
			if err == nil {
				s.States[morningai.StateQueued] += drift
			}
			return s, err
		}
	}, "Stats/counts equal a scan through random operations", "Command/delete when queued", model)
	add("import moves tasks backwards", func(e *Reference, t *twisted) {
		t.imports = func(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
			for _, r := range records {
				e.mu.Lock()
				if had := e.tasks[r.Task.ID]; had != nil && !had.Task.State.Terminal() && !had.Deleted && r.Task.Life == had.Task.Life {
					delete(e.tasks, r.Task.ID)
				}
				e.mu.Unlock()
			}
			return e.Import(ctx, records)
		}
	}, "Merge/no order of import moves a task backwards", "Merge/every order of import leads to the same state", model)
	add("an import revives the deleted", func(e *Reference, t *twisted) {
		t.imports = func(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
			records = slices.Clone(records)
			for i := range records {
				records[i].Deleted = false
			}
			return e.Import(ctx, records)
		}
	}, "Transfer/a round trip keeps steps, logs, attempts, tombstones and keys", "Merge/a delete goes over every end, a new life over both")
	add("deleted ids are forgotten", func(e *Reference, t *twisted) {
		t.command = func(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
			got, err := e.Command(ctx, cmds)
			e.mu.Lock()
			defer e.mu.Unlock()
			for i := range got {
				if got[i].Err == nil && cmds[i].Kind == morningai.CommandDelete {
					delete(e.tasks, cmds[i].ID)
				}
			}
			return got, err
		}
	}, "Command/a deleted task is gone from everywhere, its id stays taken", "Command/delete when scheduled", model)
	add("a version does not make a command conditional", func(e *Reference, t *twisted) {
		t.command = func(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
			cmds = slices.Clone(cmds)
			for i := range cmds {
				cmds[i].Version = 0
			}
			return e.Command(ctx, cmds)
		}
	}, "Command/a version makes a command conditional")
	add("reads lag behind writes", func(e *Reference, t *twisted) {
		var mu sync.Mutex
		last := map[morningai.ID]morningai.Task{}
		t.get = func(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
			got, err := e.Get(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			for i := range got {
				got[i], last[req.IDs[i]] = last[req.IDs[i]], got[i]
			}
			return got, err
		}
	}, "Read/a read after an acknowledged write sees it", model, stormy)
	add("a page of a list drops its last task", func(e *Reference, t *twisted) {
		t.list = func(ctx context.Context, f morningai.Filter) (morningai.Page, error) {
			page, err := e.List(ctx, f)
			if page.Next != "" && len(page.Tasks) > 1 {
				page.Tasks = page.Tasks[:len(page.Tasks)-1]
			}
			return page, err
		}
	}, "List/pages are complete and without repeats", "List/pages are complete and without repeats while tasks come and change")
	add("events are dropped", func(e *Reference, t *twisted) {
		t.events = func(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
			page, err := e.Events(ctx, req)
			if len(page.Events) > 3 {
				page.Events = slices.Delete(page.Events, 1, 2)
			}
			return page, err
		}
	}, "Events/what happens to a task is told in order", "Events/any event's cursor resumes after it")
	add("queue settings are forgotten", func(e *Reference, t *twisted) {
		t.close = func() error {
			err := e.Close()
			e.mu.Lock()
			defer e.mu.Unlock()
			clear(e.lines)
			for _, task := range e.tasks {
				e.line(task.Task.Queue)
			}
			return err
		}
	}, "SetQueue/settings survive a reopen", "Limits/limits hold after a reopen")
	add("a cancelled context is not looked at", func(e *Reference, t *twisted) {
		t.stats = func(context.Context) (morningai.Stats, error) { return e.Stats(context.Background()) }
	}, "Lifecycle/a cancelled context is the answer of every method, and harms nothing")
	add("close does not end a wait", func(e *Reference, t *twisted) {
		t.claim = func(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
			reply, err := e.Claim(ctx, req)
			if errors.Is(err, morningai.ErrClosed) && req.Wait > 0 {
				<-ctx.Done()
				err = ctx.Err()
			}
			return reply, err
		}
	}, "Wait/closing ends the wait", "Lifecycle/after close every method says so")
}

package enginetest

import (
	"fmt"
	"slices"

	"github.com/RC918/morningai"
)

func listChecks() []check {
	return []check{
		{"newest first", listNewestFirst},
		{"pages are complete and without repeats", listPages},
		{"pages are complete and without repeats while tasks come and change", listMoving},
		{"each filter selects, alone and together", listFilters},
		{"retrying selects the scheduled that failed before", listRetrying},
		{"a malformed cursor, state or limit is refused", listRefused},
		{"the order survives a reopen", listReopened},
		{"a trace is found whatever lies between", listTrace},
	}
}

func reversed(ids []morningai.ID) []morningai.ID {
	out := slices.Clone(ids)
	slices.Reverse(out)
	return out
}

func listNewestFirst(r *rig) {
	specs := r.specs(60, func(i int, s *morningai.TaskSpec) { s.Priority = i % 10 })
	for part := range slices.Chunk(specs, 7) {
		r.enqueue(part...)
	}
	want := reversed(specIDs(specs))
	page, err := r.eng.List(r.ctx, morningai.Filter{})
	r.noError(err, "list")
	r.want(slices.Equal(taskIDs(page.Tasks), want[:50]), "without a limit a page has %d tasks, or another order", len(page.Tasks))
	r.want(page.Fresh == morningai.FreshLive && !page.AsOf.IsZero() && page.Next != "", "the page says %q, %v, next %q", page.Fresh, page.AsOf, page.Next)
	r.want(slices.Equal(taskIDs(r.listAll(morningai.Filter{})), want), "the pages have another order")
	// The order is that of acceptance, whatever becomes of the tasks.
	g := r.claim(r.join(), 20)
	r.finish(report(g[3], morningai.OutcomeSucceeded), report(g[7], morningai.OutcomeRetry))
	r.want(slices.Equal(taskIDs(r.listAll(morningai.Filter{})), want), "what becomes of tasks changes their order")
}

func listPages(r *rig) {
	want := reversed(taskIDs(r.enqueue(r.specs(41)...)))
	for _, limit := range []int{1, 7, 40, 41, 42, 1000} {
		var got []morningai.ID
		filter := morningai.Filter{Limit: limit}
		for {
			page, err := r.eng.List(r.ctx, filter)
			r.noError(err, "list")
			r.want(len(page.Tasks) <= limit, "a page of %d has %d tasks", limit, len(page.Tasks))
			got = append(got, taskIDs(page.Tasks)...)
			if page.Next == "" {
				break
			}
			filter.Cursor = page.Next
		}
		r.want(slices.Equal(got, want), "pages of %d: %d tasks, want %d", limit, len(got), len(want))
	}
}

func listMoving(r *rig) {
	there := taskIDs(r.enqueue(r.specs(120)...))
	session := r.join()
	// One round of changes for each page read, at the same time as the read:
	// how much happens does not depend on who is fast.
	page, over := make(chan struct{}), make(chan struct{})
	r.together(3, func(i int) error {
		switch i {
		case 0:
			defer close(over)
			return r.readMoving(there, page)
		case 1:
			return each(page, over, func(n int) error {
				_, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{spec(n)})
				return err
			})
		}
		return each(page, over, func(int) error {
			reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 3})
			if err != nil {
				return err
			}
			var done []morningai.Report
			for _, g := range reply.Grants {
				done = append(done, report(g, morningai.OutcomeReleased))
			}
			_, err = r.eng.Finish(r.ctx, done)
			return err
		})
	})
}

// each does something for every signal until the end. After an error it goes
// on taking signals, so that nobody waits for it.
func each(signal, over <-chan struct{}, do func(n int) error) error {
	var failed error
	for n := 0; ; n++ {
		select {
		case <-over:
			return failed
		case <-signal:
		}
		if failed == nil {
			failed = do(n)
		}
	}
}

// readMoving reads the whole list some times, and wants those tasks once each.
func (r *rig) readMoving(there []morningai.ID, page chan<- struct{}) error {
	for range 4 {
		seen := map[morningai.ID]int{}
		for f := (morningai.Filter{Limit: 9}); ; {
			page <- struct{}{}
			got, err := r.eng.List(r.ctx, f)
			if err != nil {
				return err
			}
			for _, t := range got.Tasks {
				seen[t.ID]++
			}
			if got.Next == "" {
				break
			}
			f.Cursor = got.Next
		}
		for _, id := range there {
			if seen[id] != 1 {
				return fmt.Errorf("a task that was there all the time is listed %d times", seen[id])
			}
		}
		for id, n := range seen {
			if n != 1 {
				return fmt.Errorf("task %s is listed %d times", id, n)
			}
		}
	}
	return nil
}

func listFilters(r *rig) {
	trace := r.id()
	queues, types := []string{"a", "b"}, []string{"work", "play", "rest"}
	specs := r.specs(48, func(i int, s *morningai.TaskSpec) {
		s.Queue, s.Type = queues[i%2], types[i%3]
		if i%4 == 0 {
			s.TraceID = trace
		}
		if i%8 == 3 {
			later(i, s)
		}
	})
	r.enqueue(specs...)
	g := r.claim(r.join(), 12)
	r.finish(report(g[0], morningai.OutcomeSucceeded), report(g[1], morningai.OutcomeSucceeded), report(g[2], morningai.OutcomeFailed),
		report(g[3], morningai.OutcomeCanceled), report(g[4], morningai.OutcomeRetry), report(g[5], morningai.OutcomeRetry))
	all := r.getAll(reversed(specIDs(specs))...)
	for _, state := range append(morningai.States(), "", morningai.StateRetrying) {
		for _, queue := range []string{"", "a", "b", "none"} {
			for _, typ := range []string{"", "work", "play"} {
				for _, id := range []morningai.ID{{}, trace} {
					f := morningai.Filter{State: state, Queue: queue, Type: typ, TraceID: id, Limit: 5}
					var want []morningai.ID
					for i := range all {
						if matches(&all[i], f) {
							want = append(want, all[i].ID)
						}
					}
					got := taskIDs(r.listAll(f))
					r.want(slices.Equal(got, want), "filter %+v selects %d tasks, want %d", f, len(got), len(want))
				}
			}
		}
	}
}

func listRetrying(r *rig) {
	r.enqueue(r.specs(1, later)...)
	r.enqueue(r.specs(3)...)
	session := r.join()
	g := r.claim(session, 3)
	r.finish(report(g[0], morningai.OutcomeRetry), report(g[1], morningai.OutcomeSnoozed), retryNow(g[2]))
	r.finish(report(r.claim(session, 1)[0], morningai.OutcomeSnoozed)) // snoozed, but failed before
	got := taskIDs(r.listAll(morningai.Filter{State: morningai.StateRetrying}))
	r.want(slices.Equal(got, []morningai.ID{g[2].Task.ID, g[0].Task.ID}), "retrying are %v", got)
	for _, t := range r.listAll(morningai.Filter{State: morningai.StateRetrying}) {
		r.want(t.State == morningai.StateScheduled, "a task carries the state %s", t.State)
	}
	r.want(len(r.listAll(morningai.Filter{State: morningai.StateScheduled})) == 4, "scheduled lacks those that failed before")
	r.want(r.queue(morningai.DefaultQueue).Counts[morningai.StateRetrying] == 2, "counts %v", r.queue(morningai.DefaultQueue).Counts)
}

func listRefused(r *rig) {
	r.enqueue(r.specs(3)...)
	page, err := r.eng.List(r.ctx, morningai.Filter{Limit: 1})
	r.noError(err, "list")
	for _, f := range []morningai.Filter{
		{Cursor: "nonsense"}, {Cursor: page.Next + "!"}, {Cursor: "\x00"}, {Cursor: "-"},
		{State: "bogus"}, {Limit: -1}, {Limit: 1001},
	} {
		_, err := r.eng.List(r.ctx, f)
		r.wantError(err, morningai.ErrInvalidInput, "filter %+v", f)
	}
}

func listReopened(r *rig) {
	specs := r.specs(30)
	for part := range slices.Chunk(specs, 4) {
		r.enqueue(part...)
	}
	first, err := r.eng.List(r.ctx, morningai.Filter{Limit: 10})
	r.noError(err, "list")
	r.reopen()
	r.enqueue(spec(99))
	rest := r.listAll(morningai.Filter{Limit: 7, Cursor: first.Next})
	got := append(taskIDs(first.Tasks), taskIDs(rest)...)
	r.want(slices.Equal(got, reversed(specIDs(specs))), "a cursor taken before a reopen continues otherwise")
}

func listTrace(r *rig) {
	trace := r.id()
	mine := func(_ int, s *morningai.TaskSpec) { s.TraceID = trace }
	want := taskIDs(r.enqueue(r.specs(2, mine)...))
	for range 3 {
		r.enqueue(r.specs(500)...)
	}
	want = append(want, taskIDs(r.enqueue(r.specs(1, mine)...))...)
	got := taskIDs(r.listAll(morningai.Filter{TraceID: trace, Limit: 2}))
	r.want(slices.Equal(got, reversed(want)), "the trace has %v, want %v", got, reversed(want))
}

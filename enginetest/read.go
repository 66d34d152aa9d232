package enginetest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
)

func readChecks() []check {
	return []check{
		{"get answers in the order asked, with a zero id where nothing is", readGet},
		{"a read after an acknowledged write sees it", readOwnWrites},
		{"history of an unknown task is not found", readHistoryUnknown},
		{"history of a task that never ran is empty", readHistoryEmpty},
		{"with retention 0 an ended task lingers for whoever waits", readLingering},
		{"a retention of its own keeps a task, over a reopen too", readRetention},
		{"versions never fall for a reader", readVersions},
	}
}

func readGet(r *rig) {
	ids := taskIDs(r.enqueue(r.specs(3)...))
	missing := r.id()
	asked := []morningai.ID{ids[2], missing, ids[0], ids[2], {}, ids[1]}
	for i, t := range r.getAll(asked...) {
		want := asked[i]
		if i == 1 || i == 4 {
			want = morningai.ID{}
		}
		r.want(t.ID == want, "place %d has %s, want %s", i, t.ID, want)
		r.want(t.ID.IsZero() || t.Fresh == morningai.FreshLive && !t.AsOf.IsZero(), "place %d: fresh %q as of %v", i, t.Fresh, t.AsOf)
		r.want(t.Durable == "" && t.Runs == "" && !t.Duplicate, "a read carries the marks of a receipt: %+v", t)
	}
	many := make([]morningai.ID, 2500)
	for i := range many {
		many[i] = ids[i%3]
	}
	r.want(slices.Equal(taskIDs(r.getAll(many...)), many), "a get of 2,500 ids is answered otherwise")
}

func readOwnWrites(r *rig) {
	session := r.join()
	r.together(6, func(i int) error {
		for n := range 15 {
			got, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{spec(n)})
			if err != nil {
				return err
			}
			id := got[0].Task.ID
			seen, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: []morningai.ID{id}})
			if err != nil || seen[0].ID != id {
				return fmt.Errorf("an accepted task is not there (%w)", err)
			}
			reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
			if err != nil {
				return err
			}
			for _, g := range reply.Grants {
				if _, err := r.eng.Finish(r.ctx, []morningai.Report{report(g, morningai.OutcomeSucceeded)}); err != nil {
					return err
				}
				seen, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: []morningai.ID{g.Task.ID}})
				if err != nil || seen[0].State != morningai.StateSucceeded {
					return fmt.Errorf("a finished task is %q (%w)", seen[0].State, err)
				}
			}
		}
		return nil
	})
	r.countsMatch()
}

func readHistoryUnknown(r *rig) {
	_, err := r.eng.History(r.ctx, r.id())
	r.wantError(err, morningai.ErrNotFound, "history of an unknown task")
}

func readHistoryEmpty(r *rig) {
	h := r.history(r.enqueue(r.specs(1)...)[0].ID)
	r.want(len(h.Attempts) == 0 && len(h.Logs) == 0, "history is %+v", h)
}

func readLingering(r *rig) {
	specs := r.specs(2, func(_ int, s *morningai.TaskSpec) { s.Retention = new(time.Duration(0)) })
	r.enqueue(specs...)
	r.want(len(r.getAll(specIDs(specs)...)) == 2 && !r.gone(specs[0].ID), "retention 0 hides a task that has not ended")
	g := r.claim(r.join(), 1)[0]
	r.finish(report(g, morningai.OutcomeSucceeded))
	r.command(morningai.CommandCancel, specs[1].ID)
	for i, state := range []morningai.State{morningai.StateSucceeded, morningai.StateCanceled} {
		r.want(r.gone(specs[i].ID), "with retention 0 the ended task is read")
		got, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: []morningai.ID{specs[i].ID}, Lingering: true})
		r.noError(err, "get of a lingering task")
		r.want(got[0].ID == specs[i].ID && got[0].State == state, "lingering: %+v", got[0])
		r.want(i > 0 || string(got[0].Result) == `{"done":true}`, "the result is %s", got[0].Result)
		again := r.tryEnqueue(specs[i])[0]
		r.want(again.Err == nil && again.Existing && again.Task.State == state, "a repeat of a lingering task is %+v", again)
	}
	r.want(len(r.listAll(morningai.Filter{})) == 0, "with retention 0 ended tasks are listed")
	r.want(len(r.ask(r.join(), 5).Grants) == 0, "a lingering task runs again")
}

func readRetention(r *rig) {
	specs := r.specs(2)
	specs[0].Retention = new(morningai.MaxRetention)
	r.enqueue(specs...)
	g := r.claim(r.join(), 2)
	r.finish(report(g[0], morningai.OutcomeSucceeded), report(g[1], morningai.OutcomeFailed))
	r.reopen()
	r.wantState(specs[0].ID, morningai.StateSucceeded)
	r.wantState(specs[1].ID, morningai.StateFailed)
	rec := r.exported(specs[0].ID)
	r.want(rec.Retention != nil && *rec.Retention == morningai.MaxRetention, "the record's retention is %v", rec.Retention)
	r.want(r.exported(specs[1].ID).Retention == nil, "a retention that nobody set")
}

func readVersions(r *rig) {
	session := r.join()
	id := r.enqueue(r.specs(1)...)[0].ID
	var over atomic.Bool
	r.together(4, func(i int) error {
		if i == 0 {
			defer over.Store(true)
			for range 25 {
				reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1})
				if err != nil || len(reply.Grants) != 1 {
					return fmt.Errorf("claim of a released task: %d grants (%w)", len(reply.Grants), err)
				}
				if _, err := r.eng.Finish(r.ctx, []morningai.Report{report(reply.Grants[0], morningai.OutcomeReleased)}); err != nil {
					return err
				}
			}
			return nil
		}
		for last := int64(0); !over.Load(); {
			var t morningai.Task
			if i == 1 {
				page, err := r.eng.List(r.ctx, morningai.Filter{})
				if err != nil || len(page.Tasks) != 1 {
					return fmt.Errorf("the list has %d tasks (%w)", len(page.Tasks), err)
				}
				t = page.Tasks[0]
			} else {
				got, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: []morningai.ID{id}})
				if err != nil {
					return err
				}
				t = got[0]
			}
			if t.Version < last {
				return fmt.Errorf("reader %d saw version %d after %d", i, t.Version, last)
			}
			last = t.Version
		}
		return nil
	})
}

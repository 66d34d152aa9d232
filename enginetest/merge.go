package enginetest

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

func mergeChecks() []check {
	return []check{
		{"no order of import moves a task backwards", mergeForwards},
		{"every order of import leads to the same state", mergeCommutes},
		{"the same record again changes nothing", mergeIdempotent},
		{"two ends of one life: the stored one stays and the other is repeated", mergeRepeated},
		{"no reader of either record sees a version fall", mergeVersions},
		{"a new life goes on with the claims of the one before", mergeClaims},
		{"a delete goes over every end, a new life over both", mergeDeleted},
		{"an import meets live traffic", mergeTraffic},
	}
}

// stages takes one task through two lives and returns its record after each
// step, oldest first. The last one has not ended and does not run.
func (r *rig) stages(key string) []morningai.Record {
	r.Helper()
	s := r.specs(1, later)[0]
	s.UniqueKey = key
	r.enqueue(s)
	var out []morningai.Record
	keep := func() { out = append(out, r.exported(s.ID)) }
	session := r.join()
	grant := func() morningai.Grant {
		r.Helper()
		g := r.claim(session, 1)[0]
		keep()
		return g
	}
	keep()
	r.command(morningai.CommandRun, s.ID)
	keep()
	g := grant()
	r.mark(step(g.Lease, "s", `1`))
	r.finish(report(g, morningai.OutcomeRetry))
	keep()
	r.command(morningai.CommandRetry, s.ID)
	keep()
	r.finish(report(grant(), morningai.OutcomeFailed))
	keep()
	r.command(morningai.CommandRetry, s.ID)
	keep()
	r.finish(report(grant(), morningai.OutcomeReleased))
	keep()
	r.finish(report(grant(), morningai.OutcomeSnoozed))
	keep()
	r.beat(morningai.BeatRequest{Session: session, Leaving: true})
	return out
}

func mergeForwards(r *rig) {
	stages := r.stages("k")
	id := stages[0].Task.ID
	for i := 1; i < len(stages); i++ {
		r.want(stages[i].Newer(&stages[i-1]), "stage %d is not newer than the one before:\n%s\n%s", i, flat(stages[i]), flat(stages[i-1]))
	}
	for seed := range uint64(6) {
		r.fresh()
		rnd := rand.New(rand.NewPCG(seed, 2))
		best := -1
		for n, i := range append(rnd.Perm(len(stages)), rnd.Perm(len(stages))...) {
			got := r.importAll(stages[i])[0]
			r.noError(got.Err, "import of stage %d", i)
			want := morningai.ImportKept
			if i > best {
				best, want = i, morningai.ImportUpdated
				if n == 0 {
					want = morningai.ImportAdded
				}
			}
			r.want(got.Status == want, "stage %d after stage %d is %s, want %s", i, best, got.Status, want)
			r.want(sameTask(got.Task, stages[best].Task), "after stages up to %d the task is %+v, want %+v", best, got.Task, stages[best].Task)
			r.sameRecords([]morningai.Record{r.exported(id)}, stages[best:best+1], "the stored record")
			held := stages[best].Task.State
			r.want(r.stats().States[held] == 1, "counts %v, the task is %s", r.stats().States, held)
		}
		r.countsMatch()
	}
}

func mergeCommutes(r *rig) {
	var records []morningai.Record
	for range 3 {
		records = append(records, r.stages("")...)
	}
	want := r.exportAll()
	for seed := range uint64(3) {
		r.fresh()
		rnd := rand.New(rand.NewPCG(seed, 7))
		rnd.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		for part := range slices.Chunk(records, 1+rnd.IntN(9)) {
			for _, res := range r.importAll(part...) {
				r.noError(res.Err, "import")
			}
		}
		r.sameRecords(r.exportAll(), want, "after another order of import")
		r.countsMatch()
	}
}

func mergeIdempotent(r *rig) {
	rec := queuedRecord(r.id())
	r.importAll(rec, rec, rec)
	before := r.get(rec.Task.ID)
	r.want(before.Version == rec.Task.Version, "an import changed the version from %d to %d", rec.Task.Version, before.Version)
	for range 2 {
		got := r.importAll(rec, rec)
		r.want(got[0].Status == morningai.ImportKept && got[1].Status == morningai.ImportKept, "the same record again is %s, %s", got[0].Status, got[1].Status)
		r.want(sameTask(r.get(rec.Task.ID), before), "the same record again changed the task")
	}
	r.claim(r.join(), 1)
	r.want(len(r.ask(r.join(), 1).Grants) == 0, "an import repeated made two tasks")
	r.want(r.importAll(rec)[0].Status == morningai.ImportKept, "an older record went over a running task")
	r.wantState(rec.Task.ID, morningai.StateRunning)
}

// end returns the record as it looks when a node has ended the task its way.
func end(rec morningai.Record, state morningai.State, lease int64) morningai.Record {
	rec.Claim, rec.Lease, rec.Node = rec.Claim+1, lease, "elsewhere"
	rec.Task.State, rec.Task.Attempt, rec.Task.Version = state, rec.Task.Attempt+1, rec.Task.Version+2
	rec.Task.FinishedAt = time.Now().UTC().Truncate(time.Millisecond)
	rec.Settled = map[morningai.State]morningai.Outcome{
		morningai.StateSucceeded: morningai.OutcomeSucceeded, morningai.StateFailed: morningai.OutcomeFailed, morningai.StateCanceled: morningai.OutcomeCanceled,
	}[state]
	if state == morningai.StateSucceeded {
		rec.Task.Result = json.RawMessage(`"elsewhere"`)
	} else {
		rec.Task.Error = &morningai.TaskError{Code: "elsewhere", Message: "ended there"}
	}
	return rec
}

func mergeRepeated(r *rig) {
	rec := queuedRecord(r.id())
	first, second := end(rec, morningai.StateSucceeded, 11), end(rec, morningai.StateFailed, 22)
	second.Claim += 5 // how far the claim has come does not matter between two ends
	for _, pair := range [][2]morningai.Record{{first, second}, {second, first}} {
		r.fresh()
		r.want(r.importAll(pair[0])[0].Status == morningai.ImportAdded, "the first end is not taken")
		for range 2 {
			got := r.importAll(pair[1])[0]
			r.want(got.Err == nil && got.Status == morningai.ImportRepeated, "the other end is %s (%v)", got.Status, got.Err)
			r.want(sameTask(got.Task, pair[0].Task), "the result shows %+v", got.Task)
		}
		r.want(r.importAll(pair[0])[0].Status == morningai.ImportKept, "the stored end again is not kept")
		r.wantState(rec.Task.ID, pair[0].Task.State)
		r.sameRecords(r.exportAll(), pair[:1], "the stored end")
		r.countsMatch()
	}
}

func mergeVersions(r *rig) {
	low := queuedRecord(r.id())
	high := low
	high.Claim, high.Settled, high.Lease = 2, morningai.OutcomeReleased, 5
	low.Task.Version, high.Task.Version = 9, 4
	r.importAll(low)
	got := r.importAll(high)[0]
	r.want(got.Status == morningai.ImportUpdated && got.Task.Version > 9, "a newer record with a lower version is %s, version %d", got.Status, got.Task.Version)
	low.Task.Version = got.Task.Version + 7
	for range 2 {
		kept := r.importAll(low)[0]
		r.want(kept.Status == morningai.ImportKept && kept.Task.Version == low.Task.Version+1, "an older record with version %d is %s, version %d",
			low.Task.Version, kept.Status, kept.Task.Version)
	}
	r.want(r.exported(low.Task.ID).Claim == 2, "the older record has gone over the newer one")
	r.countsMatch()
}

func mergeClaims(r *rig) {
	rec := queuedRecord(r.id())
	first := end(rec, morningai.StateSucceeded, 11)
	first.Claim = 6
	next := rec
	next.Task.Life, next.Task.Version = 2, 12
	r.importAll(first)
	got := r.importAll(next)[0]
	r.want(got.Status == morningai.ImportUpdated && got.Task.State == morningai.StateQueued, "the next life is %s, %s", got.Status, got.Task.State)
	r.want(r.importAll(next)[0].Status == morningai.ImportKept, "the next life again is not kept")
	g := r.claim(r.join(), 1)[0]
	r.want(g.Lease.Claim > 6, "claim %d is handed out after claim 6", g.Lease.Claim)
}

func mergeDeleted(r *rig) {
	rec := queuedRecord(r.id())
	ended := end(rec, morningai.StateFailed, 11)
	tomb := ended
	tomb.Deleted = true
	tomb.Task.Version++
	for _, order := range [][]morningai.Record{{rec, ended, tomb}, {tomb, ended, rec}, {ended, tomb, rec}, {tomb}} {
		r.fresh()
		for _, one := range order {
			r.noError(r.importAll(one)[0].Err, "import")
		}
		r.want(r.gone(rec.Task.ID), "a deleted task is there")
		r.want(len(r.ask(r.join(), 1).Grants) == 0, "a deleted task is handed out")
		r.countsMatch()
		r.want(r.exported(rec.Task.ID).Deleted, "the tombstone is not exported")
	}
	life := rec
	life.Task.Life, life.Claim = 2, 1
	got := r.importAll(life)[0]
	r.want(got.Err == nil && got.Status == morningai.ImportUpdated, "a new life over a tombstone is %s (%v)", got.Status, got.Err)
	r.wantState(rec.Task.ID, morningai.StateQueued)
	r.claim(r.join(), 1)
}

func mergeTraffic(r *rig) {
	specs := r.specs(60)
	records := make([]morningai.Record, len(specs))
	for i, s := range specs {
		records[i] = queuedRecord(s.ID)
		records[i].Task.Payload = s.Payload
	}
	sessions := []morningai.SessionID{r.join(), r.join()}
	done := make([]map[morningai.ID]bool, len(sessions))
	r.together(4, func(i int) error {
		for n := range specs {
			switch {
			case i < 2: // work
				reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: sessions[i], Types: []string{"work"}, N: 2})
				if err != nil {
					return err
				}
				for _, g := range reply.Grants {
					got, err := r.eng.Finish(r.ctx, []morningai.Report{report(g, morningai.OutcomeSucceeded)})
					if err != nil {
						return err
					}
					if got[0].Err != nil {
						return got[0].Err
					}
					if done[i] == nil {
						done[i] = map[morningai.ID]bool{}
					}
					done[i][g.Task.ID] = true
				}
			case i == 2: // the same records again and again
				if _, err := r.eng.Import(r.ctx, records[:n+1]); err != nil {
					return err
				}
			default: // and the tasks from another side
				if _, err := r.eng.Enqueue(r.ctx, specs[len(specs)-1-n:len(specs)-n]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, g := range r.ask(sessions[0], 100).Grants {
		r.want(!done[0][g.Task.ID] && !done[1][g.Task.ID], "a finished task runs again after an import")
		r.finish(report(g, morningai.OutcomeSucceeded))
	}
	r.want(r.stats().States[morningai.StateSucceeded] == int64(len(specs)), "counts %v", r.stats().States)
	r.countsMatch()
}

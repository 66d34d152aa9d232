package enginetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

func withdrawChecks() []check {
	return []check{
		{"a withdrawn task is its exported record", withdrawWhole},
		{"the oldest go first, as many as asked for; what runs stays", withdrawOrder},
		{"a withdrawn task is unknown to every method", withdrawUnknown},
		{"its id and its unique key are free", withdrawFrees},
		{"a withdrawal survives a reopen", withdrawReopened},
		{"a withdrawn scheduled task does not come due", withdrawDue},
		{"a task with retention 0 that has ended is withdrawn too", withdrawRetention},
		{"retention of a withdrawn task does not touch the next of its id", timed(withdrawExpiry)},
		{"a note of the task's kind and id is replaced", withdrawReplaces},
		{"withdrawals and work at once share no task", withdrawRace},
		{"an enqueue and a withdrawal of one id at once agree", withdrawEnqueueRace},
	}
}

func canceledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (r *rig) withdraw(limit int) []morningai.Note {
	r.Helper()
	got, err := r.journal().Withdraw(r.ctx, kindA, limit)
	r.noError(err, "withdraw")
	r.want(len(got) <= limit, "at most %d were to be withdrawn, %d were", limit, len(got))
	return got
}

// withdrawAll withdraws until nothing is left and returns the records.
func (r *rig) withdrawAll(limit int) []morningai.Record {
	r.Helper()
	var out []morningai.Record
	for {
		got := r.withdraw(limit)
		if len(got) == 0 {
			return out
		}
		for _, n := range got {
			out = append(out, r.unpack(n))
		}
	}
}

func (r *rig) unpack(n morningai.Note) morningai.Record {
	r.Helper()
	rec, err := morningai.ParseRecord(n.Data)
	r.noError(err, "the note of a withdrawn task")
	r.want(n.Kind == kindA && n.Key == rec.Task.ID && n.Alt == rec.UniqueKey && n.Seq > 0, "the note is %v of the record %+v", n, rec)
	return rec
}

func recordIDs(records []morningai.Record) []morningai.ID {
	var out []morningai.ID
	for _, rec := range records {
		out = append(out, rec.Task.ID)
	}
	return out
}

func stays(rec morningai.Record) bool {
	return rec.Deleted || rec.Task.State == morningai.StateRunning
}

func withdrawWhole(r *rig) {
	specs := r.specs(1)
	specs[0].UniqueKey, specs[0].Metadata, specs[0].Retention = "k", map[string]string{"a": "1", "b": "2"}, new(time.Hour)
	specs[0].Fingerprint, specs[0].TraceID = "f", r.id()
	_, g := r.start(specs[0])
	r.mark(step(g.Lease, "s", `1.50`), step(g.Lease, "t", `null`), logLine(g.Lease, 1, "line"), logLine(g.Lease, 1, "other"), progress(g.Lease, `{"p": 1}`))
	failed := report(g, morningai.OutcomeRetry)
	failed.Stack = "stack"
	r.finish(failed)
	for seed := range uint64(3) {
		r.scramble(rand.New(rand.NewPCG(seed, 4)), 120)
	}
	before := r.exportAll()
	want := slices.DeleteFunc(slices.Clone(before), stays)
	left := slices.DeleteFunc(slices.Clone(before), func(rec morningai.Record) bool { return !stays(rec) })
	r.want(len(want) > 20 && len(left) > 5, "%d to withdraw and %d to stay are too few", len(want), len(left))
	got := r.withdrawAll(7)
	r.sameRecords(got, want, "withdrawn")
	nodes := map[morningai.ID]string{}
	for _, rec := range want {
		nodes[rec.Task.ID] = rec.Node
	}
	for _, rec := range got {
		r.want(rec.Node == nodes[rec.Task.ID], "its node is %q, want %q", rec.Node, nodes[rec.Task.ID])
	}
	i := slices.Index(recordIDs(got), specs[0].ID)
	r.want(i >= 0 && len(got[i].Attempts) > 0 && len(got[i].Steps) == 2 && len(got[i].Logs) == 2, "the full record came as %+v", got)
	r.sameRecords(r.exportAll(), left, "what stays")
	r.countsMatch()
	r.reopen()
	var kept []morningai.Record
	for _, n := range r.allNotes(kindA) {
		kept = append(kept, r.unpack(n))
	}
	r.sameRecords(kept, want, "noted")
}

func withdrawOrder(r *rig) {
	specs := r.specs(12, func(i int, s *morningai.TaskSpec) {
		s.Priority, s.Queue = 9-i%10, fmt.Sprint("q", i%3)
		if i%4 == 0 {
			s.RunAt = time.Now().Add(time.Hour)
		}
	})
	for _, s := range specs {
		r.enqueue(s)
	}
	ids := specIDs(specs)
	// The last ones are ahead in priority: two of them run.
	running := grantIDs(r.claim(r.join(), 2))
	rest := slices.DeleteFunc(slices.Clone(ids), func(id morningai.ID) bool { return slices.Contains(running, id) })
	r.want(len(r.withdraw(1)) == 1, "nothing was withdrawn")
	var got []morningai.ID
	for _, n := range append(r.withdraw(4), r.withdraw(100)...) {
		got = append(got, n.Key)
	}
	r.want(slices.Equal(got, rest[1:]), "withdrawn %v, want %v", got, rest[1:])
	r.want(len(r.withdraw(10)) == 0, "there was more")
	for _, id := range running {
		r.wantState(id, morningai.StateRunning)
	}
	var order []morningai.ID
	for _, n := range r.allNotes(kindA) {
		order = append(order, n.Key)
	}
	r.want(slices.Equal(order, rest), "noted %v, want %v", order, rest)
	r.countsMatch()
}

func withdrawUnknown(r *rig) {
	watch, err := r.eng.Events(r.ctx, morningai.EventsRequest{})
	r.noError(err, "events")
	_, g := r.start(r.specs(1)[0])
	r.finish(report(g, morningai.OutcomeFailed))
	waiting := r.enqueue(r.specs(1)...)[0].ID
	retrying := held(r)
	r.finish(report(retrying, morningai.OutcomeRetry))
	ids := []morningai.ID{g.Task.ID, waiting, retrying.Task.ID}
	r.want(len(r.withdraw(10)) == 3, "not all were withdrawn")
	got, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: ids, Lingering: true})
	r.noError(err, "get")
	for i, id := range ids {
		r.want(got[i].ID.IsZero(), "get returns %+v", got[i])
		_, err := r.eng.History(r.ctx, id)
		r.wantError(err, morningai.ErrNotFound, "history")
		for _, kind := range commandKinds {
			_, err := r.tryCommand(morningai.Command{Kind: kind, ID: id})
			r.wantError(err, morningai.ErrNotFound, "%s", kind)
		}
	}
	for _, one := range []morningai.Grant{g, retrying} {
		r.wantError(r.tryFinish(report(one, morningai.OutcomeSucceeded))[0].Err, morningai.ErrNotFound, "an outcome")
		r.wantError(r.tryMark(progress(one.Lease, `1`))[0], morningai.ErrNotFound, "a checkpoint")
	}
	r.want(len(r.listAll(morningai.Filter{})) == 0 && len(r.exportAll()) == 0, "withdrawn tasks are listed")
	for _, state := range append(morningai.States(), morningai.StateRetrying) {
		r.want(len(r.listAll(morningai.Filter{State: state})) == 0 && r.stats().States[state] == 0, "withdrawn tasks are %s", state)
	}
	r.want(len(r.ask(r.join(), 5).Grants) == 0, "a withdrawn task is handed out")
	r.countsMatch()
	// Readers hear of it by reading again, not by an end that did not happen.
	page, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: watch.Cursor, Limit: 1000})
	r.noError(err, "events")
	for _, ev := range page.Events {
		r.want(ev.Kind != morningai.EventDeleted && ev.Kind != morningai.EventCanceled, "a withdrawal is told as %s", ev.Kind)
	}
}

func withdrawFrees(r *rig) {
	first := r.specs(3, func(i int, s *morningai.TaskSpec) { s.UniqueKey = fmt.Sprint("k", i) })
	first[1].RunAt = time.Now().Add(time.Hour)
	r.enqueue(first...)
	r.command(morningai.CommandDelete, first[2].ID)
	r.want(len(r.withdraw(10)) == 2, "a tombstone was withdrawn, or too little")
	r.wantError(r.tryEnqueue(first[2])[0].Err, morningai.ErrConflict, "the id of a deleted task")
	for _, reopened := range []bool{false, true} {
		if reopened {
			r.reopen()
		}
		// The same ids ask for something else, the keys are held by other tasks.
		again := r.specs(2, func(i int, s *morningai.TaskSpec) { s.ID, s.Payload = first[i].ID, []byte(`"other"`) })
		others := r.specs(2, func(i int, s *morningai.TaskSpec) { s.UniqueKey = first[i].UniqueKey })
		for i, got := range r.tryEnqueue(append(again, others...)...) {
			r.want(got.Err == nil && !got.Existing && !got.Task.Duplicate, "receipt %d is %+v", i, got)
			r.want(got.Task.Version == 1 && got.Task.Life == 1 && got.Task.Attempt == 0, "what is accepted anew is %+v", got.Task)
		}
		got := grantIDs(r.claim(r.join(), 4))
		r.want(slices.Equal(got, append(specIDs(again), specIDs(others)...)), "handed out %v", got)
		if !reopened {
			r.reap(r.stats().Sessions[0].ID)
			r.want(len(r.withdraw(10)) == 4, "the second time not all were withdrawn")
		}
	}
	r.countsMatch()
}

func withdrawReopened(r *rig) {
	specs := r.specs(6, func(i int, s *morningai.TaskSpec) {
		if i >= 4 {
			s.RunAt = time.Now().Add(time.Hour)
		}
	})
	r.enqueue(specs...)
	session := r.join()
	r.finish(report(r.claim(session, 1)[0], morningai.OutcomeSucceeded))
	running := r.claim(session, 1)[0]
	got := r.withdraw(10)
	r.want(len(got) == 5, "%d were withdrawn, want 5", len(got))
	r.reopen()
	r.noError(reapAll(r, "node"), "reap")
	r.wantNotes(kindA, "after a reopen", got...)
	records := r.exportAll()
	r.want(len(records) == 1 && records[0].Task.ID == running.Task.ID, "after a reopen there are %+v", records)
	r.countsMatch()
	again := r.await(r.join(), 1)[0]
	r.want(again.Task.ID == running.Task.ID && again.Task.Attempt == 2, "after a reopen came %+v", again)
	r.want(len(r.ask(r.join(), 5).Grants) == 0, "a withdrawn task is handed out after a reopen")
}

func withdrawDue(r *rig) {
	soon := r.specs(2, func(i int, s *morningai.TaskSpec) { s.RunAt = time.Now().Add(time.Duration(100+i) * time.Millisecond) })
	r.enqueue(soon[0])
	got := r.withdraw(10)
	r.enqueue(soon[1])
	for _, n := range got { // it may have come due before, and is queued then
		state := r.unpack(n).Task.State
		r.want(state == morningai.StateScheduled || state == morningai.StateQueued, "withdrawn as %s", state)
	}
	g := r.await(r.join(), 1)[0]
	r.want(len(got) == 1 && g.Task.ID == soon[1].ID, "the task that came due is %+v", g.Task)
	r.countsMatch()
}

func withdrawRetention(r *rig) {
	s := r.specs(1)[0]
	s.Retention = new(time.Duration(0))
	_, g := r.start(s)
	r.finish(report(g, morningai.OutcomeSucceeded))
	got := r.withdrawAll(10)
	r.want(len(got) == 1 && got[0].Task.State == morningai.StateSucceeded && got[0].Settled == morningai.OutcomeSucceeded && *got[0].Retention == 0,
		"withdrawn %+v", got)
	r.want(!r.tryEnqueue(s)[0].Existing, "it is still known")
}

func withdrawExpiry(r *rig, c *clock) {
	s := r.specs(1)[0]
	s.Retention = new(time.Minute)
	_, g := r.start(s)
	r.finish(report(g, morningai.OutcomeSucceeded))
	r.want(len(r.withdraw(1)) == 1, "nothing was withdrawn")
	r.want(!r.tryEnqueue(s)[0].Existing, "it is still known")
	probe := r.specs(1, func(_ int, s *morningai.TaskSpec) { s.RunAt = c.Now().Add(2 * time.Hour) })[0]
	r.enqueue(probe)
	c.advance(3 * time.Hour)
	session := r.join()
	got := grantIDs(r.await(session, 2)) // the second shows that the clock was looked at
	r.want(slices.Contains(got, s.ID) && slices.Contains(got, probe.ID), "handed out %v", got)
	r.countsMatch()
}

func withdrawReplaces(r *rig) {
	s := r.specs(1)[0]
	n := morningai.Note{NoteKey: morningai.NoteKey{Kind: kindA, Key: s.ID}, Alt: "alt", Data: []byte("before")}
	other := r.newNote(kindA, "", "other")
	r.note(n, other)
	r.enqueue(s)
	got := r.withdraw(1)
	r.want(len(got) == 1, "nothing was withdrawn")
	all := r.wantNotes(kindA, "replaced", got[0], other)
	r.want(all[0].Seq == got[0].Seq, "the note returned has number %d, is number %d", got[0].Seq, all[0].Seq)
	r.want(r.info().Notes[kindA] == 2 && isNoNote(r.notedAs(kindA, "alt")), "counted %v", r.info().Notes)
}

// withdrawRace lets claims, outcomes, cancels and withdrawals loose on the same
// tasks. Whatever the order, each task is in one place, with what was
// acknowledged of it.
func withdrawRace(r *rig) {
	const n, workers = 240, 3
	specs := r.specs(n)
	for part := range slices.Chunk(specs, 40) {
		r.enqueue(part...)
	}
	var mu sync.Mutex
	granted, canceled := map[morningai.ID]bool{}, map[morningai.ID]bool{}
	taken := map[morningai.ID]morningai.Record{}
	sessions := make([]morningai.SessionID, workers)
	grants := make([][]morningai.Grant, workers) // running before anything else begins
	for i := range sessions {
		sessions[i] = r.join()
		grants[i] = r.claim(sessions[i], 3)
	}
	work := func(session morningai.SessionID, grants []morningai.Grant) error {
		for {
			if len(grants) == 0 {
				reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 3})
				if err != nil || len(reply.Grants) == 0 {
					return err
				}
				grants = reply.Grants
			}
			reports := make([]morningai.Report, len(grants))
			for i, g := range grants {
				reports[i] = report(g, morningai.OutcomeSucceeded)
			}
			verdicts, err := r.eng.Finish(r.ctx, reports)
			if err != nil {
				return err
			}
			mu.Lock()
			for i, v := range verdicts {
				if v.Err != nil {
					err = fmt.Errorf("the outcome of a task that was handed out: %w", v.Err)
				}
				granted[grants[i].Task.ID] = true
			}
			mu.Unlock()
			grants = nil
			if err != nil {
				return err
			}
		}
	}
	withdraw := func() error {
		for {
			got, err := r.journal().Withdraw(r.ctx, kindA, 4)
			if err != nil || len(got) == 0 {
				return err
			}
			mu.Lock()
			for _, note := range got {
				rec, err := morningai.ParseRecord(note.Data)
				if _, twice := taken[note.Key]; twice || err != nil {
					mu.Unlock()
					return fmt.Errorf("withdrawn twice: %v; %w", twice, err)
				}
				taken[note.Key] = rec
			}
			mu.Unlock()
		}
	}
	cancel := func() error {
		for i := 0; i < n; i += 5 {
			got, err := r.eng.Command(r.ctx, []morningai.Command{{Kind: morningai.CommandCancel, ID: specs[i].ID}})
			if err != nil {
				return err
			}
			if got[0].Err == nil {
				mu.Lock()
				canceled[specs[i].ID] = true
				mu.Unlock()
			}
		}
		return nil
	}
	r.together(workers+3, func(i int) error {
		switch {
		case i < workers:
			return work(sessions[i], grants[i])
		case i == workers:
			return cancel()
		}
		return withdraw()
	})
	for _, rec := range r.withdrawAll(100) {
		_, twice := taken[rec.Task.ID]
		r.want(!twice, "withdrawn twice: %+v", rec)
		taken[rec.Task.ID] = rec
	}
	r.want(len(taken) == n && len(r.exportAll()) == 0, "%d of %d were withdrawn", len(taken), n)
	for id, rec := range taken {
		want := morningai.StateQueued
		switch {
		case canceled[id]:
			want = morningai.StateCanceled
		case granted[id]:
			want = morningai.StateSucceeded
		}
		r.want(rec.Task.State == want && (rec.Task.Attempt == 1) == granted[id], "it was handed out: %v, canceled: %v; withdrawn was %+v", granted[id], canceled[id], rec)
	}
	r.want(len(r.ask(sessions[0], 10).Grants) == 0, "a withdrawn task is handed out")
	r.want(r.info().Notes[kindA] == n, "counted %v", r.info().Notes)
	r.countsMatch()
}

func withdrawEnqueueRace(r *rig) {
	for round := range 40 {
		s := r.specs(1)[0]
		r.enqueue(s)
		var again morningai.Receipt
		r.together(2, func(i int) error {
			if i == 0 {
				_, err := r.journal().Withdraw(r.ctx, kindA, 1)
				return err
			}
			got, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{s})
			if err == nil {
				again = got[0]
			}
			return err
		})
		r.noError(again.Err, "the repeat")
		r.want(r.gone(s.ID) == again.Existing, "round %d: the repeat was told that the task exists: %v; it is gone: %v", round, again.Existing, r.gone(s.ID))
		r.want(!isNoNote(r.noted(morningai.NoteKey{Kind: kindA, Key: s.ID})[0]), "round %d: there is no note", round)
		r.withdrawAll(10)
	}
	r.countsMatch()
}

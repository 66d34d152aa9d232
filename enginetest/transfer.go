package enginetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

func transferChecks() []check {
	return []check{
		{"a round trip reproduces everything", transferRoundTrip},
		{"a round trip keeps steps, logs, attempts, tombstones and keys", transferWhole},
		{"ready order follows, whatever the order of import", transferOrder},
		{"counts, keys and due times follow an import", transferFollows},
		{"a running task stays with the session that beats with it", transferRunning},
		{"a bad record is refused and does not touch the others", transferBad},
		{"an export is complete and without repeats while tasks change", transferMoving},
		{"a malformed export cursor is refused", transferCursor},
	}
}

// queuedRecord is a task as another engine would hand it over.
func queuedRecord(id morningai.ID) morningai.Record {
	s := spec(0)
	return morningai.Record{Task: morningai.Task{
		ID: id, TraceID: id, Type: s.Type, Queue: s.Queue, Priority: s.Priority, State: morningai.StateQueued,
		MaxAttempts: s.MaxAttempts, Exclusive: s.Exclusive, Timeout: s.Timeout, Payload: s.Payload,
		CreatedAt: time.Now().UTC().Truncate(time.Millisecond).Add(-time.Hour), Life: 1, Version: 1,
	}}
}

// exported returns the record of one task.
func (r *rig) exported(id morningai.ID) morningai.Record {
	r.Helper()
	all := r.exportAll()
	i := slices.IndexFunc(all, func(rec morningai.Record) bool { return rec.Task.ID == id })
	r.want(i >= 0, "the export lacks a task")
	return all[i]
}

// flat is everything a record says, for comparison. A session does not travel,
// and of what was deleted only the fact has to stay.
func flat(rec morningai.Record) string {
	t := rec.Task
	if rec.Deleted {
		return fmt.Sprint("deleted ", t.ID, t.Life)
	}
	t.Fresh, t.AsOf = "", time.Time{}
	attempts := slices.Clone(rec.Attempts)
	for i := range attempts {
		attempts[i].StartedAt, attempts[i].FinishedAt = attempts[i].StartedAt.UTC(), attempts[i].FinishedAt.UTC()
	}
	logs := slices.Clone(rec.Logs)
	for i := range logs {
		logs[i].At = logs[i].At.UTC()
	}
	out, err := json.Marshal(map[string]any{
		"task": t, "key": rec.UniqueKey, "fingerprint": rec.Fingerprint, "retention": rec.Retention, "claim": rec.Claim, "lease": rec.Lease, "settled": rec.Settled,
		"deleted": rec.Deleted, "attempts": append([]morningai.Attempt{}, attempts...), "logs": append([]morningai.LogLine{}, logs...),
	})
	if err != nil {
		return err.Error()
	}
	steps := map[string]string{}
	for name, data := range rec.Steps {
		steps[name] = string(data)
	}
	return fmt.Sprintf("%s %q %q %q %q", out, t.Payload, t.Result, t.Progress, steps)
}

func (r *rig) sameRecords(got, want []morningai.Record, what string) {
	r.Helper()
	index := map[morningai.ID]string{}
	for _, rec := range want {
		index[rec.Task.ID] = flat(rec)
	}
	r.want(len(got) == len(want) && len(index) == len(want), "%s: %d records, want %d", what, len(got), len(want))
	for _, rec := range got {
		r.want(flat(rec) == index[rec.Task.ID], "%s:\n%s\nwant\n%s", what, flat(rec), index[rec.Task.ID])
	}
}

func transferRoundTrip(r *rig) {
	for seed := range uint64(2) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		r.scramble(rnd, 160)
		want := r.exportAll()
		source := r.eng
		r.fresh()
		shuffled := slices.Clone(want)
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for part := range slices.Chunk(shuffled, 13) {
			for _, res := range r.importAll(part...) {
				r.noError(res.Err, "import")
				r.want(res.Status == morningai.ImportAdded, "a new record is %s", res.Status)
			}
		}
		r.sameRecords(r.exportAll(), want, "after a round trip")
		r.countsMatch()
		for _, res := range r.importAll(want...) {
			r.want(res.Err == nil && res.Status == morningai.ImportKept, "the same record again is %s (%v)", res.Status, res.Err)
		}
		r.sameRecords(r.exportAll(), want, "after importing twice")
		r.reopen()
		noRunning := func(recs []morningai.Record) (out []morningai.Record) {
			for _, rec := range recs {
				if rec.Task.State != morningai.StateRunning && rec.Task.State != morningai.StateQueued {
					out = append(out, rec)
				}
			}
			return out
		}
		settled := noRunning(want)
		index := map[morningai.ID]bool{}
		for _, rec := range settled {
			index[rec.Task.ID] = true
		}
		after := slices.DeleteFunc(r.exportAll(), func(rec morningai.Record) bool { return !index[rec.Task.ID] })
		r.sameRecords(after, settled, "after a round trip and a reopen")
		r.noError(source.Close(), "close the source")
		r.fresh()
	}
}

func transferWhole(r *rig) {
	specs := r.specs(4)
	specs[0].UniqueKey, specs[0].Metadata, specs[0].Retention = "k", map[string]string{"a": "1"}, new(time.Hour)
	specs[0].Payload, specs[0].Fingerprint = json.RawMessage(oddNumbers), "f"
	r.enqueue(specs...)
	session := r.join()
	g := r.claim(session, 2)
	r.mark(step(g[0].Lease, "s", `1.50`), logLine(g[0].Lease, 1, "line"), progress(g[0].Lease, `{"p": 1}`))
	failed := report(g[0], morningai.OutcomeRetry)
	failed.Stack = "stack"
	r.finish(failed, report(g[1], morningai.OutcomeSucceeded))
	r.command(morningai.CommandDelete, specs[2].ID)
	want := r.exportAll()
	rec := want[slices.IndexFunc(want, func(rec morningai.Record) bool { return rec.Task.ID == specs[0].ID })]
	r.want(rec.UniqueKey == "k" && rec.Fingerprint == "f" && *rec.Retention == time.Hour && rec.Claim == 1 && rec.Lease == g[0].Lease.Lease && rec.Settled == morningai.OutcomeRetry &&
		len(rec.Attempts) == 1 && rec.Attempts[0].Stack == "stack" && string(rec.Steps["s"]) == "1.50" && len(rec.Logs) == 1, "the record is %+v", rec)
	r.fresh()
	r.importAll(want...)
	for _, after := range []string{"import", "reopen"} {
		r.sameRecords(r.exportAll(), want, "after "+after)
		h := r.history(specs[0].ID)
		r.want(len(h.Attempts) == 1 && len(h.Logs) == 1 && h.Logs[0].Message == "line", "after %s history is %+v", after, h)
		r.want(r.gone(specs[2].ID), "after %s a deleted task is there", after)
		r.wantError(r.tryEnqueue(specs[2])[0].Err, morningai.ErrConflict, "after %s: the id of a deleted task", after)
		again := r.tryEnqueue(specs[0], specs[1])
		r.want(again[0].Err == nil && again[0].Existing && again[1].Err == nil && again[1].Task.State == morningai.StateSucceeded, "after %s repeats are %+v", after, again)
		dup := r.tryEnqueue(keyed(9, "k"))[0]
		r.want(dup.Err == nil && dup.Task.Duplicate && dup.Task.ID == specs[0].ID, "after %s the key is not held: %+v", after, dup)
		v := r.tryFinish(failed)[0]
		r.want(v.Err == nil && v.State == morningai.StateScheduled, "after %s a repeated outcome is %+v", after, v)
		r.reopen()
	}
	r.command(morningai.CommandRetry, specs[0].ID)
	next := r.claim(r.join(), 1)[0]
	r.want(next.Task.ID == specs[0].ID && next.Lease.Claim == 2 && next.Task.Attempt == 2 && string(next.Steps["s"]) == "1.50", "the next grant is %+v", next)
}

func transferOrder(r *rig) {
	specs := r.specs(80, func(i int, s *morningai.TaskSpec) { s.Priority = []int{5, 2, 7}[i%3] })
	for part := range slices.Chunk(specs, 9) {
		r.enqueue(part...)
	}
	records := r.exportAll()
	want := grantIDs(r.claim(r.join(), 80))
	listed := taskIDs(r.listAll(morningai.Filter{}))
	for seed := range uint64(3) {
		r.fresh()
		rand.New(rand.NewPCG(seed, 5)).Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		for part := range slices.Chunk(records, 11) {
			r.importAll(part...)
		}
		if seed == 2 {
			r.reopen()
		}
		r.want(slices.Equal(taskIDs(r.listAll(morningai.Filter{})), listed), "imported tasks are listed in another order")
		got := grantIDs(r.claim(r.join(), 80))
		r.want(slices.Equal(got, want), "imported tasks are handed out in another order")
	}
	// What is accepted after an import comes after it.
	late := r.enqueue(r.specs(1)...)[0].ID
	r.want(r.listAll(morningai.Filter{})[0].ID == late, "a task accepted after the import is not the newest")
}

func transferFollows(r *rig) {
	due, notDue, live := queuedRecord(r.id()), queuedRecord(r.id()), queuedRecord(r.id())
	due.Task.State, due.Task.RunAt = morningai.StateScheduled, time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	notDue.Task.State, notDue.Task.RunAt, notDue.Task.Failures = morningai.StateScheduled, time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond), 1
	live.UniqueKey, live.Task.Queue = "k", "other"
	got := r.importAll(due, notDue, live)
	for i, res := range got {
		r.noError(res.Err, "record %d", i)
	}
	r.want(got[1].Task.State == morningai.StateScheduled && got[1].Task.RunAt.Equal(notDue.Task.RunAt), "the result shows %+v", got[1].Task)
	r.want(r.queue("other").Counts[morningai.StateQueued] == 1 && r.queue(morningai.DefaultQueue).Counts[morningai.StateRetrying] == 1, "counts %+v", r.stats().Queues)
	r.countsMatch()
	r.want(r.enqueue(keyed(1, "k"))[0].ID == live.Task.ID, "an imported key is not held")
	session := r.join()
	g := r.claim(session, 2)
	r.want(!slices.Contains(grantIDs(g), notDue.Task.ID), "a task that is not due was handed out")
	// An end that comes by import ends what runs here.
	done := live
	done.Task.State, done.Task.Result, done.Task.FinishedAt, done.Task.Version = morningai.StateSucceeded, json.RawMessage(`1`), time.Now().UTC().Truncate(time.Millisecond), 9
	done.Claim, done.Lease, done.Settled, done.Task.Attempt = 4, 44, morningai.OutcomeSucceeded, 4
	r.want(r.importAll(done)[0].Status == morningai.ImportUpdated, "the end of a task is not taken over")
	r.wantState(live.Task.ID, morningai.StateSucceeded)
	mine := g[slices.IndexFunc(g, func(g morningai.Grant) bool { return g.Task.ID == live.Task.ID })]
	r.wantError(r.tryFinish(report(mine, morningai.OutcomeFailed))[0].Err, morningai.ErrStale, "an outcome after the imported end")
	r.want(!r.enqueue(keyed(2, "k"))[0].Duplicate, "the key of an ended task is held")
	lost := r.beat(morningai.BeatRequest{Session: session, Holding: []morningai.Lease{mine.Lease}}).Lost
	r.want(slices.Contains(lost, mine.Lease), "the session is not told that its claim was superseded")
	r.countsMatch()
}

func transferRunning(r *rig) {
	session, g := r.start(r.specs(1)[0])
	rec := r.exported(g.Task.ID)
	r.want(rec.Task.State == morningai.StateRunning && rec.Claim == 1 && rec.Settled == "", "the running record is %+v", rec)
	r.fresh()
	r.noError(r.importAll(rec)[0].Err, "import")
	r.wantState(g.Task.ID, morningai.StateRunning)
	reply := r.beat(morningai.BeatRequest{Session: session, Holding: []morningai.Lease{g.Lease}})
	r.want(len(reply.Lost) == 0, "the session that runs the task is told it is lost")
	r.want(len(r.ask(session, 1).Grants) == 0, "a task that its session holds is handed out")
	r.want(r.stats().Sessions[0].Running == 1, "the session is %+v", r.stats().Sessions[0])
	r.finish(report(g, morningai.OutcomeSucceeded))
	// And it goes back like any other if that session dies.
	session, g = r.start(r.specs(1)[0])
	rec = r.exported(g.Task.ID)
	r.fresh()
	r.importAll(rec)
	r.beat(morningai.BeatRequest{Session: session, Holding: []morningai.Lease{g.Lease}})
	r.reap(session)
	again := r.claim(r.join(), 1)[0]
	r.want(again.Lease.Claim == 2 && again.Task.Attempt == 2, "after its session died the task comes back as %+v", again)
	r.countsMatch()
}

func transferBad(r *rig) {
	zero, state, payload, name := queuedRecord(morningai.ID{}), queuedRecord(r.id()), queuedRecord(r.id()), queuedRecord(r.id())
	state.Task.State = "bogus"
	payload.Task.Payload = json.RawMessage(`{`)
	name.Task.Queue = "no spaces"
	good := queuedRecord(r.id())
	got := r.importAll(zero, state, good, payload, name)
	for i, res := range got {
		if i == 2 {
			r.want(res.Err == nil && res.Status == morningai.ImportAdded, "a good record among bad ones is %+v", res)
			continue
		}
		r.wantError(res.Err, morningai.ErrInvalidInput, "bad record %d", i)
	}
	r.want(len(r.exportAll()) == 1, "bad records left a trace")
	r.countsMatch()
}

func transferMoving(r *rig) {
	there := taskIDs(r.enqueue(r.specs(60)...))
	session := r.join()
	page, over := make(chan struct{}), make(chan struct{})
	r.together(2, func(i int) error {
		if i == 1 {
			return each(page, over, func(n int) error {
				if _, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{spec(n)}); err != nil {
					return err
				}
				_, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 2})
				return err
			})
		}
		defer close(over)
		seen := map[morningai.ID]int{}
		for cursor := ""; ; {
			page <- struct{}{}
			got, err := r.eng.Export(r.ctx, cursor, 5)
			if err != nil {
				return err
			}
			for _, rec := range got.Records {
				seen[rec.Task.ID]++
			}
			if got.Next == "" {
				break
			}
			cursor = got.Next
		}
		for _, id := range there {
			if seen[id] != 1 {
				return fmt.Errorf("a task that was there all the time is exported %d times", seen[id])
			}
		}
		return nil
	})
}

func transferCursor(r *rig) {
	r.enqueue(r.specs(3)...)
	for _, cursor := range []string{"nonsense", "!", "\x00"} {
		_, err := r.eng.Export(r.ctx, cursor, 10)
		r.wantError(err, morningai.ErrInvalidInput, "cursor %q", cursor)
	}
}

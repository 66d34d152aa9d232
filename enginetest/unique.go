package enginetest

import (
	"fmt"
	"sync"

	"github.com/RC918/morningai"
)

func uniqueChecks() []check {
	return []check{
		{"a live key returns its holder, marked duplicate", uniqueHolder},
		{"the key is free after every kind of end", uniqueFreed},
		{"within a batch the first takes the key", uniqueInBatch},
		{"the key survives a reopen", uniqueReopened},
		{"a retry of an ended task does not make a second holder", uniqueRetry},
		{"of many at once exactly one takes the key", uniqueRace},
		{"holders change hands under load, one at a time", uniqueTurns},
	}
}

func keyed(n int, key string) morningai.TaskSpec {
	s := spec(n)
	s.UniqueKey = key
	return s
}

func uniqueHolder(r *rig) {
	first := keyed(1, "k")
	first.ID = r.id()
	r.enqueue(first, keyed(2, "other key"))
	session := r.join()
	var grants []morningai.Grant // the holder's first
	for _, stage := range []string{"queued", "running", "scheduled for a retry"} {
		dup := keyed(3, "k")
		dup.ID, dup.Queue = r.id(), "elsewhere"
		receipt := r.tryEnqueue(dup)[0]
		r.noError(receipt.Err, "enqueue with a held key, holder %s", stage)
		r.want(receipt.Task.ID == first.ID && receipt.Task.Duplicate && receipt.Existing, "holder %s: the receipt is %+v", stage, receipt)
		r.want(receipt.Task.State == r.get(first.ID).State, "holder %s: the receipt says %s", stage, receipt.Task.State)
		r.want(r.gone(dup.ID), "holder %s: the duplicate is stored too", stage)
		switch stage {
		case "queued":
			grants = r.claim(session, 2)
		case "running":
			r.finish(report(grants[0], morningai.OutcomeRetry))
		}
	}
	again := r.tryEnqueue(first)[0] // its own id again is a repeat, not a duplicate
	r.want(again.Err == nil && again.Existing && !again.Task.Duplicate, "the holder's own repeat is %+v", again)
}

func uniqueFreed(r *rig) {
	session := r.join()
	for name, end := range map[string]func(id morningai.ID){
		"success": func(morningai.ID) { r.finish(report(r.claim(session, 1)[0], morningai.OutcomeSucceeded)) },
		"failure": func(morningai.ID) { r.finish(report(r.claim(session, 1)[0], morningai.OutcomeFailed)) },
		"cancel":  func(id morningai.ID) { r.command(morningai.CommandCancel, id) },
		"delete":  func(id morningai.ID) { r.command(morningai.CommandDelete, id) },
		"cancel of a running task": func(id morningai.ID) {
			g := r.claim(session, 1)[0]
			r.command(morningai.CommandCancel, id)
			r.finish(report(g, morningai.OutcomeSucceeded))
		},
	} {
		holder := r.enqueue(keyed(1, "k"))[0]
		r.want(!holder.Duplicate, "before %s the key is still held", name)
		end(holder.ID)
		next := r.tryEnqueue(keyed(2, "k"))[0]
		r.want(next.Err == nil && !next.Existing && !next.Task.Duplicate, "after %s the key is still held: %+v", name, next)
		r.command(morningai.CommandCancel, next.Task.ID)
	}
}

func uniqueInBatch(r *rig) {
	got := r.tryEnqueue(keyed(1, "k"), keyed(2, "k"), keyed(3, ""), keyed(4, ""))
	for i, receipt := range got {
		r.noError(receipt.Err, "receipt %d", i)
		r.want(receipt.Task.Duplicate == (i == 1), "receipt %d: duplicate %v", i, receipt.Task.Duplicate)
	}
	r.want(got[1].Task.ID == got[0].Task.ID, "the duplicate names another holder")
	r.claim(r.join(), 3)
}

func uniqueReopened(r *rig) {
	holder := r.enqueue(keyed(1, "k"))[0]
	r.reopen()
	got := r.enqueue(keyed(2, "k"))[0]
	r.want(got.ID == holder.ID && got.Duplicate, "after a reopen the key is free")
	r.finish(report(r.claim(r.join(), 1)[0], morningai.OutcomeSucceeded))
	r.reopen()
	r.want(!r.enqueue(keyed(3, "k"))[0].Duplicate, "after the end and a reopen the key is held")
}

func uniqueRetry(r *rig) {
	old := r.enqueue(keyed(1, "k"))[0]
	r.finish(report(r.claim(r.join(), 1)[0], morningai.OutcomeFailed))
	r.enqueue(keyed(2, "k"))
	_, err := r.tryCommand(morningai.Command{Kind: morningai.CommandRetry, ID: old.ID})
	r.wantError(err, morningai.ErrConflict, "retry while another task holds the key")
	r.wantState(old.ID, morningai.StateFailed)
	r.finish(report(r.claim(r.join(), 1)[0], morningai.OutcomeSucceeded))
	r.command(morningai.CommandRetry, old.ID)
	got := r.enqueue(keyed(3, "k"))[0]
	r.want(got.ID == old.ID && got.Duplicate, "a retried task does not hold its key again")
}

func uniqueRace(r *rig) {
	const callers = 16
	for round := range 5 {
		key := fmt.Sprint("round ", round)
		holders := make([]morningai.ID, callers)
		fresh := make([]bool, callers)
		r.together(callers, func(i int) error {
			got, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{keyed(i, key)})
			if err != nil {
				return err
			}
			holders[i], fresh[i] = got[0].Task.ID, !got[0].Task.Duplicate
			return got[0].Err
		})
		n := 0
		for i := range holders {
			r.want(holders[i] == holders[0], "one key has two holders")
			if fresh[i] {
				n++
			}
		}
		r.want(n == 1, "%d callers were told that their task is the new one", n)
	}
	r.want(len(r.listAll(morningai.Filter{})) == 5, "a duplicate is stored")
}

func uniqueTurns(r *rig) {
	session := r.join()
	var mu sync.Mutex
	live := 0
	r.together(4, func(i int) error {
		for range 25 {
			if _, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{keyed(i, "k")}); err != nil {
				return err
			}
			reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 10})
			if err != nil {
				return err
			}
			mu.Lock()
			live += len(reply.Grants)
			over := live > 1
			mu.Unlock()
			if over {
				return fmt.Errorf("two tasks with one key run at once")
			}
			for _, g := range reply.Grants {
				// Only after this report another task may hold the key.
				mu.Lock()
				live--
				mu.Unlock()
				if _, err := r.eng.Finish(r.ctx, []morningai.Report{report(g, morningai.OutcomeSucceeded)}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

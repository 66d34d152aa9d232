package redis_test

import (
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// TestMembersOutliveSessions: a member is what its node said last, whatever
// becomes of the session, until it leaves with nothing undelivered or is
// forgotten.
func TestMembersOutliveSessions(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"", "?partitions=4"} {
		e := open(t, redistest.Start(t).URL()+settings)
		one, two := morningai.SessionID{1, 1}, morningai.SessionID{2, 1}
		a := morningai.Member{Journal: specs(1)[0].ID, Node: "node1", URL: "http://127.0.0.1:1", Session: one, Version: "v1", Backlog: 7,
			ContactAt: time.Now().UTC().Truncate(time.Millisecond)}
		b := morningai.Member{Journal: specs(1)[0].ID, Node: "node2", Session: two}
		want := func(what string, got []morningai.Member, list ...morningai.Member) {
			t.Helper()
			if len(got) != len(list) {
				t.Fatalf("%s: members %+v", what, got)
			}
			for i := range list {
				if got[i] != list[i] {
					t.Fatalf("%s: member %+v, want %+v", what, got[i], list[i])
				}
			}
		}
		a.Connected, b.Connected = true, true // as reads fill it in
		want("nobody has a journal", beat(t, e, morningai.BeatRequest{Session: two}).Members)
		want("one", beat(t, e, morningai.BeatRequest{Session: one, Member: &a}).Members, a)
		want("two", beat(t, e, morningai.BeatRequest{Session: two, Member: &b}).Members, a, b) // ids grow: so does the order
		a.Backlog, a.URL = 3, ""
		want("replaced", beat(t, e, morningai.BeatRequest{Session: one, Member: &a, Holding: specLeases(1)}).Members, a, b)
		want("a beat without a member", beat(t, e, morningai.BeatRequest{Session: one}).Members, a, b)
		reaped, err := e.Reap(t.Context(), []morningai.Observation{{Session: one, Counter: beat(t, e, morningai.BeatRequest{Session: one}).Counter}})
		if err != nil || len(reaped) != 1 {
			t.Fatalf("reaped %v, %v", reaped, err)
		}
		a.Connected = false
		want("after its session was reaped", beat(t, e, morningai.BeatRequest{Session: two}).Members, a, b)
		want("left with a backlog", beat(t, e, morningai.BeatRequest{Session: one, Member: &a, Leaving: true}).Members, a, b)
		b.Backlog = 0
		want("left with none", beat(t, e, morningai.BeatRequest{Session: two, Member: &b, Leaving: true}).Members, a)
		want("forgotten", beat(t, e, morningai.BeatRequest{Session: two, Forget: []morningai.ID{a.Journal, b.Journal}}).Members)
	}
}

func specLeases(n int) []morningai.Lease {
	var out []morningai.Lease
	for _, s := range specs(n) {
		out = append(out, morningai.Lease{ID: s.ID, Claim: 1, Lease: 5})
	}
	return out
}

// TestCancelSaysWhy: a cancel that ends a task at once may bring its own error;
// readers see it, here and in an engine that the record was imported into.
func TestCancelSaysWhy(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	session := join(t, e, 1)
	why := &morningai.TaskError{Code: morningai.ErrorCodeSuperseded, Message: "another task held the key"}
	list := specs(4)
	list[3].RunAt = time.Now().Add(time.Hour)
	enqueue(t, e, list)
	ids := []morningai.ID{list[0].ID, list[1].ID, list[2].ID, list[3].ID}
	// The first has failed once before; the second runs.
	grants := claim(t, e, session, 2, 0)
	failed := morningai.Report{Lease: grants[0].Lease, Outcome: morningai.OutcomeRetry, Error: &morningai.TaskError{Code: "boom", Message: "m"},
		RunAt: time.Now().Add(time.Hour), Attempt: 1, StartedAt: time.Now(), FinishedAt: time.Now()}
	if got, err := e.Finish(t.Context(), []morningai.Report{failed}); err != nil || got[0].Err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	cancel := func(n int, why *morningai.TaskError) {
		t.Helper()
		got, err := e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandCancel, ID: ids[n], Error: why}})
		if err != nil || got[0].Err != nil {
			t.Fatalf("cancel %d: %+v, %v", n, got, err)
		}
	}
	cancel(0, why)
	cancel(1, why)
	cancel(2, nil)
	cancel(3, why)
	cancel(3, nil) // a repeat changes nothing
	late := morningai.Report{Lease: grants[1].Lease, Outcome: morningai.OutcomeFailed, Error: &morningai.TaskError{Code: "boom", Message: "m"}, Attempt: 1}
	if got, err := e.Finish(t.Context(), []morningai.Report{late}); err != nil || got[0].State != morningai.StateCanceled {
		t.Fatalf("%+v, %v", got, err)
	}
	plain := morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled"}
	check := func(what string, e *redis.Engine) {
		t.Helper()
		tasks, err := e.Get(t.Context(), morningai.GetRequest{IDs: ids})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range []morningai.TaskError{*why, plain, plain, *why} {
			if tasks[i].State != morningai.StateCanceled || tasks[i].Error == nil || *tasks[i].Error != w {
				t.Errorf("%s: task %d is %s with %v, want %v", what, i, tasks[i].State, tasks[i].Error, w)
			}
		}
		h, err := e.History(t.Context(), ids[0])
		if err != nil || len(h.Attempts) != 1 || h.Attempts[0].Outcome != morningai.OutcomeRetry || h.Attempts[0].Error.Code != "boom" {
			t.Errorf("%s: the attempts of a task that had failed before are %+v, %v", what, h.Attempts, err)
		}
	}
	check("here", e)
	page, err := e.Export(t.Context(), "", 10)
	if err != nil || len(page.Records) != 4 {
		t.Fatalf("%d records, %v", len(page.Records), err)
	}
	other := open(t, server.URL()+"?prefix=other")
	if _, err := other.Import(t.Context(), page.Records); err != nil {
		t.Fatal(err)
	}
	check("imported", other)
}

package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

func eventChecks() []check {
	return []check{
		{"an empty cursor means from this moment on", eventsNow},
		{"what happens to a task is told in order", eventsOrder},
		{"any event's cursor resumes after it", eventsResume},
		{"a wait ends with the first event", eventsWait},
		{"a malformed cursor is refused", eventsMalformed},
		{"after a reopen a cursor goes on or is expired, never with a gap", eventsReopened},
		{"a cursor whose events are gone is expired", eventsExpired},
		{"nothing is missed and nothing comes twice under load", eventsLoad},
	}
}

// now returns the cursor after everything that has happened.
func (r *rig) now() string {
	r.Helper()
	page, err := r.eng.Events(r.ctx, morningai.EventsRequest{})
	r.noError(err, "events")
	r.want(len(page.Events) == 0 && page.Cursor != "", "an empty cursor brings %d events, next %q", len(page.Events), page.Cursor)
	return page.Cursor
}

// since reads all events after the cursor.
func (r *rig) since(cursor string, limit int) []morningai.Event {
	r.Helper()
	var out []morningai.Event
	for {
		page, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: cursor, Limit: limit})
		r.noError(err, "events")
		if len(page.Events) == 0 {
			return out
		}
		r.want(limit == 0 || len(page.Events) <= limit, "a page of %d has %d events", limit, len(page.Events))
		r.want(page.Cursor == page.Events[len(page.Events)-1].Cursor, "the page's cursor is not that of its last event")
		out, cursor = append(out, page.Events...), page.Cursor
	}
}

func eventsNow(r *rig) {
	r.enqueue(r.specs(2)...)
	cursor := r.now()
	id := r.enqueue(r.specs(1)...)[0].ID
	got := r.since(cursor, 0)
	r.want(len(got) == 1 && got[0].ID == id && got[0].Kind == morningai.EventQueued, "events since now: %+v", got)
	e := got[0]
	r.want(e.Type == "work" && e.Queue == morningai.DefaultQueue && e.State == morningai.StateQueued && e.Version == 1 && !e.At.IsZero(), "the event is %+v", e)
	r.want(len(r.since(r.now(), 0)) == 0, "now has events after it")
}

func eventsOrder(r *rig) {
	cursor := r.now()
	late := r.enqueue(r.specs(1, later)...)[0].ID
	r.command(morningai.CommandRun, late)
	session := r.join()
	one := func() morningai.Grant { return r.claim(session, 1)[0] }
	g := one()
	r.mark(progress(g.Lease, `1`), logLine(g.Lease, 1, "hello"))
	r.finish(report(g, morningai.OutcomeRetry))
	r.command(morningai.CommandRetry, late)
	r.finish(report(one(), morningai.OutcomeSnoozed))
	r.command(morningai.CommandRun, late)
	r.finish(report(one(), morningai.OutcomeReleased))
	r.finish(report(one(), morningai.OutcomeFailed))
	r.command(morningai.CommandRetry, late)
	r.finish(report(one(), morningai.OutcomeSucceeded))
	r.command(morningai.CommandDelete, late)
	other := r.enqueue(r.specs(1)...)[0].ID
	r.command(morningai.CommandCancel, other)

	want := []morningai.EventKind{
		morningai.EventScheduled, morningai.EventQueued, morningai.EventStarted, morningai.EventProgress, morningai.EventLog,
		morningai.EventRetrying, morningai.EventQueued, morningai.EventStarted, morningai.EventScheduled, morningai.EventQueued,
		morningai.EventStarted, morningai.EventQueued, morningai.EventStarted, morningai.EventFailed, morningai.EventQueued,
		morningai.EventStarted, morningai.EventSucceeded, morningai.EventDeleted,
	}
	var kinds, others []morningai.EventKind
	version, attempt := int64(0), 0
	for _, e := range r.since(cursor, 0) {
		if e.ID == other {
			others = append(others, e.Kind)
			continue
		}
		kinds = append(kinds, e.Kind)
		r.want(e.Version >= version && e.Attempt >= attempt, "event %s: version %d after %d, attempt %d after %d", e.Kind, e.Version, version, e.Attempt, attempt)
		version, attempt = e.Version, e.Attempt
	}
	r.want(slices.Equal(kinds, want), "events are\n%v\nwant\n%v", kinds, want)
	r.want(slices.Equal(others, []morningai.EventKind{morningai.EventQueued, morningai.EventCanceled}), "events of a canceled task are %v", others)
}

func eventsResume(r *rig) {
	cursor := r.now()
	r.enqueue(r.specs(25)...)
	g := r.claim(r.join(), 5)
	r.finish(report(g[0], morningai.OutcomeSucceeded))
	all := r.since(cursor, 0)
	r.want(len(all) == 31, "%d events, want 31", len(all))
	for _, limit := range []int{1, 4, 31, 500} {
		r.want(slices.Equal(r.since(cursor, limit), all), "pages of %d bring other events", limit)
	}
	for i, e := range all {
		r.want(slices.Equal(r.since(e.Cursor, 10), all[i+1:]), "from event %d on there are other events", i)
	}
}

func eventsWait(r *rig) {
	cursor := r.now()
	page, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: cursor, Wait: 20 * time.Millisecond})
	r.noError(err, "events")
	r.want(len(page.Events) == 0 && page.Cursor == cursor, "a wait for nothing brings %+v", page)
	for range 5 {
		wait := r.waitEvents(r.ctx, cursor)
		r.enqueue(r.specs(1)...)
		page, err := wait()
		r.noError(err, "a wait for events")
		r.want(len(page.Events) == 1 && page.Events[0].Kind == morningai.EventQueued, "the wait brought %+v", page)
		cursor = page.Cursor
	}
	ctx, cancel := context.WithCancel(r.ctx)
	wait := r.waitEvents(ctx, "")
	cancel()
	_, err = wait()
	r.wantError(err, context.Canceled, "a wait for events, cancelled")
}

func eventsMalformed(r *rig) {
	r.enqueue(spec(1))
	for _, cursor := range []string{"nonsense", "!", "\x00", "-1-"} {
		_, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: cursor})
		r.wantError(err, morningai.ErrInvalidInput, "cursor %q", cursor)
	}
}

func eventsReopened(r *rig) {
	cursor := r.now()
	want := taskIDs(r.enqueue(r.specs(3)...))
	r.reopen()
	want = append(want, taskIDs(r.enqueue(r.specs(2)...))...)
	page, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: cursor})
	if errors.Is(err, morningai.ErrCursorExpired) {
		r.enqueue(r.specs(1)...)
		r.want(len(r.since(r.now(), 0)) == 0, "now has events after it")
		return
	}
	r.noError(err, "events of before a reopen")
	var got []morningai.ID
	for _, e := range page.Events {
		got = append(got, e.ID)
	}
	r.want(slices.Equal(got, want), "across a reopen there are events of %v, want %v", got, want)
}

func eventsExpired(r *rig) {
	if r.harness.EventsKept == 0 {
		return // the engine promises no bound
	}
	cursor := r.now()
	_, g := r.start(r.specs(1)[0])
	marks := make([]morningai.Checkpoint, 1000)
	for i := range marks {
		marks[i] = progress(g.Lease, fmt.Sprint(i))
	}
	for n := 0; n <= r.harness.EventsKept; n += len(marks) {
		r.mark(marks...)
	}
	_, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: cursor})
	r.wantError(err, morningai.ErrCursorExpired, "a cursor from %d events ago", r.harness.EventsKept)
	cursor = r.now()
	r.finish(report(g, morningai.OutcomeSucceeded))
	r.want(len(r.since(cursor, 0)) == 1, "after an expired cursor the events do not go on")
}

func eventsLoad(r *rig) {
	const workers, tasks = 4, 40
	cursor := r.now()
	var read []morningai.Event
	session := r.join()
	r.together(workers+1, func(i int) error {
		if i < workers {
			for n := range tasks {
				if _, err := r.eng.Enqueue(r.ctx, []morningai.TaskSpec{spec(n)}); err != nil {
					return err
				}
				reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1, Wait: time.Hour})
				if err != nil {
					return err
				}
				if _, err := r.eng.Finish(r.ctx, []morningai.Report{report(reply.Grants[0], morningai.OutcomeSucceeded)}); err != nil {
					return err
				}
			}
			return nil
		}
		for at := cursor; len(read) < 3*workers*tasks; {
			page, err := r.eng.Events(r.ctx, morningai.EventsRequest{Cursor: at, Wait: time.Hour, Limit: 7})
			if err != nil {
				return err
			}
			read, at = append(read, page.Events...), page.Cursor
		}
		return nil
	})
	r.want(slices.Equal(r.since(cursor, 0), read), "a later reader sees other events")
	kinds := map[morningai.ID][]morningai.EventKind{}
	for _, e := range read {
		kinds[e.ID] = append(kinds[e.ID], e.Kind)
	}
	want := []morningai.EventKind{morningai.EventQueued, morningai.EventStarted, morningai.EventSucceeded}
	r.want(len(kinds) == workers*tasks, "events of %d tasks, want %d", len(kinds), workers*tasks)
	for id, got := range kinds {
		r.want(slices.Equal(got, want), "task %s has events %v", id, got)
	}
}

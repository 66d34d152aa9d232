package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"pgregory.net/rapid"
)

func modelChecks() []check {
	return []check{{"random sequences of operations do what the reference does", modelAgrees}}
}

// pair runs every operation on the engine under test and on the reference, and
// compares what they say.
type pair struct {
	t        *rapid.T
	real     *rig
	model    *rig
	ids      []morningai.ID
	grants   []twin // all there have been: old ones make stale reports
	sessions []*holder
}

// twin is one hand-out as both engines made it.
type twin struct{ real, model morningai.Grant }

// holder is a session as its own worker sees it.
type holder struct {
	id      morningai.SessionID
	holding []twin
	through [2]int64 // real, model
}

func modelAgrees(r *rig) {
	r.noError(r.eng.Close(), "close")
	rapid.Check(modelTB{r.TB}, func(t *rapid.T) {
		p := &pair{t: t, real: r.within(t), model: (&rig{harness: referenceHarness(), ctx: r.ctx}).within(t)}
		for range 7 {
			p.ids = append(p.ids, p.real.id())
		}
		p.join()
		t.Repeat(map[string]func(*rapid.T){
			"enqueue":    func(*rapid.T) { p.enqueue() },
			"claim":      func(*rapid.T) { p.claim() },
			"finish":     func(*rapid.T) { p.finish() },
			"checkpoint": func(*rapid.T) { p.checkpoint() },
			"beat":       func(*rapid.T) { p.beat() },
			"reap":       func(*rapid.T) { p.reap() },
			"command":    func(*rapid.T) { p.command() },
			"queue":      func(*rapid.T) { p.queue() },
			"import":     func(*rapid.T) { p.imports() },
			"reopen":     func(*rapid.T) { p.reopen() },
			// Every action is drawn as often: these shall come twice.
			"claim again":  func(*rapid.T) { p.claim() },
			"finish again": func(*rapid.T) { p.finish() },
			"cancel":       func(*rapid.T) { p.cancel() },
			"":             func(*rapid.T) { p.compare() },
		})
		p.real.noError(p.real.eng.Close(), "close")
	})
}

// within is a rig whose failures are those of one rapid run, on an engine of
// its own and with a patience of its own: there are many of them.
func (r *rig) within(t *rapid.T) *rig {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), cmp.Or(r.harness.patience, patience))
	t.Cleanup(cancel)
	out := &rig{TB: rapidTB{TB: r.TB, t: t}, harness: r.harness, ctx: ctx}
	out.fresh()
	return out
}

// recent is one of the last hand-outs.
func (p *pair) recent() twin {
	return p.grants[len(p.grants)-1-min(p.pick(4, "grant"), len(p.grants)-1)]
}

func (p *pair) pick(n int, label string) int { return rapid.IntRange(0, n-1).Draw(p.t, label) }

func (p *pair) enqueue() {
	specs := make([]morningai.TaskSpec, 1+p.pick(3, "tasks"))
	for i := range specs {
		s := spec(p.pick(2, "payload"))
		s.ID = p.ids[p.pick(len(p.ids), "id")]
		s.Queue = []string{"a", "b"}[p.pick(2, "queue")]
		s.Priority = p.pick(3, "priority")
		if k := p.pick(4, "key"); k < 2 {
			s.UniqueKey = fmt.Sprint("k", k)
		}
		if p.pick(4, "due") == 0 {
			s.RunAt = time.Now().Add(time.Hour)
		}
		specs[i] = s
	}
	want := p.model.tryEnqueue(specs...)
	for i, got := range p.real.tryEnqueue(specs...) {
		p.sameError(got.Err, want[i].Err, "receipt %d", i)
		if got.Err != nil {
			continue
		}
		p.real.want(got.Existing == want[i].Existing && got.Task.Duplicate == want[i].Task.Duplicate, "receipt %d: existing %v duplicate %v, want %v %v",
			i, got.Existing, got.Task.Duplicate, want[i].Existing, want[i].Task.Duplicate)
		p.same(got.Task, want[i].Task)
	}
}

func (p *pair) join() *holder {
	h := &holder{id: newSession()}
	p.sessions = append(p.sessions, h)
	p.real.beat(morningai.BeatRequest{Session: h.id})
	p.model.beat(morningai.BeatRequest{Session: h.id})
	return h
}

func (p *pair) session() *holder {
	if len(p.sessions) == 0 || len(p.sessions) < 3 && p.pick(4, "new session") == 0 {
		return p.join()
	}
	return p.sessions[p.pick(len(p.sessions), "session")]
}

func (p *pair) claim() {
	h := p.session()
	var queues []morningai.QueueShare
	if p.pick(2, "named queues") == 0 {
		queues = []morningai.QueueShare{{Name: "b", Share: 1}, {Name: "a", Share: 2}}
	}
	n := p.pick(4, "places")
	got, want := p.real.ask(h.id, n, queues...), p.model.ask(h.id, n, queues...)
	p.real.want(slices.Equal(grantIDs(got.Grants), grantIDs(want.Grants)), "granted %v, want %v", grantIDs(got.Grants), grantIDs(want.Grants))
	for _, id := range want.Cancels { // a task that has ended meanwhile may be named too
		p.real.want(slices.Contains(got.Cancels, id), "cancels %v, want %v", got.Cancels, want.Cancels)
	}
	lost := p.pick(5, "reply lost") == 0
	for i, g := range got.Grants {
		p.same(g.Task, want.Grants[i].Task)
		p.real.want(g.Lease.Claim == want.Grants[i].Lease.Claim, "claim %d, want %d", g.Lease.Claim, want.Grants[i].Lease.Claim)
		p.real.want(fmt.Sprint(g.Steps) == fmt.Sprint(want.Grants[i].Steps), "steps %v, want %v", g.Steps, want.Grants[i].Steps)
		p.grants = append(p.grants, twin{g, want.Grants[i]})
		if !lost {
			h.holding = append(h.holding, twin{g, want.Grants[i]})
		}
	}
	h.through = [2]int64{got.Seq, want.Seq}
}

func (p *pair) finish() {
	if len(p.grants) == 0 {
		return
	}
	var real, model []morningai.Report
	for range 1 + p.pick(2, "reports") {
		g := p.recent()
		o := outcomes[p.pick(len(outcomes), "outcome")]
		real, model = append(real, report(g.real, o)), append(model, report(g.model, o))
		if o == morningai.OutcomeRetry && p.pick(2, "at once") == 0 {
			real[len(real)-1].RunAt, model[len(model)-1].RunAt = time.Time{}, time.Time{}
		}
	}
	want := p.model.tryFinish(model...)
	for i, got := range p.real.tryFinish(real...) {
		p.sameError(got.Err, want[i].Err, "verdict %d", i)
		p.real.want(got.Err != nil || got.State == want[i].State, "verdict %d says %q, want %q", i, got.State, want[i].State)
	}
}

func (p *pair) checkpoint() {
	if len(p.grants) == 0 {
		return
	}
	g := p.recent()
	data := fmt.Sprint(p.pick(100, "data"))
	make := func(g morningai.Grant, kind int) morningai.Checkpoint {
		switch kind {
		case 0:
			return step(g.Lease, "s", data)
		case 1:
			return progress(g.Lease, data)
		}
		return logLine(g.Lease, g.Task.Attempt, data)
	}
	kind := p.pick(3, "kind")
	p.sameError(p.real.tryMark(make(g.real, kind))[0], p.model.tryMark(make(g.model, kind))[0], "checkpoint")
}

func (p *pair) beat() {
	h := p.session()
	real := morningai.BeatRequest{Session: h.id, Through: h.through[0], Leaving: p.pick(6, "leaving") == 0}
	model := real
	model.Through = h.through[1]
	if real.Leaving {
		// What a leaving worker still ran, it has released before.
		h.holding = nil
		p.sessions = slices.DeleteFunc(p.sessions, func(o *holder) bool { return o == h })
	}
	h.holding = slices.DeleteFunc(h.holding, func(g twin) bool { return p.model.get1(g.model.Task.ID).State != morningai.StateRunning })
	for _, g := range h.holding {
		real.Holding, model.Holding = append(real.Holding, g.real.Lease), append(model.Holding, g.model.Lease)
	}
	got, want := p.real.beat(real), p.model.beat(model)
	p.sameCancels(got.Cancels, want.Cancels)
	p.real.want(len(got.Lost) == len(want.Lost), "lost %v, want %v", got.Lost, want.Lost)
	p.real.want(got.Counter == want.Counter || got.Counter > 0, "counter %d", got.Counter)
	p.real.want(len(got.Sessions) == len(want.Sessions), "%d sessions, want %d", len(got.Sessions), len(want.Sessions))
	h.holding = slices.DeleteFunc(h.holding, func(g twin) bool { return slices.Contains(got.Lost, g.real.Lease) })
}

// get1 is a get that allows the task to be gone.
func (r *rig) get1(id morningai.ID) morningai.Task { return r.getAll(id)[0] }

func (p *pair) reap() {
	if len(p.sessions) == 0 {
		return
	}
	i := p.pick(len(p.sessions), "session")
	p.real.reap(p.sessions[i].id)
	p.model.reap(p.sessions[i].id)
	p.sessions = slices.Delete(p.sessions, i, i+1)
}

// cancel is a command for something that most likely runs.
func (p *pair) cancel() {
	if len(p.grants) > 0 {
		p.commandTo(morningai.Command{Kind: morningai.CommandCancel, ID: p.recent().real.Task.ID})
	}
}

func (p *pair) command() {
	cmd := morningai.Command{Kind: commandKinds[p.pick(len(commandKinds), "kind")], ID: p.ids[p.pick(len(p.ids), "id")]}
	if len(p.grants) > 0 && p.pick(2, "granted") == 0 {
		cmd.ID = p.recent().real.Task.ID
	}
	p.commandTo(cmd)
}

func (p *pair) commandTo(cmd morningai.Command) {
	want, wantErr := p.model.tryCommand(cmd)
	got, err := p.real.tryCommand(cmd)
	p.sameError(err, wantErr, "%s", cmd.Kind)
	if cmd.Kind != morningai.CommandDelete {
		p.same(got, want)
	}
}

func (p *pair) queue() {
	name := []string{"a", "b"}[p.pick(2, "queue")]
	change := morningai.QueueChange{}
	if p.pick(2, "pause") == 0 {
		change.Paused = new(p.pick(3, "paused") == 0)
	}
	if p.pick(2, "limit") == 0 {
		change.Concurrency = new(p.pick(3, "concurrency"))
	}
	got, want := p.real.setQueue(name, change), p.model.setQueue(name, change)
	got.Version, got.Changed = want.Version, want.Changed
	p.real.want(got == want, "queue %+v, want %+v", got, want)
}

// imports brings ends of tasks, from a node that both engines do not know.
func (p *pair) imports() {
	which := p.pick(len(p.ids), "id")
	rec := queuedRecord(p.ids[which])
	rec.Task.Queue = []string{"a", "b"}[p.pick(2, "queue")]
	rec.Task.Life = int64(1 + p.pick(3, "life"))
	if p.pick(2, "ended") == 0 {
		rec = end(rec, []morningai.State{morningai.StateSucceeded, morningai.StateFailed, morningai.StateCanceled}[p.pick(3, "end")], 5)
	}
	rec.Claim += int64(p.pick(6, "claim"))
	rec.Deleted = p.pick(8, "deleted") == 0
	// What was accepted at the same moment has no order: keep them apart.
	rec.Task.CreatedAt = time.Unix(int64(1_700_000_000+which), 0).UTC()
	want, got := p.model.importAll(rec)[0], p.real.importAll(rec)[0]
	p.sameError(got.Err, want.Err, "import")
	p.real.want(got.Status == want.Status, "import is %s, want %s", got.Status, want.Status)
}

func (p *pair) reopen() {
	if p.pick(3, "really") != 0 {
		return
	}
	for _, r := range []*rig{p.real, p.model} {
		r.reopen()
		p.real.noError(reapAll(r, "node"), "reap")
	}
	p.sessions = nil
}

// compare holds everything that readers see of one engine against the other.
func (p *pair) compare() {
	want := p.model.getAll(p.ids...)
	for i, got := range p.real.getAll(p.ids...) {
		p.same(got, want[i])
		if got.ID.IsZero() {
			continue
		}
		a, b := p.real.history(got.ID), p.model.history(got.ID)
		p.real.want(len(a.Attempts) == len(b.Attempts) && len(a.Logs) == len(b.Logs), "history has %d attempts, %d lines; want %d, %d", len(a.Attempts), len(a.Logs), len(b.Attempts), len(b.Logs))
		for j := range a.Attempts {
			p.real.want(a.Attempts[j].Outcome == b.Attempts[j].Outcome && a.Attempts[j].Number == b.Attempts[j].Number, "attempt %d is %+v, want %+v", j, a.Attempts[j], b.Attempts[j])
		}
	}
	records := map[morningai.ID]morningai.Record{}
	for _, rec := range p.model.exportAll() {
		records[rec.Task.ID] = rec
	}
	for _, got := range p.real.exportAll() {
		want, ok := records[got.Task.ID]
		p.real.want(ok && got.Deleted == want.Deleted, "record %s: deleted %v, want %v (known: %v)", got.Task.ID, got.Deleted, want.Deleted, ok)
		if !got.Deleted {
			p.real.want(got.UniqueKey == want.UniqueKey && got.Claim == want.Claim && fmt.Sprint(got.Steps) == fmt.Sprint(want.Steps),
				"record %+v, want %+v", got, want)
		}
		delete(records, got.Task.ID)
	}
	p.real.want(len(records) == 0, "the export lacks %d records", len(records))
	p.real.countsMatch()
	a, b := p.real.stats(), p.model.stats()
	p.real.want(fmt.Sprint(a.States) == fmt.Sprint(b.States), "states %v, want %v", a.States, b.States)
}

// same compares what does not depend on clocks and on how many small steps an
// engine takes.
func (p *pair) same(got, want morningai.Task) {
	line := func(t morningai.Task) string {
		return fmt.Sprint(t.ID, t.Type, t.Queue, t.Priority, t.State, t.Attempt, t.Failures, t.Life, t.CancelRequested,
			string(t.Payload), string(t.Result), string(t.Progress), t.Error != nil, t.RunAt.IsZero(), t.FinishedAt.IsZero(), t.StartedAt.IsZero())
	}
	p.real.want(line(got) == line(want), "the task is\n%s\nwant\n%s", line(got), line(want))
}

func (p *pair) sameError(got, want error, what string, args ...any) {
	p.real.want(morningai.CodeOf(got) == morningai.CodeOf(want), "%s: got %v, want %v", fmt.Sprintf(what, args...), got, want)
}

func (p *pair) sameCancels(got, want []morningai.ID) {
	byID := func(a, b morningai.ID) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	p.real.want(slices.Equal(got, want), "cancels %v, want %v", got, want)
}

// modelTB is what rapid needs of a test. rapidTB is one run of it: failures go
// to rapid, which then looks for a shorter sequence; the rest to the test.
type modelTB struct{ testing.TB }

type rapidTB struct {
	testing.TB
	t *rapid.T
}

func (b rapidTB) Cleanup(f func())                  { b.t.Cleanup(f) }
func (b rapidTB) Errorf(format string, args ...any) { b.t.Errorf(format, args...) }
func (b rapidTB) Fatalf(format string, args ...any) { b.t.Fatalf(format, args...) }
func (b rapidTB) Fatal(args ...any)                 { b.t.Fatal(args...) }
func (b rapidTB) Error(args ...any)                 { b.t.Error(args...) }
func (b rapidTB) FailNow()                          { b.t.FailNow() }
func (b rapidTB) Failed() bool                      { return b.t.Failed() }
func (b rapidTB) Helper()                           {}

// referenceHarness opens the reference as if it were an engine under test.
func referenceHarness() Harness {
	clocked := func(_ testing.TB, now func() time.Time) Storage {
		e := newReference(now)
		return func(testing.TB) morningai.Engine {
			e.Reopen()
			return e
		}
	}
	return Harness{New: func(tb testing.TB) Storage { return clocked(tb, time.Now) }, NewWithClock: clocked}
}

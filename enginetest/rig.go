package enginetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// patience ends a check that hangs. Nothing is judged by how long it takes.
const patience = 2 * time.Minute

// rig is a check's engine with the calls that checks make all the time. Its
// methods fail the check at once if the engine answers with an error.
type rig struct {
	testing.TB
	harness Harness
	storage Storage
	eng     morningai.Engine
	ctx     context.Context
}

func newRig(tb testing.TB, h Harness) *rig {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(h.patience, patience))
	tb.Cleanup(cancel)
	r := &rig{TB: tb, harness: h, ctx: ctx}
	r.fresh()
	return r
}

// fresh puts an engine on a new, empty storage in the place of the present one.
func (r *rig) fresh() {
	r.Helper()
	r.storage = r.harness.New(r.TB)
	r.open()
}

func (r *rig) open() {
	r.Helper()
	eng := r.storage(r.TB)
	r.eng = eng
	r.Cleanup(func() {
		if err := eng.Close(); err != nil {
			r.Errorf("close: %v", err)
		}
	})
}

// reopen closes the engine and opens its storage again.
func (r *rig) reopen() {
	r.Helper()
	r.noError(r.eng.Close(), "close")
	r.open()
}

func (r *rig) noError(err error, what string, args ...any) {
	r.Helper()
	if err != nil {
		r.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
}

func (r *rig) wantError(err, target error, what string, args ...any) {
	r.Helper()
	if !errors.Is(err, target) {
		r.Fatalf("%s: got %v, want %v", fmt.Sprintf(what, args...), err, target)
	}
}

func (r *rig) want(ok bool, format string, args ...any) {
	r.Helper()
	if !ok {
		r.Fatalf(format, args...)
	}
}

// spec is a task for type "work" whose payload says which one it is.
func spec(n int) morningai.TaskSpec {
	return morningai.NewTaskSpec("work", json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)))
}

// specs are tasks with ids in order, so that every engine knows their order.
func (r *rig) specs(n int, change ...func(i int, s *morningai.TaskSpec)) []morningai.TaskSpec {
	r.Helper()
	out := make([]morningai.TaskSpec, n)
	for i := range out {
		out[i] = spec(i)
		out[i].ID = r.id()
		for _, f := range change {
			f(i, &out[i])
		}
	}
	return out
}

func (r *rig) id() morningai.ID {
	r.Helper()
	id, err := morningai.NewID()
	r.noError(err, "make an id")
	return id
}

// tryEnqueue returns the receipts with whatever errors they carry.
func (r *rig) tryEnqueue(specs ...morningai.TaskSpec) []morningai.Receipt {
	r.Helper()
	got, err := r.eng.Enqueue(r.ctx, specs)
	r.noError(err, "enqueue")
	r.want(len(got) == len(specs), "enqueue of %d specs returned %d receipts", len(specs), len(got))
	return got
}

// enqueue returns the tasks; every spec must be accepted.
func (r *rig) enqueue(specs ...morningai.TaskSpec) []morningai.Task {
	r.Helper()
	tasks := make([]morningai.Task, len(specs))
	for i, receipt := range r.tryEnqueue(specs...) {
		r.noError(receipt.Err, "receipt %d", i)
		tasks[i] = receipt.Task
	}
	return tasks
}

func newSession() (s morningai.SessionID) {
	rand.Read(s[:]) // never fails
	return s
}

// join registers a new session.
func (r *rig) join() morningai.SessionID {
	r.Helper()
	s := newSession()
	r.beat(morningai.BeatRequest{Session: s})
	return s
}

func (r *rig) beat(req morningai.BeatRequest) morningai.BeatReply {
	r.Helper()
	if req.LeaseTime == 0 {
		req.LeaseTime = 15 * time.Second
	}
	if req.Node == "" {
		req.Node = "node"
	}
	if req.Types == nil {
		req.Types = []string{"work"}
	}
	if req.Concurrency == 0 {
		req.Concurrency = 10
	}
	reply, err := r.eng.Beat(r.ctx, req)
	r.noError(err, "beat")
	return reply
}

// ask claims for type "work" without waiting.
func (r *rig) ask(s morningai.SessionID, n int, queues ...morningai.QueueShare) morningai.ClaimReply {
	r.Helper()
	reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: s, Queues: queues, Types: []string{"work"}, N: n})
	r.noError(err, "claim")
	r.want(len(reply.Grants) <= n, "claim of at most %d brought %d grants", n, len(reply.Grants))
	return reply
}

// claim wants exactly n grants.
func (r *rig) claim(s morningai.SessionID, n int) []morningai.Grant {
	r.Helper()
	reply := r.ask(s, n)
	r.want(len(reply.Grants) == n, "claim brought %d grants, want %d", len(reply.Grants), n)
	return reply.Grants
}

// await claims n tasks and waits for them as long as the check may last.
func (r *rig) await(s morningai.SessionID, n int) []morningai.Grant {
	r.Helper()
	var got []morningai.Grant
	for len(got) < n {
		reply, err := r.eng.Claim(r.ctx, morningai.ClaimRequest{Session: s, Types: []string{"work"}, N: n - len(got), Wait: time.Hour})
		r.noError(err, "wait for a claim, %d of %d granted", len(got), n)
		got = append(got, reply.Grants...)
	}
	return got
}

// start enqueues one task and claims it for a new session.
func (r *rig) start(s morningai.TaskSpec) (morningai.SessionID, morningai.Grant) {
	r.Helper()
	r.enqueue(s)
	session := r.join()
	return session, r.claim(session, 1)[0]
}

// report is what a worker says of a grant.
func report(g morningai.Grant, o morningai.Outcome) morningai.Report {
	now := time.Now().UTC()
	out := morningai.Report{Lease: g.Lease, Node: "node", Outcome: o, Attempt: g.Task.Attempt, StartedAt: g.Task.StartedAt, FinishedAt: now}
	switch o {
	case morningai.OutcomeSucceeded:
		out.Result = json.RawMessage(`{"done":true}`)
	case morningai.OutcomeRetry:
		out.RunAt = now.Add(time.Hour)
		out.Error = &morningai.TaskError{Code: "boom", Message: "did not work"}
	case morningai.OutcomeFailed:
		out.Error = &morningai.TaskError{Code: "boom", Message: "did not work"}
	case morningai.OutcomeCanceled:
		out.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "gave up"}
	case morningai.OutcomeSnoozed:
		out.RunAt = now.Add(time.Hour)
	}
	return out
}

// retryNow is a failure that may be tried again at once.
func retryNow(g morningai.Grant) morningai.Report {
	out := report(g, morningai.OutcomeRetry)
	out.RunAt = time.Time{}
	return out
}

func (r *rig) tryFinish(reports ...morningai.Report) []morningai.Verdict {
	r.Helper()
	got, err := r.eng.Finish(r.ctx, reports)
	r.noError(err, "finish")
	r.want(len(got) == len(reports), "finish of %d reports returned %d verdicts", len(reports), len(got))
	return got
}

// finish wants every report accepted and returns the state after the first.
func (r *rig) finish(reports ...morningai.Report) morningai.State {
	r.Helper()
	got := r.tryFinish(reports...)
	for i, v := range got {
		r.noError(v.Err, "verdict %d", i)
	}
	return got[0].State
}

func (r *rig) tryCommand(cmd morningai.Command) (morningai.Task, error) {
	r.Helper()
	got, err := r.eng.Command(r.ctx, []morningai.Command{cmd})
	r.noError(err, "command")
	r.want(len(got) == 1, "one command returned %d results", len(got))
	return got[0].Task, got[0].Err
}

func (r *rig) command(kind morningai.CommandKind, id morningai.ID) morningai.Task {
	r.Helper()
	task, err := r.tryCommand(morningai.Command{Kind: kind, ID: id})
	r.noError(err, "%s", kind)
	return task
}

func (r *rig) getAll(ids ...morningai.ID) []morningai.Task {
	r.Helper()
	got, err := r.eng.Get(r.ctx, morningai.GetRequest{IDs: ids})
	r.noError(err, "get")
	r.want(len(got) == len(ids), "get of %d ids returned %d tasks", len(ids), len(got))
	return got
}

// get wants the task to be there.
func (r *rig) get(id morningai.ID) morningai.Task {
	r.Helper()
	task := r.getAll(id)[0]
	r.want(task.ID == id, "get returned task %s for %s", task.ID, id)
	return task
}

func (r *rig) gone(id morningai.ID) bool {
	r.Helper()
	return r.getAll(id)[0].ID.IsZero()
}

func (r *rig) wantState(id morningai.ID, state morningai.State) morningai.Task {
	r.Helper()
	task := r.get(id)
	r.want(task.State == state, "the task is %s, want %s", task.State, state)
	return task
}

func (r *rig) history(id morningai.ID) morningai.History {
	r.Helper()
	h, err := r.eng.History(r.ctx, id)
	r.noError(err, "history")
	return h
}

func (r *rig) stats() morningai.Stats {
	r.Helper()
	s, err := r.eng.Stats(r.ctx)
	r.noError(err, "stats")
	return s
}

// queue returns what Stats says of one queue.
func (r *rig) queue(name string) morningai.QueueInfo {
	r.Helper()
	s := r.stats()
	i := slices.IndexFunc(s.Queues, func(q morningai.QueueInfo) bool { return q.Name == name })
	r.want(i >= 0, "stats have no queue %q", name)
	return s.Queues[i]
}

func (r *rig) setQueue(name string, c morningai.QueueChange) morningai.QueueConfig {
	r.Helper()
	got, err := r.eng.SetQueue(r.ctx, name, c)
	r.noError(err, "set queue")
	return got
}

// listAll follows the cursors to the end.
func (r *rig) listAll(f morningai.Filter) []morningai.Task {
	r.Helper()
	var out []morningai.Task
	for {
		page, err := r.eng.List(r.ctx, f)
		r.noError(err, "list")
		out = append(out, page.Tasks...)
		if page.Next == "" {
			return out
		}
		r.want(page.Next != f.Cursor, "the cursor does not move")
		f.Cursor = page.Next
	}
}

// exportAll follows the cursors to the end.
func (r *rig) exportAll() []morningai.Record {
	r.Helper()
	var out []morningai.Record
	for cursor := ""; ; {
		page, err := r.eng.Export(r.ctx, cursor, 7)
		r.noError(err, "export")
		r.want(len(page.Records) <= 7, "export of 7 returned %d records", len(page.Records))
		out = append(out, page.Records...)
		if page.Next == "" {
			return out
		}
		r.want(page.Next != cursor, "the export's cursor does not move")
		cursor = page.Next
	}
}

func (r *rig) importAll(records ...morningai.Record) []morningai.ImportResult {
	r.Helper()
	got, err := r.eng.Import(r.ctx, records)
	r.noError(err, "import")
	r.want(len(got) == len(records), "import of %d records returned %d results", len(records), len(got))
	return got
}

func taskIDs(tasks []morningai.Task) []morningai.ID {
	out := make([]morningai.ID, len(tasks))
	for i := range tasks {
		out[i] = tasks[i].ID
	}
	return out
}

func specIDs(specs []morningai.TaskSpec) []morningai.ID {
	out := make([]morningai.ID, len(specs))
	for i := range specs {
		out[i] = specs[i].ID
	}
	return out
}

func grantIDs(grants []morningai.Grant) []morningai.ID {
	out := make([]morningai.ID, len(grants))
	for i := range grants {
		out[i] = grants[i].Task.ID
	}
	return out
}

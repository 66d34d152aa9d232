package enginetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// together runs f n times at once and fails the check with the first error.
func (r *rig) together(n int, f func(i int) error) {
	r.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	all.Wait()
	for i, err := range errs {
		r.noError(err, "caller %d of %d", i, n)
	}
}

// oddNumbers must come back digit for digit. The second has what floating
// point can read, but not write again.
const (
	oddNumbers  = `{"a": 1.0, "b":1e400, "c":123456789012345678901234567890,"d":-0,"e":0.1000,"f":1E+2, "g":"\u00e9\/"}`
	moreNumbers = `[1.0, 10000000000000001,0.10, 1e2, -0.0]`
)

func enqueueChecks() []check {
	return []check{
		{"an accepted task is stored as asked", enqueueStores},
		{"defaults: trace id, null payload, id made by the engine", enqueueDefaults},
		{"payload comes back digit for digit", enqueueDigits},
		{"receipts come in the order of the specs", enqueueOrder},
		{"a known id and the same request returns the stored task", enqueueRepeat},
		{"a repeat within one batch is a repeat", enqueueRepeatInBatch},
		{"a known id and another request is a conflict", enqueueConflict},
		{"a repeat after the end returns the ended task", enqueueRepeatEnded},
		{"a repeat after a reopen is a repeat", enqueueRepeatReopened},
		{"one id sent by many at once becomes one task", enqueueRace},
		{"a refused spec leaves no trace and does not touch the others", enqueueRefused},
		{"a task due later is scheduled, one due before is queued", enqueueScheduled},
		{"nothing is an empty answer", enqueueNothing},
		{"stored tasks do not share memory with the caller", enqueueSnapshot},
	}
}

func enqueueStores(r *rig) {
	hour := time.Hour
	s := spec(1)
	s.ID, s.TraceID = r.id(), r.id()
	s.Queue, s.Priority, s.MaxAttempts, s.Timeout, s.Retention = "mail", 3, 7, 90*time.Second, &hour
	s.Exclusive = true
	s.Metadata = map[string]string{"tenant": "a", "empty": ""}
	before := time.Now().Add(-time.Second)
	receipt := r.tryEnqueue(s)[0]
	r.noError(receipt.Err, "receipt")
	r.want(!receipt.Existing && !receipt.Task.Duplicate, "a new task is marked existing or duplicate")
	r.want(receipt.Task.Durable == r.eng.Capabilities().Durable, "durable is %q, capabilities say %q", receipt.Task.Durable, r.eng.Capabilities().Durable)
	r.want(receipt.Task.Durable != "" && receipt.Task.Runs == "here", "the receipt says durable %q, runs %q", receipt.Task.Durable, receipt.Task.Runs)
	for from, t := range map[string]morningai.Task{"receipt": receipt.Task, "get": r.get(s.ID)} {
		r.want(t.ID == s.ID && t.TraceID == s.TraceID && t.Type == s.Type && t.Queue == s.Queue && t.Priority == s.Priority,
			"%s: identity differs: %+v", from, t)
		r.want(t.MaxAttempts == s.MaxAttempts && t.Timeout == s.Timeout && t.Exclusive && bytes.Equal(t.Payload, s.Payload) && maps.Equal(t.Metadata, s.Metadata),
			"%s: settings differ: %+v", from, t)
		r.want(t.State == morningai.StateQueued && t.Attempt == 0 && t.Failures == 0 && t.Life == 1 && t.Version == 1,
			"%s: a new task is %s, attempt %d, failures %d, life %d, version %d", from, t.State, t.Attempt, t.Failures, t.Life, t.Version)
		r.want(t.Result == nil && t.Error == nil && t.Progress == nil && t.RunAt.IsZero() && t.StartedAt.IsZero() && t.FinishedAt.IsZero(),
			"%s: a new task carries results: %+v", from, t)
		r.want(t.CreatedAt.After(before) && !t.CreatedAt.After(time.Now()), "%s: created at %v", from, t.CreatedAt)
		r.want(t.Fresh == morningai.FreshLive && !t.AsOf.IsZero(), "%s: fresh %q as of %v", from, t.Fresh, t.AsOf)
	}
}

func enqueueDefaults(r *rig) {
	s := morningai.NewTaskSpec("work", nil)
	got := r.enqueue(s, s)
	r.want(!got[0].ID.IsZero() && got[0].ID != got[1].ID, "ids made are %s and %s", got[0].ID, got[1].ID)
	t := r.get(got[0].ID)
	r.want(t.TraceID == t.ID, "the trace id is %s, the id %s", t.TraceID, t.ID)
	r.want(string(t.Payload) == "null", "an absent payload is stored as %q", t.Payload)
	r.want(t.Queue == morningai.DefaultQueue && t.Priority == morningai.DefaultPriority, "queue %q priority %d", t.Queue, t.Priority)
}

func enqueueDigits(r *rig) {
	for _, numbers := range []string{oddNumbers, moreNumbers} {
		s := spec(1)
		s.Payload = json.RawMessage(numbers)
		_, g := r.start(s)
		r.want(string(g.Task.Payload) == numbers, "the grant has %s", g.Task.Payload)
		done := report(g, morningai.OutcomeSucceeded)
		done.Result = json.RawMessage(numbers)
		r.finish(done)
		t := r.get(g.Task.ID)
		r.want(string(t.Payload) == numbers && string(t.Result) == numbers, "payload %s, result %s", t.Payload, t.Result)
		listed := r.listAll(morningai.Filter{})[0]
		r.want(string(listed.Payload) == numbers && string(listed.Result) == numbers, "the list has %s, %s", listed.Payload, listed.Result)
	}
}

func enqueueOrder(r *rig) {
	specs := r.specs(300)
	got := taskIDs(r.enqueue(specs...))
	r.want(slices.Equal(got, specIDs(specs)), "the receipts are in another order than the specs")
}

func enqueueRepeat(r *rig) {
	specs := r.specs(3)
	first := r.enqueue(specs...)
	specs[1].RunAt, specs[1].TraceID = time.Now().Add(time.Hour), r.id() // a repeat may compute these anew
	keep := time.Minute
	specs[2].Retention = &keep
	for i, receipt := range r.tryEnqueue(specs...) {
		r.noError(receipt.Err, "repeat %d", i)
		r.want(receipt.Existing && !receipt.Task.Duplicate, "repeat %d: existing %v, duplicate %v", i, receipt.Existing, receipt.Task.Duplicate)
		r.want(receipt.Task.Version == first[i].Version && receipt.Task.State == morningai.StateQueued &&
			receipt.Task.CreatedAt.Equal(first[i].CreatedAt) && receipt.Task.TraceID == first[i].TraceID, "repeat %d changed the task: %+v", i, receipt.Task)
	}
	r.want(r.stats().States[morningai.StateQueued] == 3, "repeats are counted: %v", r.stats().States)
}

func enqueueRepeatInBatch(r *rig) {
	s := r.specs(1)[0]
	got := r.tryEnqueue(s, s, s)
	for i, receipt := range got {
		r.noError(receipt.Err, "receipt %d", i)
		r.want(receipt.Task.ID == s.ID && receipt.Existing == (i > 0), "receipt %d: existing %v", i, receipt.Existing)
	}
	r.claim(r.join(), 1)
	r.want(len(r.listAll(morningai.Filter{})) == 1, "one id became several tasks")
}

func enqueueConflict(r *rig) {
	s := r.specs(1)[0]
	s.Metadata, s.Fingerprint = map[string]string{"a": "b"}, "first"
	r.enqueue(s)
	for name, change := range map[string]func(*morningai.TaskSpec){
		"payload":      func(s *morningai.TaskSpec) { s.Payload = json.RawMessage(`{"n":  0}`) },
		"type":         func(s *morningai.TaskSpec) { s.Type = "other" },
		"queue":        func(s *morningai.TaskSpec) { s.Queue = "other" },
		"priority":     func(s *morningai.TaskSpec) { s.Priority = 1 },
		"max attempts": func(s *morningai.TaskSpec) { s.MaxAttempts = 2 },
		"timeout":      func(s *morningai.TaskSpec) { s.Timeout = time.Second },
		"exclusive":    func(s *morningai.TaskSpec) { s.Exclusive = true },
		"unique key":   func(s *morningai.TaskSpec) { s.UniqueKey = "k" },
		"metadata":     func(s *morningai.TaskSpec) { s.Metadata = map[string]string{"a": "c"} },
		"fingerprint":  func(s *morningai.TaskSpec) { s.Fingerprint = "other" },
	} {
		other := s
		change(&other)
		got := r.tryEnqueue(other, spec(9))
		r.wantError(got[0].Err, morningai.ErrConflict, "another %s", name)
		r.noError(got[1].Err, "the spec beside the conflict")
	}
	t := r.get(s.ID)
	r.want(t.Version == 1 && bytes.Equal(t.Payload, s.Payload), "a conflict changed the task: %+v", t)
}

func enqueueRepeatEnded(r *rig) {
	specs := r.specs(3)
	r.enqueue(specs...)
	grants := r.claim(r.join(), 3)
	r.finish(report(grants[0], morningai.OutcomeSucceeded), report(grants[1], morningai.OutcomeFailed), report(grants[2], morningai.OutcomeCanceled))
	states := []morningai.State{morningai.StateSucceeded, morningai.StateFailed, morningai.StateCanceled}
	for i, receipt := range r.tryEnqueue(specs...) {
		r.noError(receipt.Err, "repeat of an ended task")
		r.want(receipt.Existing && receipt.Task.State == states[i], "the repeat says %s, existing %v", receipt.Task.State, receipt.Existing)
	}
	r.want(len(r.ask(r.join(), 3).Grants) == 0, "an ended task runs again after a repeated enqueue")
}

func enqueueRepeatReopened(r *rig) {
	specs := r.specs(2)
	r.enqueue(specs...)
	r.reopen()
	for _, receipt := range r.tryEnqueue(specs...) {
		r.noError(receipt.Err, "repeat after a reopen")
		r.want(receipt.Existing && receipt.Task.Version == 1, "after a reopen the task is new: %+v", receipt)
	}
	specs[0].Payload = json.RawMessage(`0`)
	r.wantError(r.tryEnqueue(specs[0])[0].Err, morningai.ErrConflict, "another payload after a reopen")
}

func enqueueRace(r *rig) {
	const callers = 16
	specs := r.specs(20)
	fresh := make([]int, callers)
	r.together(callers, func(i int) error {
		got, err := r.eng.Enqueue(r.ctx, specs)
		for _, receipt := range got {
			if receipt.Err != nil {
				return receipt.Err
			}
			if !receipt.Existing {
				fresh[i]++
			}
		}
		return err
	})
	total := 0
	for _, n := range fresh {
		total += n
	}
	r.want(total == len(specs), "%d ids were reported new %d times", len(specs), total)
	r.claim(r.join(), len(specs))
	r.want(len(r.ask(r.join(), 100).Grants) == 0, "one id is handed out twice")
}

func enqueueRefused(r *rig) {
	good := r.specs(2)
	bad := map[string]struct {
		change func(*morningai.TaskSpec)
		want   error
	}{
		"type":         {func(s *morningai.TaskSpec) { s.Type = "no spaces" }, morningai.ErrInvalidInput},
		"queue":        {func(s *morningai.TaskSpec) { s.Queue = "" }, morningai.ErrInvalidInput},
		"priority":     {func(s *morningai.TaskSpec) { s.Priority = 10 }, morningai.ErrInvalidInput},
		"max attempts": {func(s *morningai.TaskSpec) { s.MaxAttempts = 0 }, morningai.ErrInvalidInput},
		"timeout":      {func(s *morningai.TaskSpec) { s.Timeout = -time.Second }, morningai.ErrInvalidInput},
		"run at":       {func(s *morningai.TaskSpec) { s.RunAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, morningai.ErrInvalidInput},
		"payload":      {func(s *morningai.TaskSpec) { s.Payload = json.RawMessage(`{"a":`) }, morningai.ErrInvalidInput},
		"NUL":          {func(s *morningai.TaskSpec) { s.Payload = json.RawMessage(`"\u0000"`) }, morningai.ErrInvalidInput},
		"unique key":   {func(s *morningai.TaskSpec) { s.UniqueKey = strings.Repeat("k", morningai.MaxUniqueKey+1) }, morningai.ErrInvalidInput},
		"large": {func(s *morningai.TaskSpec) {
			s.Payload = json.RawMessage(`"` + strings.Repeat("x", morningai.MaxPayload) + `"`)
		}, morningai.ErrTooLarge},
	}
	specs := []morningai.TaskSpec{good[0]}
	var names []string
	for name, b := range bad {
		s := spec(0)
		s.ID, s.Queue = r.id(), "refused"
		b.change(&s)
		specs, names = append(specs, s), append(names, name)
	}
	specs = append(specs, good[1])
	got := r.tryEnqueue(specs...)
	last := len(got) - 1
	r.noError(got[0].Err, "the first of the batch")
	r.noError(got[last].Err, "the last of the batch")
	for i, name := range names {
		r.wantError(got[i+1].Err, bad[name].want, "%s", name)
		r.want(r.gone(specs[i+1].ID), "the task with a bad %s is stored", name)
	}
	s := r.stats()
	r.want(s.States[morningai.StateQueued] == 2 && len(r.listAll(morningai.Filter{})) == 2, "refused specs are counted: %v", s.States)
	for _, q := range s.Queues {
		r.want(q.Name != "refused", "refused specs made a queue")
	}
}

func enqueueScheduled(r *rig) {
	due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	specs := r.specs(3, func(i int, s *morningai.TaskSpec) {
		s.RunAt = []time.Time{due, time.Now().Add(-time.Hour), time.Now().Add(60 * time.Millisecond)}[i]
	})
	got := r.enqueue(specs...)
	for from, t := range map[string]morningai.Task{"receipt": got[0], "get": r.get(specs[0].ID)} {
		r.want(t.State == morningai.StateScheduled && t.RunAt.Equal(due), "%s: state %s, due %v, want %v", from, t.State, t.RunAt, due)
	}
	r.want(got[1].State == morningai.StateQueued && got[1].RunAt.IsZero(), "one due before is %s, due %v", got[1].State, got[1].RunAt)
	session := r.join()
	var order []morningai.ID
	for len(order) < 2 { // the second becomes due while the claim waits
		order = append(order, grantIDs(r.await(session, 1))...)
	}
	r.want(slices.Equal(order, specIDs(specs)[1:]), "ran %v, want %v", order, specIDs(specs)[1:])
	r.want(!time.Now().Before(specs[2].RunAt), "a task ran before it was due")
	r.want(len(r.ask(session, 9).Grants) == 0, "a task due in an hour was handed out")
	r.wantState(specs[0].ID, morningai.StateScheduled)
}

func enqueueNothing(r *rig) {
	r.tryEnqueue()
	got, err := r.eng.Finish(r.ctx, nil)
	r.want(err == nil && len(got) == 0, "finish of nothing: %v, %v", got, err)
	r.want(len(r.getAll()) == 0, "get of nothing returns something")
	r.want(len(r.importAll()) == 0, "import of nothing returns something")
	r.want(len(r.listAll(morningai.Filter{})) == 0 && len(r.exportAll()) == 0, "an empty engine lists tasks")
}

func enqueueSnapshot(r *rig) {
	s := r.specs(1)[0]
	s.Payload = json.RawMessage(`{"keep":1}`)
	s.Metadata = map[string]string{"keep": "1"}
	task := r.enqueue(s)[0]
	want := fmt.Sprint(`{"keep":1}`, map[string]string{"keep": "1"})
	for _, spoil := range []func(){
		func() { s.Payload[2] = 'X'; s.Metadata["keep"] = "X" },
		func() { task.Payload[2] = 'X'; task.Metadata["keep"] = "X" },
		func() { got := r.get(s.ID); got.Payload[2] = 'X'; got.Metadata["keep"] = "X" },
		func() { got := r.claim(r.join(), 1)[0].Task; got.Payload[2] = 'X'; got.Metadata["keep"] = "X" },
	} {
		spoil()
		got := r.get(s.ID)
		r.want(fmt.Sprint(string(got.Payload), got.Metadata) == want, "a caller's change reaches the stored task: %s %v", got.Payload, got.Metadata)
	}
}

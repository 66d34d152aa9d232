package resilient

import (
	"errors"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
)

// bench is a core between a journal and a shared engine that is away, whose calls
// the test makes in the order that it wants.
type bench struct {
	*testing.T
	c *core
}

func newBench(t *testing.T) *bench {
	now := time.Now()
	setup := enginetest.Setup{Now: func() time.Time { return now }, Random: func() uint64 { return 7 }}
	cfg := defaults()
	cfg.limit = 1 << 30
	b := &bench{T: t, c: newCore(cfg, enginetest.NewReference(setup), enginetest.NewReference(setup), func() float64 { return 0.5 }, now)}
	b.c.contact.state = morningai.ContactDown
	b.c.backlog.started, b.c.backlog.due = true, time.Time{}
	return b
}

// make makes the calls of the journal, and those of it that these lead to.
func (b *bench) make(effects []effect) {
	for i := range effects {
		f := &effects[i]
		switch f.to {
		case toJournal:
			result, err := f.call(b.Context(), b.c.remote, b.c.journal)
			b.make(b.c.step(b.c.now, func() { f.then(result, err) }))
		case toReply:
			_, err := f.run(b.Context())
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// held accepts a task that waits in the journal.
func (b *bench) held() morningai.ID {
	spec := morningai.NewTaskSpec("work", []byte(`{}`))
	spec.DuringOutage = morningai.OutageHold
	if err := spec.Normalize(); err != nil {
		b.Fatal(err)
	}
	op := &enqueueOp{specs: []morningai.TaskSpec{spec}, fresh: []bool{true}, done: func(_ []morningai.Receipt, err error) {
		if err != nil {
			b.Error(err)
		}
	}}
	b.make(b.c.step(b.c.now.Add(time.Second), func() { b.c.enqueue(op) }))
	return spec.ID
}

func (b *bench) own(id morningai.ID) *morningai.Record {
	notes, err := b.c.journal.Noted(b.Context(), []morningai.NoteKey{keyOf(noteOwn, id)})
	if err != nil || notes[0].Seq == 0 {
		b.Fatal("the task does not wait in the journal", err)
	}
	r, err := morningai.ParseRecord(notes[0].Data)
	if err != nil {
		b.Fatal(err)
	}
	return &r
}

// An order about a task that has left the journal since it was looked for does not
// change the note there, which is about to go: it is kept, for the shared engine.
func TestAnOrderForWhatHasLeftIsKept(t *testing.T) {
	b := newBench(t)
	id := b.held()
	var result morningai.CommandResult
	op := &commandOp{cmds: []morningai.Command{{Kind: morningai.CommandCancel, ID: id}}, done: func(results []morningai.CommandResult, err error) {
		if err == nil {
			result = results[0]
		}
	}}
	asked := b.c.step(b.c.now, func() { b.c.command(op) })
	found, err := asked[0].call(t.Context(), b.c.remote, b.c.journal)
	notes, noteErr := b.c.journal.Notes(t.Context(), noteOwn, 0, 10)
	if err = errors.Join(err, noteErr); err != nil {
		t.Fatal(err)
	}
	b.c.step(b.c.now, func() { b.c.deliverOwn(notes) })
	b.make(b.c.step(b.c.now, func() { asked[0].then(found, nil) }))
	if !result.Task.Pending || b.c.backlog.commands != 1 {
		t.Errorf("the answer is %+v (%v), and %d orders are kept", result.Task, result.Err, b.c.backlog.commands)
	}
	if got := b.own(id).Task.State; got != morningai.StateQueued {
		t.Errorf("the note that is about to go says %s", got)
	}
}

// While a note is changed the delivery does not read it: it would erase the change
// with what it has delivered.
func TestWhatIsChangedIsNotDelivered(t *testing.T) {
	b := newBench(t)
	id := b.held()
	op := &commandOp{cmds: []morningai.Command{{Kind: morningai.CommandCancel, ID: id}}, done: func([]morningai.CommandResult, error) {}}
	asked := b.c.step(b.c.now, func() { b.c.command(op) })
	found, err := asked[0].call(t.Context(), b.c.remote, b.c.journal)
	if err != nil {
		t.Fatal(err)
	}
	change := b.c.step(b.c.now, func() { asked[0].then(found, nil) })
	deliver := func() (read bool) {
		effects := b.c.step(b.c.now, func() {
			b.c.contact.state = morningai.ContactUp
			b.c.backlog.stage, b.c.backlog.due, b.c.backlog.busy = stageOwn, b.c.now, false
		})
		for i := range effects {
			read = read || effects[i].name == "notes"
		}
		return read
	}
	if deliver() {
		t.Error("the note is read while it is changed")
	}
	b.make(change)
	if !deliver() {
		t.Error("the note is not read when it was changed")
	}
	if got := b.own(id).Task.State; got != morningai.StateCanceled {
		t.Errorf("the note says %s", got)
	}
}

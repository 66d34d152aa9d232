package resilient

import (
	"context"
	"log/slog"
	"time"

	"github.com/RC918/morningai"
)

// effect is something for the shell to do outside of the core.
type effect struct {
	to    target
	name  string
	limit time.Duration // of the call; 0: none
	// waits numbers a call that stands still by design, so that it can be
	// ended early; 0 for others.
	waits int64
	// What is to be written, instead of run: calls that write the same kind may be
	// made as one.
	notes []morningai.Note
	tasks []morningai.TaskSpec
	run   func(ctx context.Context) (any, error)
	then  func(result any, err error) // an event: the shell hands it back through step
	line  *line
}

// line is one for people.
type line struct {
	level slog.Level
	text  string
	attrs []any
}

// call makes the call of an effect.
func (f *effect) call(ctx context.Context, remote morningai.Engine, journal morningai.Journal) (any, error) {
	switch {
	case f.notes != nil:
		return nil, journal.Note(ctx, f.notes)
	case f.tasks != nil:
		return remote.Enqueue(ctx, f.tasks)
	}
	return f.run(ctx)
}

type target uint8

const (
	toReply   target = iota // run answers a caller; nothing comes back
	toShared                // a call of the shared engine
	toJournal               // a call of the journal
	toPeer                  // a call of another node
	toLog                   // a line for people
	toCancel                // the waiting call with this number ends
)

// onShared makes a call of the shared engine. What it says of the engine's
// health is noted before then sees it.
func onShared[T any](c *core, name string, limit time.Duration, run func(context.Context) (T, error), then func(T, error)) {
	if name != "beat" && name != "stats" && name != "probe" {
		c.mirror.stir(c.now)
	}
	call := c.contact.began(c.now)
	c.out = append(c.out, effect{to: toShared, name: name, limit: limit,
		run: reaching(c, run),
		then: func(result any, err error) {
			sent := c.contact.ended(call)
			got, _ := result.(reached[T])
			c.noteData(got.data)
			c.noteEdition(got.edition)
			c.noteAway(got.parts, got.away)
			c.noteContact(call, sent, err)
			c.mark(name, err)
			then(got.value, err)
		}})
}

// reached is what a call of the shared engine has brought, and on which data.
type reached[T any] struct {
	value   T
	data    morningai.DataSet
	edition int64 // of this node's journal, as it is on record
	parts   int
	away    []morningai.AwayPart
}

func reaching[T any](c *core, run func(context.Context) (T, error)) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		value, err := run(ctx)
		now := c.remote.Capabilities()
		return reached[T]{value, now.Data, now.Edition, now.Parts, now.Away}, err
	}
}

// waitShared is onShared for a call that stands still by design: how long it
// takes says nothing. It returns the number to end it with.
func waitShared[T any](c *core, name string, run func(context.Context) (T, error), then func(T, error)) int64 {
	sent := c.now
	c.calls++
	c.out = append(c.out, effect{to: toShared, name: name, waits: c.calls,
		run: reaching(c, run),
		then: func(result any, err error) {
			got, _ := result.(reached[T])
			c.noteData(got.data)
			c.noteEdition(got.edition)
			c.noteAway(got.parts, got.away)
			c.noteContact(0, sent, err)
			c.mark(name, err)
			then(got.value, err)
		}})
	return c.calls
}

// onJournal makes a call of the journal.
func onJournal[T any](c *core, name string, run func(context.Context) (T, error), then func(T, error)) {
	c.out = append(c.out, effect{to: toJournal, name: name,
		run: func(ctx context.Context) (any, error) { return run(ctx) },
		then: func(result any, err error) {
			c.noteDisk(err)
			value, _ := result.(T)
			then(value, err)
		}})
}

// waitJournal is onJournal for a call that stands still by design.
func waitJournal[T any](c *core, name string, run func(context.Context) (T, error), then func(T, error)) int64 {
	onJournal(c, name, run, then)
	c.calls++
	c.out[len(c.out)-1].waits = c.calls
	return c.calls
}

// end ends a waiting call early; its then is still called.
func (c *core) end(call int64) {
	if call != 0 {
		c.out = append(c.out, effect{to: toCancel, waits: call})
	}
}

// write is onJournal for calls that return nothing but an error.
func (c *core) write(name string, run func(context.Context) error, then func(error)) {
	onJournal(c, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, run(ctx) },
		func(_ struct{}, err error) { then(err) })
}

func (c *core) note(notes []morningai.Note, then func(error)) {
	for i := range notes {
		c.disk.written += int64(len(notes[i].Data))
		if len(c.trash) > 0 { // what stood there before is replaced, not erased
			delete(c.toErase, notes[i].NoteKey)
		}
	}
	if notes == nil {
		notes = []morningai.Note{}
	}
	c.out = append(c.out, effect{to: toJournal, name: "note", notes: notes, then: func(_ any, err error) {
		c.noteDisk(err)
		then(err)
	}})
}

// erase removes notes that have served their purpose, with others. If it fails
// they are acted on once more, which changes nothing.
func (c *core) erase(keys ...morningai.NoteKey) {
	if len(keys) == 0 {
		return
	}
	if len(c.trash) == 0 {
		c.after(eraseEvery, c.empty)
	}
	for _, k := range keys {
		c.toErase[k] = true
	}
	c.trash = append(c.trash, keys...)
}

// eraseNow removes notes before anything else is said: a reader must not find
// them.
func (c *core) eraseNow(keys []morningai.NoteKey, then func()) {
	c.write("erase", func(ctx context.Context) error { return c.journal.Erase(ctx, keys) }, func(error) { then() })
}

// eraseForGood is eraseNow for what a crash must not bring back: tasks that were
// refused would run. Erasing does not wait for the disk, a note behind it does, and
// says whether it is certain.
func (c *core) eraseForGood(keys []morningai.NoteKey, then func(error)) {
	c.eraseNow(keys, func() {
		c.note([]morningai.Note{{NoteKey: erasedKey, Data: []byte{1}}}, then)
	})
}

// eraseEvery gathers what is to be erased into fewer calls.
const eraseEvery = 50 * time.Millisecond

func (c *core) empty() {
	var keys []morningai.NoteKey
	for _, k := range c.trash {
		if c.toErase[k] {
			keys = append(keys, k)
			delete(c.toErase, k)
		}
	}
	c.trash = nil
	if len(keys) > 0 {
		c.write("erase", func(ctx context.Context) error { return c.journal.Erase(ctx, keys) }, func(error) {})
	}
}

// reply answers whoever waits for an operation.
func (c *core) reply(answer func()) {
	c.out = append(c.out, effect{to: toReply, run: func(context.Context) (any, error) {
		answer()
		return nil, nil
	}})
}

func (c *core) log(level slog.Level, text string, attrs ...any) {
	c.out = append(c.out, effect{to: toLog, line: &line{level, text, attrs}})
}

package fault

import (
	"context"
	"errors"

	"github.com/RC918/morningai"
)

// parrot is a journal whose methods note that they were called, and answer with
// their names, so that none can be taken for another.
type parrot struct{ called *[]string }

// say notes a call and answers with its name; wrong arguments have another one.
func (r parrot) say(name string, right bool) error {
	if !right {
		name += " with other arguments"
	}
	*r.called = append(*r.called, name)
	return errors.New(name)
}

func (r parrot) Capabilities() morningai.Capabilities { return morningai.Capabilities{} }
func (r parrot) Close() error                         { return nil }

func (r parrot) Enqueue(_ context.Context, s []morningai.TaskSpec) (v []morningai.Receipt, err error) {
	return v, r.say("Enqueue", len(s) == 3)
}

func (r parrot) Claim(_ context.Context, _ morningai.ClaimRequest) (v morningai.ClaimReply, err error) {
	return v, r.say("Claim", true)
}

func (r parrot) Finish(_ context.Context, s []morningai.Report) (v []morningai.Verdict, err error) {
	return v, r.say("Finish", len(s) == 3)
}

func (r parrot) Checkpoint(_ context.Context, s []morningai.Checkpoint) (v []error, err error) {
	return v, r.say("Checkpoint", len(s) == 3)
}

func (r parrot) Beat(_ context.Context, _ morningai.BeatRequest) (v morningai.BeatReply, err error) {
	return v, r.say("Beat", true)
}

func (r parrot) Reap(_ context.Context, s []morningai.Observation) (v []morningai.SessionID, err error) {
	return v, r.say("Reap", len(s) == 3)
}

func (r parrot) Command(_ context.Context, s []morningai.Command) (v []morningai.CommandResult, err error) {
	return v, r.say("Command", len(s) == 3)
}

func (r parrot) Get(_ context.Context, _ morningai.GetRequest) (v []morningai.Task, err error) {
	return v, r.say("Get", true)
}

func (r parrot) History(_ context.Context, _ morningai.ID) (v morningai.History, err error) {
	return v, r.say("History", true)
}

func (r parrot) List(_ context.Context, _ morningai.Filter) (v morningai.Page, err error) {
	return v, r.say("List", true)
}

func (r parrot) Stats(_ context.Context) (v morningai.Stats, err error) {
	return v, r.say("Stats", true)
}

func (r parrot) Events(_ context.Context, _ morningai.EventsRequest) (v morningai.EventsPage, err error) {
	return v, r.say("Events", true)
}

func (r parrot) SetQueue(_ context.Context, n string, _ morningai.QueueChange) (v morningai.QueueConfig, err error) {
	return v, r.say("SetQueue", n == "x")
}

func (r parrot) Export(_ context.Context, n string, k int) (v morningai.ExportPage, err error) {
	return v, r.say("Export", n == "x" && k == 7)
}

func (r parrot) Import(_ context.Context, s []morningai.Record) (v []morningai.ImportResult, err error) {
	return v, r.say("Import", len(s) == 3)
}

func (r parrot) Probe(_ context.Context) error {
	return r.say("Probe", true)
}

func (r parrot) Note(_ context.Context, s []morningai.Note) error {
	return r.say("Note", len(s) == 3)
}

func (r parrot) Erase(_ context.Context, s []morningai.NoteKey) error {
	return r.say("Erase", len(s) == 3)
}

func (r parrot) Notes(_ context.Context, k morningai.NoteKind, after int64, n int) (v []morningai.Note, err error) {
	return v, r.say("Notes", k == 7 && after == 7 && n == 7)
}

func (r parrot) Noted(_ context.Context, s []morningai.NoteKey) (v []morningai.Note, err error) {
	return v, r.say("Noted", len(s) == 3)
}

func (r parrot) NotedAs(_ context.Context, k morningai.NoteKind, n string) (v morningai.Note, err error) {
	return v, r.say("NotedAs", k == 7 && n == "x")
}

func (r parrot) Withdraw(_ context.Context, k morningai.NoteKind, n int) (v []morningai.Note, err error) {
	return v, r.say("Withdraw", k == 7 && n == 7)
}

func (r parrot) JournalInfo(_ context.Context) (v morningai.JournalInfo, err error) {
	return v, r.say("JournalInfo", true)
}

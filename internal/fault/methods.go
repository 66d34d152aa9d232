package fault

import (
	"context"

	"github.com/RC918/morningai"
)

// nothing is the answer of methods that have only an error.
type nothing = struct{}

// Enqueue implements [morningai.Engine]; so do the methods that follow.
func (e *Engine) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	return run(ctx, &e.Script, "Enqueue", specs, func(ctx context.Context) ([]morningai.Receipt, error) { return e.next.Enqueue(ctx, specs) })
}

func (e *Engine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	return run(ctx, &e.Script, "Claim", req, func(ctx context.Context) (morningai.ClaimReply, error) { return e.next.Claim(ctx, req) })
}

func (e *Engine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	return run(ctx, &e.Script, "Finish", reports, func(ctx context.Context) ([]morningai.Verdict, error) { return e.next.Finish(ctx, reports) })
}

func (e *Engine) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	return run(ctx, &e.Script, "Checkpoint", points, func(ctx context.Context) ([]error, error) { return e.next.Checkpoint(ctx, points) })
}

func (e *Engine) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	return run(ctx, &e.Script, "Beat", req, func(ctx context.Context) (morningai.BeatReply, error) { return e.next.Beat(ctx, req) })
}

func (e *Engine) Reap(ctx context.Context, observed []morningai.Observation) ([]morningai.SessionID, error) {
	return run(ctx, &e.Script, "Reap", observed, func(ctx context.Context) ([]morningai.SessionID, error) { return e.next.Reap(ctx, observed) })
}

func (e *Engine) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	return run(ctx, &e.Script, "Command", cmds, func(ctx context.Context) ([]morningai.CommandResult, error) { return e.next.Command(ctx, cmds) })
}

func (e *Engine) Get(ctx context.Context, req morningai.GetRequest) ([]morningai.Task, error) {
	return run(ctx, &e.Script, "Get", req, func(ctx context.Context) ([]morningai.Task, error) { return e.next.Get(ctx, req) })
}

func (e *Engine) History(ctx context.Context, id morningai.ID) (morningai.History, error) {
	return run(ctx, &e.Script, "History", id, func(ctx context.Context) (morningai.History, error) { return e.next.History(ctx, id) })
}

func (e *Engine) List(ctx context.Context, filter morningai.Filter) (morningai.Page, error) {
	return run(ctx, &e.Script, "List", filter, func(ctx context.Context) (morningai.Page, error) { return e.next.List(ctx, filter) })
}

func (e *Engine) Stats(ctx context.Context) (morningai.Stats, error) {
	return run(ctx, &e.Script, "Stats", nil, e.next.Stats)
}

func (e *Engine) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	return run(ctx, &e.Script, "Events", req, func(ctx context.Context) (morningai.EventsPage, error) { return e.next.Events(ctx, req) })
}

// SetQueue implements [morningai.Engine]. Its request is the queue's name.
func (e *Engine) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	return run(ctx, &e.Script, "SetQueue", name, func(ctx context.Context) (morningai.QueueConfig, error) { return e.next.SetQueue(ctx, name, change) })
}

// Export implements [morningai.Engine]. Its request is the cursor.
func (e *Engine) Export(ctx context.Context, cursor string, limit int) (morningai.ExportPage, error) {
	return run(ctx, &e.Script, "Export", cursor, func(ctx context.Context) (morningai.ExportPage, error) { return e.next.Export(ctx, cursor, limit) })
}

func (e *Engine) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	return run(ctx, &e.Script, "Import", records, func(ctx context.Context) ([]morningai.ImportResult, error) { return e.next.Import(ctx, records) })
}

func (e *Engine) Probe(ctx context.Context) error {
	_, err := run(ctx, &e.Script, "Probe", nil, func(ctx context.Context) (nothing, error) { return nothing{}, e.next.Probe(ctx) })
	return err
}

// Journal is a journal that fails by script: an engine's methods and its own.
type Journal struct {
	*Engine
	journal morningai.Journal
}

// NewJournal puts a script before a journal.
func NewJournal(next morningai.Journal) *Journal {
	return &Journal{Engine: NewEngine(next), journal: next}
}

// Note implements [morningai.Journal]; so do the methods that follow.
func (j *Journal) Note(ctx context.Context, notes []morningai.Note) error {
	_, err := run(ctx, &j.Script, "Note", notes, func(ctx context.Context) (nothing, error) { return nothing{}, j.journal.Note(ctx, notes) })
	return err
}

func (j *Journal) Erase(ctx context.Context, keys []morningai.NoteKey) error {
	_, err := run(ctx, &j.Script, "Erase", keys, func(ctx context.Context) (nothing, error) { return nothing{}, j.journal.Erase(ctx, keys) })
	return err
}

// Notes implements [morningai.Journal]. Its request is the kind.
func (j *Journal) Notes(ctx context.Context, kind morningai.NoteKind, after int64, limit int) ([]morningai.Note, error) {
	return run(ctx, &j.Script, "Notes", kind, func(ctx context.Context) ([]morningai.Note, error) { return j.journal.Notes(ctx, kind, after, limit) })
}

func (j *Journal) Noted(ctx context.Context, keys []morningai.NoteKey) ([]morningai.Note, error) {
	return run(ctx, &j.Script, "Noted", keys, func(ctx context.Context) ([]morningai.Note, error) { return j.journal.Noted(ctx, keys) })
}

// NotedAs implements [morningai.Journal]. Its request is the kind.
func (j *Journal) NotedAs(ctx context.Context, kind morningai.NoteKind, alt string) (morningai.Note, error) {
	return run(ctx, &j.Script, "NotedAs", kind, func(ctx context.Context) (morningai.Note, error) { return j.journal.NotedAs(ctx, kind, alt) })
}

// Withdraw implements [morningai.Journal]. Its request is the kind.
func (j *Journal) Withdraw(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
	return run(ctx, &j.Script, "Withdraw", kind, func(ctx context.Context) ([]morningai.Note, error) { return j.journal.Withdraw(ctx, kind, limit) })
}

// JournalInfo implements [morningai.Journal].
func (j *Journal) JournalInfo(ctx context.Context) (morningai.JournalInfo, error) {
	return run(ctx, &j.Script, "JournalInfo", nil, j.journal.JournalInfo)
}

package peer

import (
	"context"
	"encoding/json"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// Finish reports outcomes to the server that handed the tasks out.
func (e *Engine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	out := make([]morningai.Verdict, len(reports))
	for i := range reports {
		r := &reports[i]
		id, ok := e.find(r.Lease)
		if !ok {
			out[i].Err = stale("finish")
			continue
		}
		err := e.insist(ctx, func(ctx context.Context) (err error) {
			out[i].State, err = e.client.FinishClaim(ctx, id, endOf(r))
			return err
		})
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		out[i].Err = worded(err)
	}
	return out, nil
}

// endOf says what became of a task. Times are told as waits: clocks differ.
func endOf(r *morningai.Report) client.ClaimEnd {
	end := client.ClaimEnd{Result: r.Result, Error: r.Error, Stack: r.Stack, Outcome: r.Outcome}
	switch r.Outcome {
	case morningai.OutcomeRetry, morningai.OutcomeSnoozed:
		wait := max(0, r.RunAt.Sub(r.FinishedAt))
		end.After, end.Result = &wait, nil
	case morningai.OutcomeSucceeded:
		end.Outcome, end.Error = "", nil
	case morningai.OutcomeFailed:
		end.Result = nil
	}
	return end
}

// Checkpoint records what running handlers have reached. Steps and log lines
// wait for the server; progress is for readers, and does not.
func (e *Engine) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	errs := make([]error, len(points))
	for i := 0; i < len(points); {
		p := &points[i]
		n := 1
		id, ok := e.find(p.Lease)
		var err error
		switch {
		case !ok:
			err = stale("checkpoint")
		case p.Kind == morningai.CheckpointProgress:
			err = e.progress(ctx, id, p.Data)
		case p.Kind == morningai.CheckpointRepeat:
			err = refuse("checkpoint") // only the server can know
		case p.Kind == morningai.CheckpointStep:
			err = e.insist(ctx, func(ctx context.Context) error { return e.client.RecordStep(ctx, id, p.Name, p.Data) })
		default:
			lines := linesOf(points[i:])
			n = len(lines)
			err = e.insist(ctx, func(ctx context.Context) error { return e.client.LogClaim(ctx, id, lines) })
		}
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		for range n {
			errs[i] = worded(err)
			i++
		}
	}
	return errs, nil
}

func (e *Engine) progress(ctx context.Context, id string, data json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := e.client.BeatClaim(ctx, id, data)
	return err
}

// linesOf returns the log lines at the start that belong to one claim.
func linesOf(points []morningai.Checkpoint) []morningai.LogLine {
	const most = 1_000
	var out []morningai.LogLine
	for i := range points {
		if points[i].Kind != morningai.CheckpointLog || points[i].Lease != points[0].Lease || len(out) == most {
			break
		}
		out = append(out, points[i].Line)
	}
	return out
}

// insist repeats a call until the server has answered what it thinks of it, or
// ctx ends.
func (e *Engine) insist(ctx context.Context, do func(context.Context) error) error {
	for tries := 0; ; tries++ {
		limited, cancel := context.WithTimeout(ctx, patience)
		err := do(limited)
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = errNoAnswer
		}
		cancel()
		switch morningai.CodeOf(err) {
		case morningai.CodeStale, morningai.CodeNotFound, morningai.CodeInvalidInput, morningai.CodeTooLarge, codeInvalidJSON:
			e.reached()
			return err
		}
		if err == nil {
			e.reached()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.failed(err)
		if pause(ctx, delay(tries)); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// worded says as engines do that a claim is over, or that a value is no JSON for
// the server.
func worded(err error) error {
	switch morningai.CodeOf(err) {
	case morningai.CodeNotFound:
		return stale("report")
	case codeInvalidJSON:
		return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "report", Detail: "the peer does not take this as JSON", Err: err}
	}
	return err
}

// codeInvalidJSON is how a server refuses the text of a body.
const codeInvalidJSON morningai.Code = "invalid_json"

func stale(op string) error {
	return &morningai.Error{Code: morningai.CodeStale, Op: op, Detail: "the peer that handed the task out has taken it back"}
}

// refusing is what a peer is not asked for.
type refusing struct{}

func refuse(op string) error {
	return &morningai.Error{Code: morningai.CodeInvalidInput, Op: op, Detail: "a peer only hands out tasks and takes their outcomes",
		Hint: "use the app's own engine"}
}

// Capabilities describes the engine.
func (refusing) Capabilities() morningai.Capabilities { return morningai.Capabilities{Name: "peer"} }

// Enqueue is refused.
func (refusing) Enqueue(context.Context, []morningai.TaskSpec) ([]morningai.Receipt, error) {
	return nil, refuse("enqueue")
}

// Reap declares nobody dead: the server watches its own workers.
func (refusing) Reap(context.Context, []morningai.Observation) ([]morningai.SessionID, error) {
	return nil, nil
}

// Command is refused.
func (refusing) Command(context.Context, []morningai.Command) ([]morningai.CommandResult, error) {
	return nil, refuse("command")
}

// Get is refused.
func (refusing) Get(context.Context, morningai.GetRequest) ([]morningai.Task, error) {
	return nil, refuse("get")
}

// History is refused.
func (refusing) History(context.Context, morningai.ID) (morningai.History, error) {
	return morningai.History{}, refuse("history")
}

// List is refused.
func (refusing) List(context.Context, morningai.Filter) (morningai.Page, error) {
	return morningai.Page{}, refuse("list")
}

// Stats is refused.
func (refusing) Stats(context.Context) (morningai.Stats, error) {
	return morningai.Stats{}, refuse("stats")
}

// Events is refused.
func (refusing) Events(context.Context, morningai.EventsRequest) (morningai.EventsPage, error) {
	return morningai.EventsPage{}, refuse("events")
}

// SetQueue is refused.
func (refusing) SetQueue(context.Context, string, morningai.QueueChange) (morningai.QueueConfig, error) {
	return morningai.QueueConfig{}, refuse("set queue")
}

// Export is refused.
func (refusing) Export(context.Context, string, int) (morningai.ExportPage, error) {
	return morningai.ExportPage{}, refuse("export")
}

// Import is refused.
func (refusing) Import(context.Context, []morningai.Record) ([]morningai.ImportResult, error) {
	return nil, refuse("import")
}

// Probe is refused.
func (refusing) Probe(context.Context) error { return refuse("probe") }

var _ morningai.Engine = (*Engine)(nil)

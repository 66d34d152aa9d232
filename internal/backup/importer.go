package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

const importBytes = 4 << 20 // of one call, roughly

// importer hands records to an engine, some at a time.
type importer struct {
	Target
	at    time.Time // when what runs in them was seen running
	out   *Restored
	total int64
	done  int64
	batch []morningai.Record
	lost  []bool // which of them ran
	bytes int
	seen  func(*morningai.Record, morningai.ImportStatus) // may be nil
}

func (in *importer) add(ctx context.Context, records []morningai.Record) error {
	for i := range records {
		r := &records[i]
		in.lost = append(in.lost, requeue(r, in.at))
		in.batch = append(in.batch, *r)
		in.bytes += len(r.Task.Payload) + len(r.Task.Result) + len(r.Task.Progress)
		if len(in.batch) == morningai.MaxBatch || in.bytes >= importBytes {
			if err := in.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *importer) flush(ctx context.Context) error {
	if len(in.batch) == 0 {
		return nil
	}
	results, err := in.Engine.Import(ctx, in.batch)
	if err != nil {
		return err
	}
	for i := range results {
		r := &in.batch[i]
		switch results[i].Status {
		case morningai.ImportAdded:
			in.out.Added++
		case morningai.ImportUpdated:
			in.out.Updated++
		case morningai.ImportKept, morningai.ImportRepeated:
			in.out.Kept++
		}
		if in.lost[i] && (results[i].Status == morningai.ImportAdded || results[i].Status == morningai.ImportUpdated) {
			in.out.Requeued++
		}
		if err := results[i].Err; err != nil {
			return fmt.Errorf("import of task %s: %w", r.Task.ID, err)
		}
		if in.seen != nil {
			in.seen(r, results[i].Status)
		}
	}
	in.done += int64(len(in.batch))
	in.batch, in.lost, in.bytes = in.batch[:0], in.lost[:0], 0
	if in.Progress != nil {
		in.Progress(in.done, max(in.total, in.done))
	}
	return nil
}

// ErrorCodeRestored says of a lost attempt that its task was put into an engine
// from a backup, or from another engine, while it ran.
const ErrorCodeRestored = "restored"

// requeue makes a record that runs one whose attempt was lost: whoever ran it has
// no part in the engine that it comes to. It says so in the attempt. A cancel that
// waited for the handler takes effect.
func requeue(r *morningai.Record, at time.Time) bool {
	t := &r.Task
	r.Session = morningai.SessionID{}
	if t.State != morningai.StateRunning || r.Deleted {
		return false
	}
	at = at.UTC().Truncate(time.Millisecond)
	cause := &morningai.TaskError{Code: ErrorCodeRestored, Message: "the task was running when it was copied, and what became of this attempt is not known"}
	lost := morningai.Attempt{Number: t.Attempt, Life: t.Life, Node: r.Node, StartedAt: t.StartedAt, FinishedAt: at, Outcome: morningai.OutcomeLost, Error: cause}
	kept := make([]morningai.Attempt, 0, len(r.Attempts)+1)
	for _, a := range r.Attempts {
		if a.Outcome != "" { // the open one is this
			kept = append(kept, a)
		}
	}
	r.Attempts = append(kept, lost)
	r.Settled = morningai.OutcomeLost
	t.Version++
	t.State = morningai.StateQueued
	if t.CancelRequested {
		t.State, t.CancelRequested, t.FinishedAt = morningai.StateCanceled, false, at
		t.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled"}
	}
	return true
}

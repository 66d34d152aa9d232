package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/RC918/morningai"
)

func checkpointChecks() []check {
	return []check{
		{"the first result of a step stays", checkpointStep},
		{"steps stay over lives and reopens", checkpointLives},
		{"progress is visible at once", checkpointProgress},
		{"log lines are kept in order, the newest of them", checkpointLog},
		{"a checkpoint passes the same fence as an outcome", checkpointFence},
		{"a bad checkpoint does not touch the others", checkpointBad},
	}
}

// mark records checkpoints, all of which must be accepted.
func (r *rig) mark(points ...morningai.Checkpoint) {
	r.Helper()
	errs := r.tryMark(points...)
	r.noError(errors.Join(errs...), "checkpoint")
}

func (r *rig) tryMark(points ...morningai.Checkpoint) []error {
	r.Helper()
	errs, err := r.eng.Checkpoint(r.ctx, points)
	r.noError(err, "checkpoints")
	r.want(len(errs) == len(points), "%d checkpoints have %d answers", len(points), len(errs))
	return errs
}

func step(l morningai.Lease, name, data string) morningai.Checkpoint {
	return morningai.Checkpoint{Lease: l, Kind: morningai.CheckpointStep, Name: name, Data: json.RawMessage(data)}
}

func progress(l morningai.Lease, data string) morningai.Checkpoint {
	return morningai.Checkpoint{Lease: l, Kind: morningai.CheckpointProgress, Data: json.RawMessage(data)}
}

func logLine(l morningai.Lease, attempt int, message string) morningai.Checkpoint {
	return morningai.Checkpoint{Lease: l, Kind: morningai.CheckpointLog, Line: morningai.LogLine{
		Attempt: attempt, At: time.Now().UTC().Truncate(time.Millisecond), Level: "info", Message: message, Attrs: json.RawMessage(`{"n":1.0}`),
	}}
}

func checkpointStep(r *rig) {
	session, g := r.start(r.specs(1)[0])
	r.mark(step(g.Lease, "a", `{"first": 1.0}`), step(g.Lease, "a", `"second"`))
	r.mark(step(g.Lease, "a", `"third"`), step(g.Lease, "b", `2`))
	r.finish(retryNow(g))
	g = r.claim(session, 1)[0]
	r.want(len(g.Steps) == 2 && string(g.Steps["a"]) == `{"first": 1.0}` && string(g.Steps["b"]) == `2`, "steps are %s", g.Steps)
	r.mark(step(g.Lease, "a", `"of the second attempt"`))
	r.finish(retryNow(g))
	g = r.claim(session, 1)[0]
	r.want(string(g.Steps["a"]) == `{"first": 1.0}`, "a later attempt replaced the step: %s", g.Steps)
}

func checkpointLives(r *rig) {
	_, g := r.start(r.specs(1)[0])
	r.mark(step(g.Lease, "a", `1`), progress(g.Lease, `{"done":1}`), logLine(g.Lease, 1, "hello"))
	r.finish(report(g, morningai.OutcomeFailed))
	r.reopen()
	r.command(morningai.CommandRetry, g.Task.ID)
	r.reopen()
	next := r.claim(r.join(), 1)[0]
	r.want(string(next.Steps["a"]) == `1`, "the next life has steps %s", next.Steps)
	h := r.history(g.Task.ID)
	r.want(len(h.Logs) == 1 && h.Logs[0].Message == "hello", "logs after a reopen: %+v", h.Logs)
}

func checkpointProgress(r *rig) {
	_, g := r.start(r.specs(1)[0])
	last := g.Task.Version
	for _, p := range []string{`{"percent": 10.0}`, `"half"`, `1e2`} {
		r.mark(progress(g.Lease, p))
		t := r.wantState(g.Task.ID, morningai.StateRunning)
		r.want(string(t.Progress) == p && t.Version > last, "progress %s, version %d after %d", t.Progress, t.Version, last)
		last = t.Version
	}
	r.finish(report(g, morningai.OutcomeSucceeded))
	r.want(string(r.get(g.Task.ID).Progress) == `1e2`, "the end took the progress away")
}

func checkpointLog(r *rig) {
	session, g := r.start(r.specs(1)[0])
	first := logLine(g.Lease, 1, "first")
	r.mark(first, logLine(g.Lease, 1, "second"))
	logs := r.history(g.Task.ID).Logs
	r.want(len(logs) == 2 && logs[0].Message == "first" && logs[1].Message == "second", "logs are %+v", logs)
	l := logs[0]
	r.want(l.Attempt == 1 && l.At.Equal(first.Line.At) && l.Level == "info" && string(l.Attrs) == `{"n":1.0}`, "the line is %+v, want %+v", l, first.Line)

	r.finish(retryNow(g))
	g = r.claim(session, 1)[0]
	var lines []morningai.Checkpoint
	for i := range morningai.MaxLogLines + 5 {
		lines = append(lines, logLine(g.Lease, 2, fmt.Sprint("line ", i)))
	}
	r.mark(lines[:700]...)
	r.mark(lines[700:]...)
	logs = r.history(g.Task.ID).Logs
	r.want(len(logs) == morningai.MaxLogLines, "%d log lines are kept", len(logs))
	for i, l := range logs {
		r.want(l.Message == fmt.Sprint("line ", i+5) && l.Attempt == 2, "line %d is %+v", i, l)
	}
}

func checkpointFence(r *rig) {
	session, g := r.start(r.specs(1)[0])
	wrong := g.Lease
	wrong.Lease++
	r.wantError(r.tryMark(step(wrong, "a", `1`))[0], morningai.ErrStale, "a checkpoint with another lease")
	unknown := g.Lease
	unknown.ID = r.id()
	r.wantError(r.tryMark(progress(unknown, `1`))[0], morningai.ErrNotFound, "a checkpoint of an unknown task")
	r.finish(retryNow(g))
	r.wantError(r.tryMark(logLine(g.Lease, 1, "late"))[0], morningai.ErrStale, "a checkpoint after the outcome")
	next := r.claim(session, 1)[0]
	for i, err := range r.tryMark(step(g.Lease, "a", `1`), progress(g.Lease, `1`), logLine(g.Lease, 1, "late")) {
		r.wantError(err, morningai.ErrStale, "checkpoint %d of a superseded claim", i)
	}
	r.mark(step(next.Lease, "b", `2`))
	r.finish(retryNow(next))
	again := r.claim(session, 1)[0]
	t := r.get(g.Task.ID)
	r.want(len(again.Steps) == 1 && t.Progress == nil && len(r.history(g.Task.ID).Logs) == 0, "refused checkpoints left a trace: %s %s", again.Steps, t.Progress)
	r.reap(session)
	r.wantError(r.tryMark(progress(again.Lease, `1`))[0], morningai.ErrStale, "a checkpoint after the session was reaped")
}

func checkpointBad(r *rig) {
	session, g := r.start(r.specs(1)[0])
	got := r.tryMark(
		step(g.Lease, "good", `1`),
		step(g.Lease, "bad name!", `1`),
		step(g.Lease, "bad", `{`),
		progress(g.Lease, `nope`),
		morningai.Checkpoint{Lease: g.Lease, Kind: 99, Data: json.RawMessage(`1`)},
		progress(g.Lease, `"good"`),
	)
	for i, err := range got {
		if i == 0 || i == 5 {
			r.noError(err, "good checkpoint %d", i)
		} else {
			r.wantError(err, morningai.ErrInvalidInput, "bad checkpoint %d", i)
		}
	}
	r.want(string(r.get(g.Task.ID).Progress) == `"good"`, "progress is %s", r.get(g.Task.ID).Progress)
	r.finish(retryNow(g))
	r.want(len(r.claim(session, 1)[0].Steps) == 1, "a bad step is kept")
}

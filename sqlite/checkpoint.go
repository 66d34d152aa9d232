package sqlite

import (
	"context"

	"github.com/RC918/morningai"
)

type checkpointWork struct {
	points []morningai.Checkpoint
	errs   []error
}

func (w *checkpointWork) size() int { return len(w.points) }

// Checkpoint implements morningai.Engine.
func (e *Engine) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	w := &checkpointWork{points: make([]morningai.Checkpoint, len(points)), errs: make([]error, len(points))}
	copy(w.points, points)
	for i := range w.points {
		w.points[i].Data, w.points[i].Line.Attrs = clone(w.points[i].Data), clone(w.points[i].Line.Attrs)
	}
	if len(points) == 0 {
		return w.errs, nil
	}
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.errs, nil
}

func checkPoint(p *morningai.Checkpoint) error {
	const op = "checkpoint"
	large := func(what string) error {
		return &morningai.Error{Code: morningai.CodeTooLarge, Op: op, Detail: "the " + what + " is over the size limit", Hint: "keep the data elsewhere"}
	}
	switch p.Kind {
	case morningai.CheckpointStep:
		if !morningai.ValidName(p.Name) {
			return morningai.InvalidInput(op, morningai.FieldError{Location: "name", Message: morningai.NameRule})
		}
		if len(p.Data) > morningai.MaxPayload {
			return large("step's result")
		}
	case morningai.CheckpointProgress:
		if len(p.Data) > morningai.MaxPayload {
			return large("progress")
		}
	case morningai.CheckpointLog:
		if len(p.Line.Message)+len(p.Line.Attrs) > morningai.MaxLogLine {
			return large("log line")
		}
		if len(p.Line.Attrs) > 0 && !validJSON(p.Line.Attrs) {
			return morningai.InvalidInput(op, morningai.FieldError{Location: "attrs", Message: "must be one JSON object in UTF-8"})
		}
	case morningai.CheckpointRepeat:
	default:
		return morningai.InvalidInput(op, morningai.FieldError{Location: "kind", Message: "must be a step, progress, a log line or a repeat"})
	}
	if p.Kind != morningai.CheckpointLog && len(p.Data) > 0 && !validJSON(p.Data) {
		return morningai.InvalidInput(op, morningai.FieldError{Location: "data", Message: "must be one JSON value in UTF-8"})
	}
	return nil
}

func (w *checkpointWork) apply(t *txn) error {
	for i := range w.points {
		p := &w.points[i]
		if w.errs[i] = checkPoint(p); w.errs[i] != nil {
			continue
		}
		it, err := t.find(p.Lease.ID)
		if err != nil {
			return err
		}
		switch {
		case it == nil:
			w.errs[i] = notFound("checkpoint")
		case t.fence(it, p.Lease, "") != morningai.FenceAccept:
			w.errs[i] = stale("checkpoint")
		default:
			if err := t.checkpoint(it, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *txn) checkpoint(it *item, p *morningai.Checkpoint) error {
	switch p.Kind {
	case morningai.CheckpointStep:
		return t.putStep(it, p.Name, p.Data)
	case morningai.CheckpointProgress:
		t.touch(it)
		it.edit().progress = p.Data
		t.event(morningai.EventProgress, it)
		return nil
	case morningai.CheckpointRepeat:
		t.touch(it)
		it.edit().flags |= flagRepeat
		return nil
	}
	if err := t.putLog(it, &p.Line); err != nil {
		return err
	}
	t.event(morningai.EventLog, it)
	return nil
}

func (t *txn) putStep(it *item, name string, data []byte) error {
	if len(data) == 0 {
		data = []byte("null")
	}
	s := t.e.sql.stepPut
	s.int(1, it.row.seq)
	s.text(2, name)
	s.blob(3, data)
	if err := s.exec(); err != nil {
		return err
	}
	if it.row.flags&flagSteps == 0 {
		it.edit().flags |= flagSteps
	}
	return nil
}

func (t *txn) putLog(it *item, line *morningai.LogLine) error {
	q := &t.e.sql
	q.logLast.int(1, it.row.seq)
	n, _, err := first(q.logLast)
	if err != nil {
		return err
	}
	n++
	s := q.logPut
	s.int(1, it.row.seq)
	s.int(2, n)
	s.int(3, int64(line.Attempt))
	s.intOrNull(4, micros(line.At))
	s.text(5, line.Level)
	s.text(6, line.Message)
	s.blob(7, line.Attrs)
	if err := s.exec(); err != nil {
		return err
	}
	if it.row.flags&flagLogs == 0 {
		it.edit().flags |= flagLogs
	}
	if n > morningai.MaxLogLines {
		q.logTrim.int(1, it.row.seq)
		q.logTrim.int(2, n-morningai.MaxLogLines)
		return q.logTrim.exec()
	}
	return nil
}

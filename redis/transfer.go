package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/RC918/morningai"
)

const exportPage = 256 // records of one call

// Export returns whole records in order of acceptance, partition by partition;
// see [morningai.Engine].
func (e *Engine) Export(ctx context.Context, cursor string, limit int) (morningai.ExportPage, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.ExportPage{}, err
	}
	defer e.active.Done()
	at := []int64{0, 0}
	if cursor != "" {
		var err error
		if at, err = readCursor(cursor, 2); err != nil {
			return morningai.ExportPage{}, err
		}
	}
	if limit <= 0 || limit > exportPage {
		limit = exportPage
	}
	page := morningai.ExportPage{}
	now := time.Now().UTC()
	size := portion{now: limit + 1, least: 1}
	for at[0] < int64(len(e.parts)) {
		p := e.parts[at[0]]
		// One more than asked tells whether there is a next page.
		call, cancel := e.bounded(ctx)
		reply, err := p.read(call, scriptExport, strconv.FormatInt(at[1], 10), strconv.Itoa(min(limit-len(page.Records)+1, size.now)))
		cancel()
		if err != nil {
			again, err := size.shrink(err, p)
			if again {
				continue
			}
			return morningai.ExportPage{}, e.failed(ctx, "export", err)
		}
		found, err := readStored(reply[1], reply[2], reply[3])
		if err != nil {
			return morningai.ExportPage{}, err
		}
		for _, s := range found {
			if len(page.Records) == limit {
				page.Next = packCursor([]int64{at[0], int64(s.seq)})
				return page, nil
			}
			r, err := s.record(now)
			if err != nil {
				return morningai.ExportPage{}, err
			}
			page.Records = append(page.Records, r)
		}
		next, _ := reply[0].ToString()
		if next == "e" {
			at = []int64{at[0] + 1, 0}
			continue
		}
		if at[1], err = strconv.ParseInt(next, 10, 64); err != nil {
			return morningai.ExportPage{}, errCorrupt
		}
	}
	return page, nil
}

func checkRecord(r *morningai.Record) error {
	spec := requestOf(&r.Task, r.UniqueKey, r.Fingerprint)
	spec.Retention = r.Retention
	if r.Task.ID.IsZero() || !r.Task.State.Valid() || r.Task.Life < 1 || r.Task.Life > 65535 || r.Claim < 0 || r.Claim > 1<<32-1 ||
		r.Task.Version < 0 || r.Task.Version > 1<<32-1 {
		return morningai.InvalidInput("import", morningai.FieldError{Location: "record", Message: "must be one that Export made"})
	}
	return spec.Normalize()
}

// packRecord packs a whole record: its value, its number and names left out, its
// spec, and what is kept outside of them.
func packRecord(r *morningai.Record) (value, spec string, extras []byte) {
	t := &r.Task
	asked := requestOf(t, r.UniqueKey, r.Fingerprint)
	asked.Retention = r.Retention
	if len(asked.Payload) == 0 {
		asked.Payload = []byte("null")
	}
	flags, spec := packSpec(&asked, t.CreatedAt)
	spec += string(t.ID[:seatLen]) // the record has all that it would say
	attempts := slices.Clone(r.Attempts)
	var run, fin []byte
	if r.Claim > 0 || r.Lease != 0 || len(attempts) > 0 {
		run = binary.BigEndian.AppendUint64(nil, uint64(r.Lease))
		run = append(run, make([]byte, 22)...)
		run = binary.BigEndian.AppendUint64(run, uint64(nanos(t.StartedAt)))
		run = append(run, r.Node[:min(len(r.Node), maxNode)]...)
	}
	var outcome byte
	front := packFront(t.FinishedAt, t.Error, "")
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		switch {
		case t.State == morningai.StateRunning && last.Outcome == "":
			attempts = attempts[:n-1]
		case t.State.Terminal() && last.Outcome != "" && last.Number == t.Attempt && last.StartedAt.Equal(t.StartedAt) && sameError(last.Error, t):
			// The attempt that ended the task is kept with its end.
			outcome = outcomeCodes[last.Outcome]
			front = packFront(last.FinishedAt, last.Error, last.Stack)
			attempts = attempts[:n-1]
		}
	}
	if t.State.Terminal() || t.Error != nil || t.Result != nil || r.Deleted {
		finished := t.FinishedAt
		if finished.IsZero() {
			finished = time.Now()
		}
		fin = binary.BigEndian.AppendUint64(nil, uint64(nanos(finished)))
		fin = append(fin, outcome, byte(len(front)>>16), byte(len(front)>>8), byte(len(front)))
		fin = append(append(fin, front...), t.Result...)
	}
	if !t.RunAt.IsZero() {
		flags |= flagRunAt
	}
	if t.CancelRequested {
		flags |= flagCancel
	}
	if t.MaybeRepeated {
		flags |= flagRepeat
	}
	if r.Deleted {
		flags |= flagDeleted
	}
	extra, more := packExtras(r, attempts)
	flags |= more
	b := make([]byte, 0, headLen+len(run)+len(fin)+8)
	b = append(b, stateCodes[t.State])
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(t.Priority)) // numbers of names, seq
	b = binary.BigEndian.AppendUint16(b, uint16(t.Life))
	b = binary.BigEndian.AppendUint32(b, uint32(t.Version))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Claim))
	b = binary.BigEndian.AppendUint32(b, uint32(t.Attempt))
	b = binary.BigEndian.AppendUint16(b, uint16(t.Failures))
	b = append(b, outcomeCodes[r.Settled], byte(len(run)), byte(len(fin)>>16), byte(len(fin)>>8), byte(len(fin)))
	if flags&flagRunAt != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(ceilMicro(t.RunAt)))
	}
	b = append(b, run...)
	return string(append(b, fin...)), spec, extra
}

// sameError reports whether the error that readers see of an ended task can be
// told from that of its last attempt.
func sameError(last *morningai.TaskError, t *morningai.Task) bool {
	switch {
	case t.State == morningai.StateSucceeded:
		return t.Error == nil
	case t.State == morningai.StateCanceled && (last == nil || last.Code != morningai.ErrorCodeCanceled):
		return t.Error == nil || t.Error.Code == morningai.ErrorCodeCanceled && t.Error.Message == "canceled"
	case last == nil:
		return t.Error == nil
	}
	return t.Error != nil && *t.Error == *last
}

func packExtras(r *morningai.Record, attempts []morningai.Attempt) (b []byte, flags uint16) {
	add := func(kind, data string) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(kind)))
		b = append(b, kind...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		b = append(b, data...)
	}
	if r.Task.Progress != nil {
		flags |= flagProgress
		add("p", string(r.Task.Progress))
	}
	if len(attempts) > 0 {
		flags |= flagHistory
		var h []byte
		for _, a := range attempts {
			front := packFront(a.FinishedAt, a.Error, a.Stack)
			node := a.Node[:min(len(a.Node), maxNode)]
			h = binary.BigEndian.AppendUint32(h, uint32(a.Number))
			h = binary.BigEndian.AppendUint16(h, uint16(a.Life))
			h = append(h, outcomeCodes[a.Outcome], byte(8+len(node)), byte(len(front)>>16), byte(len(front)>>8), byte(len(front)))
			h = binary.BigEndian.AppendUint64(h, uint64(nanos(a.StartedAt)))
			h = append(append(h, node...), front...)
		}
		add("h", string(h))
	}
	if len(r.Steps) > 0 {
		flags |= flagSteps
		var names []byte
		for name, data := range r.Steps {
			names = binary.BigEndian.AppendUint16(names, uint16(len(name)))
			names = append(names, name...)
			add("s"+name, string(data))
		}
		add("n", string(names))
	}
	if logs := r.Logs[max(0, len(r.Logs)-morningai.MaxLogLines):]; len(logs) > 0 {
		flags |= flagLogs
		const lines = 50 // of one field, as in lua/work.lua
		last, n := 0, 0
		for block := range slices.Chunk(logs, lines) {
			var data []byte
			for _, l := range block {
				line := packLine(l)
				data = append(data, byte(len(line)>>16), byte(len(line)>>8), byte(len(line)))
				data = append(data, line...)
			}
			add(fmt.Sprint("L", last), string(data))
			last, n = last+1, len(block)
		}
		var head []byte
		head = binary.BigEndian.AppendUint32(head, 0)
		head = binary.BigEndian.AppendUint32(head, uint32(last-1))
		add("l", string(binary.BigEndian.AppendUint16(head, uint16(n))))
	}
	return b, flags
}

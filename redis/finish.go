package redis

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/RC918/morningai"
)

const maxNode = 200 // bytes of a node's name that are kept

func appendLease(b []byte, l morningai.Lease) []byte {
	b = append(b, l.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Lease))
	return append(b, 0, 0, byte(l.Claim>>24), byte(l.Claim>>16), byte(l.Claim>>8), byte(l.Claim))
}

// packReport packs a report without its id; see lua/work.lua.
func packReport(r *morningai.Report, seat string, now time.Time) string {
	if record, plain := packSuccess(r, seat, uint64(now.UnixNano())); plain {
		return record
	}
	b := make([]byte, 1, 160+len(r.Result))
	b = append(b, seat...)
	b = append(b, make([]byte, seatLen-len(seat))...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Lease.Lease))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Lease.Claim))
	b = append(b, outcomeCodes[r.Outcome])
	b = binary.BigEndian.AppendUint32(b, uint32(r.Attempt))
	var flags byte
	if r.Error != nil {
		flags |= 1
	}
	if r.Result != nil {
		flags |= 2
	}
	b = append(b, flags)
	due := int64(0)
	if r.RunAt.Year() > 1970 {
		due = ceilMicro(r.RunAt)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(due))
	node := r.Node[:min(len(r.Node), maxNode)]
	front := packFront(r.FinishedAt, r.Error, r.Stack)
	end := 12 + len(front) + len(r.Result)
	b = append(b, byte(38+len(node)), byte(end>>16), byte(end>>8), byte(end))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(r.StartedAt)))
	b = append(b, node...)
	b = append(b, byte(len(front)>>16), byte(len(front)>>8), byte(len(front)))
	b = append(b, front...)
	return string(append(b, r.Result...))
}

func checkReport(r *morningai.Report) error {
	code, known := outcomeCodes[r.Outcome]
	switch {
	case !known || r.Outcome == morningai.OutcomeLost || code == 0:
		return morningai.InvalidInput("finish", morningai.FieldError{Location: "outcome", Message: "must be one that a worker reports"})
	case r.Result != nil && !json.Valid(r.Result):
		return morningai.InvalidInput("finish", morningai.FieldError{Location: "result", Message: "must be one JSON value"})
	case len(r.Result) > morningai.MaxPayload:
		return &morningai.Error{Code: morningai.CodeTooLarge, Op: "finish", Detail: "the result is over 1 MiB"}
	}
	return nil
}

// slot is an item of a caller's list on its way to a partition.
type slot struct {
	at     int
	id     string // of a report, not in packed
	packed string
}

// inBatches sends each partition's items, a batch after the other so that their
// order holds, and gives the letters of each item to got, or why it is refused.
func (e *Engine) inBatches(ctx context.Context, items map[*partition][]slot, reports bool, got func(at int, letters string, err error)) error {
	for p, list := range items {
		if err := p.refuse("work"); err != nil {
			return err
		}
		most := batchTasks
		for len(list) > 0 {
			j, n := &workJob{}, 0
			for n < len(list) && n < most && (n == 0 || j.bytes+len(list[n].packed) <= batchBytes) {
				j.bytes += len(list[n].packed)
				if reports {
					j.ids, j.reports = append(j.ids, list[n].id), append(j.reports, list[n].packed)
				} else {
					j.points = append(j.points, list[n].packed)
				}
				n++
			}
			call, cancel := e.bounded(ctx)
			err := p.works.do(call, j)
			cancel()
			switch {
			case err == errPoison && n > 1:
				most = n / 2
				continue
			case err == errPoison:
				got(list[0].at, "", err)
			case err != nil:
				return err
			default:
				width := len(j.verdicts) / n
				for i := range n {
					got(list[i].at, j.verdicts[i*width:(i+1)*width], nil)
				}
			}
			list, most = list[n:], batchTasks
		}
	}
	return nil
}

// Finish records outcomes; see [morningai.Engine].
func (e *Engine) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	out := make([]morningai.Verdict, len(reports))
	items := make(map[*partition][]slot)
	for i := range reports {
		if out[i].Err = checkReport(&reports[i]); out[i].Err == nil {
			p := e.of(reports[i].Lease.ID)
			items[p] = append(items[p], slot{i, string(reports[i].Lease.ID[:]), packReport(&reports[i], e.seats.take(reports[i].Lease.ID), e.opt.now())})
		}
	}
	err := e.inBatches(ctx, items, true, func(at int, letters string, err error) {
		switch {
		case err != nil:
			out[at].Err = err
		case letters[0] == 'o', letters[0] == 'r':
			out[at].State = stateNames[letters[1]-'0']
			if out[at].State == morningai.StateScheduled {
				e.tellDue(reports[at].RunAt)
			}
		default:
			out[at].Err = verdictErrors[letters[0]]
		}
	})
	if err != nil {
		return nil, e.failed(ctx, "finish", err)
	}
	return out, nil
}

func checkPoint(p *morningai.Checkpoint) error {
	switch p.Kind {
	case morningai.CheckpointStep:
		if !morningai.ValidName(p.Name) {
			return morningai.InvalidInput("checkpoint", morningai.FieldError{Location: "name", Message: morningai.NameRule})
		}
		fallthrough
	case morningai.CheckpointProgress:
		if !json.Valid(p.Data) {
			return morningai.InvalidInput("checkpoint", morningai.FieldError{Location: "data", Message: "must be one JSON value"})
		}
		if len(p.Data) > morningai.MaxPayload {
			return &morningai.Error{Code: morningai.CodeTooLarge, Op: "checkpoint", Detail: "the data are over 1 MiB"}
		}
	case morningai.CheckpointLog, morningai.CheckpointRepeat:
	default:
		return morningai.InvalidInput("checkpoint", morningai.FieldError{Location: "kind", Message: "must be step, progress, log or repeat"})
	}
	return nil
}

func packPoint(p *morningai.Checkpoint) string {
	b := appendLease(make([]byte, 0, 64+len(p.Data)), p.Lease)
	b = append(b, byte(p.Kind))
	name, data := p.Name, string(p.Data)
	if p.Kind != morningai.CheckpointStep {
		name = ""
	}
	if p.Kind == morningai.CheckpointLog {
		data = packLine(p.Line)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	return string(append(append(b, name...), data...))
}

// Checkpoint records what running handlers have reached; see
// [morningai.Engine].
func (e *Engine) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	out := make([]error, len(points))
	items := make(map[*partition][]slot)
	for i := range points {
		if out[i] = checkPoint(&points[i]); out[i] == nil {
			p := e.of(points[i].Lease.ID)
			items[p] = append(items[p], slot{at: i, packed: packPoint(&points[i])})
		}
	}
	err := e.inBatches(ctx, items, false, func(at int, letters string, err error) {
		switch {
		case err != nil:
			out[at] = err
		case letters[0] != 'o':
			out[at] = verdictErrors[letters[0]]
		}
	})
	if err != nil {
		return nil, e.failed(ctx, "checkpoint", err)
	}
	return out, nil
}

package redis

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

var importStatus = map[byte]morningai.ImportStatus{
	'a': morningai.ImportAdded, 'u': morningai.ImportUpdated, 'k': morningai.ImportKept, 'r': morningai.ImportRepeated,
}

// Import merges records; see [morningai.Engine]. Within a call they are taken
// in order of acceptance, whatever order they come in.
func (e *Engine) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	out := make([]morningai.ImportResult, len(records))
	order := make(map[*partition][]int)
	for i := range records {
		if out[i].Err = checkRecord(&records[i]); out[i].Err == nil {
			p := e.of(records[i].Task.ID)
			order[p] = append(order[p], i)
		}
	}
	for p, list := range order {
		if err := p.refuse("import"); err != nil {
			return nil, err
		}
		slices.SortStableFunc(list, func(a, b int) int { return records[a].Task.CreatedAt.Compare(records[b].Task.CreatedAt) })
		for most := batchTasks; len(list) > 0; {
			b := &importBatch{queues: &index{}, types: &index{}}
			n := b.fill(records, list[:min(most, len(list))])
			send := func() error {
				call, cancel := e.bounded(ctx)
				defer cancel()
				return p.merge(call, b, out)
			}
			var err error
			if n == 1 {
				if err = p.alone(send); err == errPoison {
					out[list[0]], err = morningai.ImportResult{Err: err}, nil
				}
			} else if err = send(); err != nil && p.poisoned(err) {
				most = n / 2
				continue
			}
			if err != nil {
				return nil, e.failed(ctx, "import", err)
			}
			list, most = list[n:], batchTasks
		}
	}
	return out, nil
}

// importBatch is one call: no id twice, so that the script meets each once.
type importBatch struct {
	queues, types *index
	items         []string
	ids           []morningai.ID
	at            []int
}

func (b *importBatch) fill(records []morningai.Record, list []int) int {
	seen, bytes := map[morningai.ID]bool{}, 0
	for n, i := range list {
		r := &records[i]
		if seen[r.Task.ID] || n == batchTasks {
			return n
		}
		value, spec, extras := packRecord(r)
		if bytes += len(value) + len(spec) + len(extras); n > 0 && bytes > batchBytes {
			return n
		}
		seen[r.Task.ID] = true
		a := append([]byte(nil), r.Task.ID[:]...)
		a = binary.BigEndian.AppendUint16(a, b.queues.of(r.Task.Queue))
		a = binary.BigEndian.AppendUint16(a, b.types.of(r.Task.Type))
		a = binary.BigEndian.AppendUint32(a, uint32(len(value)))
		a = binary.BigEndian.AppendUint32(a, uint32(len(spec)))
		b.items = append(b.items, string(append(append(append(a, value...), spec...), extras...)))
		b.ids, b.at = append(b.ids, r.Task.ID), append(b.at, i)
	}
	return len(list)
}

func (p *partition) merge(ctx context.Context, b *importBatch, out []morningai.ImportResult) error {
	args := []string{strconv.FormatInt(p.eng.opt.orphanGrace.Milliseconds(), 10), strconv.Itoa(len(b.queues.names)), strconv.Itoa(len(b.types.names))}
	args = append(args, b.queues.names...)
	args = append(args, b.types.names...)
	reply, err := p.others.call(ctx, scriptImport, nil, append(args, b.items...))
	if err != nil {
		return err
	}
	return b.results(reply, out, p)
}

func (b *importBatch) results(reply []rueidis.RedisMessage, out []morningai.ImportResult, p *partition) error {
	compact, err := reply[0].ToString()
	if err != nil || len(compact) != len(b.items) {
		return errCorrupt
	}
	found, err := readStored(reply[1], reply[2], reply[3])
	if err != nil {
		return err
	}
	byID := make(map[morningai.ID]*stored)
	for _, s := range found {
		byID[s.id] = s
	}
	now := time.Now().UTC()
	for k, i := range b.at {
		out[i].Status = importStatus[compact[k]]
		if s := byID[b.ids[k]]; s != nil {
			if out[i].Task, err = s.task(now); err != nil {
				return err
			}
		}
	}
	p.wakeLines(reply[4])
	return nil
}

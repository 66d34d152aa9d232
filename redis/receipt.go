package redis

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// acceptedAt is the time of acceptance of one task; it grows strictly.
func (e *Engine) acceptedAt() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.created = max(e.created+1, time.Now().UnixMicro())
	return time.UnixMicro(e.created).UTC()
}

// index numbers names from 1 in the order they come.
type index struct {
	names []string
	at    map[string]int
}

func (x *index) of(name string) uint16 {
	if x.at == nil {
		x.at = make(map[string]int)
	}
	n, ok := x.at[name]
	if !ok {
		x.names = append(x.names, name)
		n = len(x.names)
		x.at[name] = n
	}
	return uint16(n)
}

// prepared is a spec as it travels, made by its caller's goroutine: the one that
// sends has enough to do.
type prepared struct {
	spec   morningai.TaskSpec
	task   morningai.Task
	flags  uint16
	packed string
}

func (e *Engine) prepare(s morningai.TaskSpec) prepared {
	created := e.acceptedAt()
	flags, packedSpec := packSpec(&s, created)
	t := morningai.Task{
		ID: s.ID, TraceID: s.TraceID, Type: s.Type, Queue: s.Queue, Priority: s.Priority, State: morningai.StateQueued,
		MaxAttempts: s.MaxAttempts, Timeout: s.Timeout, Exclusive: s.Exclusive, CreatedAt: created, Life: 1, Version: 1, Fresh: morningai.FreshLive,
		Payload: cloneBytes(s.Payload), Metadata: cloneMap(s.Metadata),
	}
	if s.RunAt.After(created) {
		flags |= flagRunAt
		t.State, t.RunAt = morningai.StateScheduled, time.UnixMicro(ceilMicro(s.RunAt)).UTC()
	}
	return prepared{spec: s, task: t, flags: flags, packed: packedSpec}
}

type enqueueBatch struct {
	specs         []enqueueItem
	queues, types index
	kinds         index    // what tasks of the batch share
	of            []byte   // the kind of each
	items         []string // id and spec in turn
	reply         []rueidis.RedisMessage
}

func newEnqueueBatch(specs []enqueueItem) *enqueueBatch {
	b := &enqueueBatch{specs: specs, of: make([]byte, 0, len(specs)), items: make([]string, 0, 2*len(specs))}
	var last *prepared
	for _, it := range specs {
		p := &it.job.specs[it.i]
		kind := byte(0)
		if s := &p.spec; last != nil && p.flags == last.flags && p.flags&flagRunAt == 0 && s.Queue == last.spec.Queue &&
			s.Type == last.spec.Type && s.Priority == last.spec.Priority {
			kind = b.of[len(b.of)-1]
		} else {
			kind = b.kindOf(p)
		}
		last = p
		b.of, b.items = append(b.of, kind), append(b.items, string(p.spec.ID[:]), p.packed)
	}
	return b
}

func (b *enqueueBatch) kindOf(p *prepared) byte {
	s := &p.spec
	a := binary.BigEndian.AppendUint16(nil, b.queues.of(s.Queue))
	a = binary.BigEndian.AppendUint16(a, b.types.of(s.Type))
	a = append(a, byte(s.Priority))
	a = binary.BigEndian.AppendUint16(a, p.flags)
	if p.flags&flagRunAt != 0 {
		a = binary.BigEndian.AppendUint64(a, uint64(ceilMicro(s.RunAt)))
	}
	return byte(b.kinds.of(string(a)))
}

// deliver hands in the receipts.
func (b *enqueueBatch) deliver() {
	receipts, err := b.receipts(b.reply)
	for i, it := range b.specs {
		if err != nil {
			it.job.settle(it.i, morningai.Receipt{}, err)
		} else {
			it.job.settle(it.i, receipts[i], nil)
		}
	}
}

// ceilMicro rounds up: nothing runs before it is due.
func ceilMicro(t time.Time) int64 { return t.Add(time.Microsecond - 1).UnixMicro() }

func (b *enqueueBatch) keys(p *partition) []string {
	var out []string
	for _, name := range b.types.names {
		out = append(out, p.wakeKey(name))
	}
	return out
}

func (b *enqueueBatch) args() []string {
	args := make([]string, 0, 4+len(b.queues.names)+len(b.types.names)+len(b.kinds.names)+len(b.items))
	args = append(args, strconv.Itoa(len(b.queues.names)), strconv.Itoa(len(b.types.names)), strconv.Itoa(len(b.kinds.names)))
	args = append(args, b.queues.names...)
	args = append(args, b.types.names...)
	args = append(args, b.kinds.names...)
	args = append(args, string(b.of))
	return append(args, b.items...)
}

func (b *enqueueBatch) receipts(reply []rueidis.RedisMessage) ([]morningai.Receipt, error) {
	compact, err := reply[0].ToString()
	if err != nil {
		return nil, err
	}
	found, err := readStored(reply[1], reply[2], reply[3])
	if err != nil {
		return nil, err
	}
	var byID map[morningai.ID]*stored
	if len(found) > 0 {
		byID = make(map[morningai.ID]*stored, len(found))
	}
	for _, s := range found {
		byID[s.id] = s
	}
	now := time.Now().UTC()
	out := make([]morningai.Receipt, len(b.specs))
	for i, it := range b.specs {
		p := &it.job.specs[it.i]
		if compact == "" {
			return nil, errCorrupt
		}
		letter := compact[0]
		compact = compact[1:]
		switch letter {
		case 'a':
			out[i].Task = p.task
		case 'e':
			out[i] = repeated(&p.spec, byID[p.spec.ID], now)
		case 'd':
			if len(compact) < 16 {
				return nil, errCorrupt
			}
			holder := byID[morningai.ID([]byte(compact[:16]))]
			compact = compact[16:]
			if holder == nil {
				return nil, errCorrupt
			}
			out[i].Existing = true
			out[i].Task, out[i].Err = holder.task(now)
			out[i].Task.Duplicate = true
		}
		if out[i].Err == nil {
			t := &out[i].Task
			t.AsOf, t.Durable, t.Runs = now, "redis", "here"
		}
	}
	return out, nil
}

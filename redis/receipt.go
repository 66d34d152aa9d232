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
	spec    morningai.TaskSpec
	created time.Time
	flags   uint16
	packed  string
}

func (e *Engine) prepare(s *morningai.TaskSpec) prepared {
	created := e.acceptedAt()
	flags, packedSpec := packSpec(s, created)
	if s.RunAt.After(created) {
		flags |= flagRunAt
	}
	return prepared{spec: *s, created: created, flags: flags, packed: packedSpec}
}

// task fills in the task as it was just accepted.
func (p *prepared) task(t *morningai.Task, now time.Time) {
	s := &p.spec
	*t = morningai.Task{
		ID: s.ID, TraceID: s.TraceID, Type: s.Type, Queue: s.Queue, Priority: s.Priority, State: morningai.StateQueued,
		MaxAttempts: s.MaxAttempts, Timeout: s.Timeout, Exclusive: s.Exclusive, CreatedAt: p.created, Life: 1, Version: 1, Fresh: morningai.FreshLive,
		Payload: cloneBytes(s.Payload), Metadata: cloneMap(s.Metadata),
	}
	if p.flags&flagRunAt != 0 {
		t.State, t.RunAt = morningai.StateScheduled, time.UnixMicro(ceilMicro(s.RunAt)).UTC()
	}
	asAccepted(t, now)
}

func asAccepted(t *morningai.Task, now time.Time) {
	t.AsOf, t.Durable, t.Runs = now, "redis", "here"
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
	known, err := b.known()
	compact, now := "", time.Now().UTC()
	if err == nil {
		compact, err = b.reply[0].ToString()
	}
	for _, it := range b.specs {
		var r morningai.Receipt
		if err == nil {
			compact, err = it.job.specs[it.i].receipt(&r, compact, known, now)
		}
		it.job.settle(it.i, &r, err)
	}
}

// known are the stored tasks that came with the reply.
func (b *enqueueBatch) known() (map[morningai.ID]*stored, error) {
	found, err := readStored(b.reply[1], b.reply[2], b.reply[3])
	if err != nil || len(found) == 0 {
		return nil, err
	}
	byID := make(map[morningai.ID]*stored, len(found))
	for _, s := range found {
		byID[s.id] = s
	}
	return byID, nil
}

// ceilMicro rounds up: nothing runs before it is due.
func ceilMicro(t time.Time) int64 { return t.Add(time.Microsecond - 1).UnixMicro() }

func (b *enqueueBatch) keys(p *partition) []string {
	var out []string
	for _, name := range b.types.names {
		out = append(out, p.wakeKey(name))
	}
	seen := make(map[string]bool)
	for _, kind := range b.kinds.names {
		if line := kind[:4]; !seen[line] {
			seen[line] = true
			out = append(out, p.lineKey(b.types.names[be16(line[2:])-1], b.queues.names[be16(line)-1]))
		}
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

// receipt reads the next answer of a compact reply and returns the rest of it.
func (p *prepared) receipt(r *morningai.Receipt, compact string, known map[morningai.ID]*stored, now time.Time) (string, error) {
	if compact == "" {
		return "", errCorrupt
	}
	letter, rest := compact[0], compact[1:]
	switch letter {
	case 'a':
		p.task(&r.Task, now)
	case 'e':
		*r = repeated(&p.spec, known[p.spec.ID], now)
		if r.Err == nil {
			asAccepted(&r.Task, now)
		}
	case 'd':
		if len(rest) < 16 {
			return "", errCorrupt
		}
		holder := known[morningai.ID([]byte(rest[:16]))]
		rest = rest[16:]
		if holder == nil {
			return "", errCorrupt
		}
		r.Existing = true
		if r.Task, r.Err = holder.task(now); r.Err == nil {
			asAccepted(&r.Task, now)
		}
		r.Task.Duplicate = true
	default:
		return "", errCorrupt
	}
	return rest, nil
}

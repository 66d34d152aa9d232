package redis

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

var rateCodes = map[time.Duration]int{0: 0, time.Second: 1, time.Minute: 2, time.Hour: 3}

var ratePeriods = map[byte]time.Duration{1: time.Second, 2: time.Minute, 3: time.Hour}

// readConfig reads a queue's settings as the scripts pack them.
func readConfig(name, s string) (morningai.QueueConfig, bool) {
	c := morningai.QueueConfig{Name: name}
	if len(s) != 16 && len(s) != 34 {
		return c, false
	}
	if len(s) == 34 { // else it is of a version that did not keep times
		c.Changed = morningai.QueueTimes{Paused: ofMillis(u48(s[16:])), Concurrency: ofMillis(u48(s[22:])), Rate: ofMillis(u48(s[28:]))}
	}
	c.Paused, c.Concurrency, c.Version = s[0] == 1, int(be32(s[1:])), int64(u48(s[10:]))
	if count := int(be32(s[5:])); count > 0 {
		c.Rate = morningai.Rate{Count: count, Per: ratePeriods[s[9]]}
	}
	return c, true
}

func ofMillis(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// SetQueue creates a queue or changes it; see [morningai.Engine].
func (e *Engine) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	if err := change.Validate(name); err != nil {
		return morningai.QueueConfig{}, err
	}
	if err := e.enter(ctx); err != nil {
		return morningai.QueueConfig{}, err
	}
	defer e.active.Done()
	if len(e.parts) > 1 && (change.Concurrency != nil && *change.Concurrency > 0 || change.Rate != nil && !change.Rate.IsZero()) {
		return morningai.QueueConfig{}, &morningai.Error{Code: morningai.CodeWrongState, Op: "set queue",
			Detail: "limits hold within one partition, and this Redis has " + strconv.Itoa(len(e.parts)), Hint: "use one partition where queues are to be limited"}
	}
	args := []string{name, "", "", "", "", ""}
	if !change.At.IsZero() {
		args[5] = strconv.FormatInt(change.At.UnixMilli(), 10)
	}
	if change.Paused != nil {
		args[1] = "0"
		if *change.Paused {
			args[1] = "1"
		}
	}
	if change.Concurrency != nil {
		args[2] = strconv.Itoa(*change.Concurrency)
	}
	if change.Rate != nil {
		args[3], args[4] = strconv.Itoa(change.Rate.Count), strconv.Itoa(rateCodes[change.Rate.Per])
	}
	var out morningai.QueueConfig
	for _, p := range e.here() {
		call, cancel := e.bounded(ctx)
		reply, err := p.others.call(call, scriptQueue, nil, args)
		cancel()
		if err != nil {
			return out, e.failed(ctx, "set queue", err)
		}
		text, err := reply[0].ToString()
		if err != nil {
			return out, e.failed(ctx, "set queue", err)
		}
		var ok bool
		if out, ok = readConfig(name, text); !ok {
			return out, errCorrupt
		}
		p.wakeLines(reply[1])
	}
	for _, p := range e.parts {
		if err := p.refuse("set queue"); err != nil {
			return out, err // that it holds in the others does no harm
		}
	}
	return out, nil
}

// Stats counts what the engine holds; see [morningai.Engine].
func (e *Engine) Stats(ctx context.Context) (morningai.Stats, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.Stats{}, err
	}
	defer e.active.Done()
	t := &tally{
		stats: morningai.Stats{States: map[morningai.State]int64{}, Throughput: morningai.Throughput{Window: time.Minute},
			Fresh: morningai.FreshLive, AsOf: time.Now().UTC()},
		queues: map[string]*morningai.QueueInfo{}, sessions: map[morningai.SessionID]morningai.Session{},
	}
	for _, s := range morningai.States() {
		t.stats.States[s] = 0
	}
	for _, p := range e.parts { // first, as what the others say of queues is newer
		if err := p.refuse("stats"); err != nil {
			last := p.tallied.Load()
			if last == nil {
				return morningai.Stats{}, err
			}
			if err := t.add(*last); err != nil {
				return morningai.Stats{}, err
			}
			t.stats.Fresh = morningai.FreshStale
		}
	}
	for _, p := range e.here() {
		call, cancel := e.bounded(ctx)
		reply, err := p.read(call, scriptStats)
		cancel()
		if err == nil {
			err = t.add(reply)
			p.tallied.Store(&reply)
		}
		if err == nil {
			err = p.look(ctx)
		}
		if err != nil {
			return morningai.Stats{}, e.failed(ctx, "stats", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.queues)) {
		t.stats.Queues = append(t.stats.Queues, *t.queues[name])
	}
	t.stats.Sessions = slices.SortedFunc(maps.Values(t.sessions), func(a, b morningai.Session) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(string(a.ID[:]), string(b.ID[:])))
	})
	return t.stats, nil
}

// tally adds the partitions up.
type tally struct {
	stats    morningai.Stats
	queues   map[string]*morningai.QueueInfo
	sessions map[morningai.SessionID]morningai.Session
}

func (t *tally) queue(name string) *morningai.QueueInfo {
	q := t.queues[name]
	if q == nil {
		q = &morningai.QueueInfo{QueueConfig: morningai.QueueConfig{Name: name}, Counts: map[morningai.State]int64{morningai.StateRetrying: 0}}
		for _, s := range morningai.States() {
			q.Counts[s] = 0
		}
		t.queues[name] = q
	}
	return q
}

func (t *tally) add(reply []rueidis.RedisMessage) error {
	if len(reply) < 7 {
		return errCorrupt
	}
	names, err := readNames(reply[2])
	if err != nil {
		return err
	}
	for field, name := range names {
		if strings.HasPrefix(field, "Q") {
			t.queue(name)
		}
	}
	counts, err := readNames(reply[1])
	if err != nil {
		return err
	}
	for key, text := range counts {
		if key == witnessField {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || len(key) != 4 {
			return errCorrupt
		}
		state, name := stateNames[key[0]], names["Q"+itoa(u24(key[1:]))]
		t.queue(name).Counts[state] += n
		if state != morningai.StateRetrying {
			t.stats.States[state] += n
		}
	}
	if err := t.settings(reply[3], names); err != nil {
		return err
	}
	if err := t.oldest(reply[4], names); err != nil {
		return err
	}
	fields, err := reply[5].AsStrMap()
	if err != nil {
		return err
	}
	sessions, err := readSessions(fields)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if had, ok := t.sessions[s.ID]; ok {
			s.Running += had.Running
			s.Counter = min(s.Counter, had.Counter)
		}
		t.sessions[s.ID] = s
	}
	return t.flow(reply[6])
}

func (t *tally) settings(m rueidis.RedisMessage, names map[string]string) error {
	configs, err := readNames(m)
	if err != nil {
		return err
	}
	for number, text := range configs {
		if number == "" || strings.HasSuffix(number, "b") {
			continue // a witness, or the bucket of a rate
		}
		name := names["Q"+number]
		config, ok := readConfig(name, text)
		if !ok {
			return errCorrupt
		}
		t.queue(name).QueueConfig = config
	}
	return nil
}

func (t *tally) oldest(m rueidis.RedisMessage, names map[string]string) error {
	list, err := m.AsStrSlice()
	if err != nil {
		return err
	}
	for i := 0; i+3 < len(list); i += 4 {
		s, err := newStored(list[i+1], list[i+2], list[i+3], names)
		if err != nil {
			return err
		}
		q, at := t.queue(names["Q"+list[i]]), time.UnixMicro(s.created).UTC()
		if q.OldestQueuedAt.IsZero() || at.Before(q.OldestQueuedAt) {
			q.OldestQueuedAt = at
		}
	}
	return nil
}

// flow adds the buckets of the last minute.
func (t *tally) flow(m rueidis.RedisMessage) error {
	buckets, err := readNames(m)
	if err != nil {
		return err
	}
	const width = 5 // seconds of a bucket
	oldest := (t.stats.AsOf.Unix() - 60) / width
	for key, text := range buckets {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || len(key) < 2 {
			return errCorrupt
		}
		bucket, err := strconv.ParseInt(key[1:], 10, 64)
		if err != nil || bucket < oldest {
			continue
		}
		through := &t.stats.Throughput
		switch key[0] {
		case 'e':
			through.Enqueued += n
		case 's':
			through.Succeeded += n
		case 'r':
			through.Retried += n
		case 'f':
			through.Failed += n
		case 'c':
			through.Canceled += n
		}
	}
	return nil
}

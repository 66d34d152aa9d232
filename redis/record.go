package redis

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// stored is one record of a reply with what is kept outside of it.
type stored struct {
	*packed
	id       morningai.ID
	queue    string
	kind     string
	progress string
	history  string
	logs     []string
	steps    map[string]json.RawMessage
}

// readStored takes a reply's names, records and extras apart. They come in the
// order of the script, without those that are missing.
func readStored(names, records rueidis.RedisMessage, extras ...rueidis.RedisMessage) ([]*stored, error) {
	table, err := readNames(names)
	if err != nil {
		return nil, err
	}
	list, err := records.AsStrSlice()
	if err != nil {
		return nil, err
	}
	out := make([]*stored, 0, len(list)/3)
	for i := 0; i+2 < len(list); i += 3 {
		s, err := newStored(list[i], list[i+1], list[i+2], table)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if len(extras) == 0 {
		return out, nil
	}
	return out, readExtras(out, extras[0])
}

// readExtras gives records what is kept outside of them.
func readExtras(out []*stored, extras rueidis.RedisMessage) error {
	parts, err := extras.AsStrSlice()
	if err != nil || len(parts) == 0 {
		return err
	}
	byID := make(map[string]*stored, len(out))
	for _, s := range out {
		byID[string(s.id[:])] = s
	}
	for i := 0; i+2 < len(parts); i += 3 {
		s, kind, data := byID[parts[i]], parts[i+1], parts[i+2]
		if s == nil || kind == "" {
			continue
		}
		switch kind[0] {
		case 'p':
			s.progress = data
		case 'h':
			s.history = data
		case 'L':
			s.logs = append(s.logs, data)
		case 's':
			if s.steps == nil {
				s.steps = make(map[string]json.RawMessage)
			}
			s.steps[kind[1:]] = json.RawMessage(data)
		}
	}
	return nil
}

func readNames(m rueidis.RedisMessage) (map[string]string, error) {
	list, err := m.AsStrSlice()
	if err != nil {
		return nil, err
	}
	table := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		table[list[i]] = list[i+1]
	}
	return table, nil
}

func newStored(id, value, spec string, names map[string]string) (*stored, error) {
	if len(id) != 16 {
		return nil, errCorrupt
	}
	s := &stored{id: morningai.ID([]byte(id))}
	p, err := unpack(s.id, value, spec)
	if err != nil {
		return nil, err
	}
	s.packed = p
	s.queue, s.kind = names["Q"+itoa(p.queue)], names["T"+itoa(p.kind)]
	return s, nil
}

// task is the snapshot that readers get.
func (s *stored) task(now time.Time) (morningai.Task, error) {
	t := morningai.Task{
		ID: s.id, TraceID: s.traceID, Type: s.kind, Queue: s.queue, Priority: int(s.priority),
		State: stateNames[s.state], Attempt: int(s.attempt), Failures: int(s.failures),
		CreatedAt: time.UnixMicro(s.created).UTC(), StartedAt: fromNanos(s.started),
		Life: int64(s.life), Version: int64(s.version), CancelRequested: s.has(flagCancel), MaybeRepeated: s.has(flagRepeat),
		Fresh: morningai.FreshLive, AsOf: now,
	}
	if !s.has(flagBare) {
		var spec morningai.TaskSpec
		if !s.request(&spec) {
			return t, errCorrupt
		}
		t.MaxAttempts, t.Timeout, t.Metadata, t.Payload, t.Exclusive = spec.MaxAttempts, spec.Timeout, spec.Metadata, spec.Payload, spec.Exclusive
		s.fingerprint = spec.Fingerprint
	}
	if s.has(flagRunAt) {
		t.RunAt = time.UnixMicro(s.runAt).UTC()
	}
	if s.has(flagProgress) && s.progress != "" {
		t.Progress = json.RawMessage(s.progress)
	}
	_, t.Error, _ = readFront(s.front)
	if s.result != "" {
		t.Result = json.RawMessage(s.result)
	}
	if t.State.Terminal() {
		t.FinishedAt = fromNanos(s.finished)
	}
	switch {
	case t.State == morningai.StateSucceeded:
		t.Error = nil
	case t.State == morningai.StateCanceled && (t.Error == nil || s.outcome != 0 && outcomeNames[s.outcome] != morningai.OutcomeCanceled):
		// Of an attempt only its own cancel is shown; an order says why itself.
		t.Error = &morningai.TaskError{Code: morningai.ErrorCodeCanceled, Message: "canceled"}
	}
	return t, nil
}

// visible says whether readers see the task: until its retention is over, and
// at least for a minute if it may linger.
func (s *stored) visible(now time.Time, keep time.Duration, lingering bool) bool {
	if s.has(flagDeleted) || s.has(flagHidden) {
		return false
	}
	if !stateNames[s.state].Terminal() {
		return true
	}
	if s.has(flagRetention) {
		keep = s.retention
	}
	if lingering {
		keep = max(keep, time.Minute)
	}
	return now.Sub(fromNanos(s.finished)) < keep
}

// attempts lists the executions, the running one last.
func (s *stored) attempts() ([]morningai.Attempt, error) {
	var out []morningai.Attempt
	for rest := s.history; rest != ""; {
		if len(rest) < 11 {
			return nil, errCorrupt
		}
		runLen, frontLen := int(rest[7]), int(u24(rest[8:]))
		if len(rest) < 11+runLen+frontLen {
			return nil, errCorrupt
		}
		a := morningai.Attempt{Number: int(be32(rest)), Life: int64(be16(rest[4:])), Outcome: outcomeNames[rest[6]]}
		if run := rest[11 : 11+runLen]; runLen >= 8 {
			a.StartedAt, a.Node = fromNanos(be64(run)), strings.Clone(run[8:])
		}
		out = append(out, ended(a, rest[11+runLen:11+runLen+frontLen]))
		rest = rest[11+runLen+frontLen:]
	}
	last := morningai.Attempt{Number: int(s.attempt), Life: int64(s.life), Node: strings.Clone(s.node), StartedAt: fromNanos(s.started)}
	switch {
	case stateNames[s.state] == morningai.StateRunning:
		out = append(out, last)
	case stateNames[s.state].Terminal() && s.outcome != 0 && len(s.run) >= 38:
		last.Outcome = outcomeNames[s.outcome]
		out = append(out, ended(last, s.front))
	}
	return out, nil
}

func ended(a morningai.Attempt, front string) morningai.Attempt {
	finished, failure, stack := readFront(front)
	a.FinishedAt, a.Error, a.Stack = fromNanos(finished), failure, stack
	return a
}

// lines reads the log, oldest first; the newest MaxLogLines of it.
func (s *stored) lines() ([]morningai.LogLine, error) {
	var out []morningai.LogLine
	for _, block := range s.logs {
		for block != "" {
			if len(block) < 3 || len(block) < 3+int(u24(block)) {
				return nil, errCorrupt
			}
			n := 3 + int(u24(block))
			line, ok := readLine(block[3:n])
			if !ok {
				return nil, errCorrupt
			}
			out = append(out, line)
			block = block[n:]
		}
	}
	return out[max(0, len(out)-morningai.MaxLogLines):], nil
}

func packLine(l morningai.LogLine) string {
	b := binary.AppendUvarint(nil, uint64(l.Attempt))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(l.At)))
	return string(appendText(appendText(b, l.Level), l.Message)) + string(l.Attrs)
}

func readLine(s string) (morningai.LogLine, bool) {
	r := &reader{rest: s, ok: true}
	l := morningai.LogLine{Attempt: int(r.uvarint())}
	if at := r.bytes(8); r.ok {
		l.At = fromNanos(be64(at))
	}
	l.Level, l.Message = r.text(), r.text()
	if r.rest != "" {
		l.Attrs = json.RawMessage(r.rest)
	}
	return l, r.ok
}

// record is the whole of it, as Export gives it out.
func (s *stored) record(now time.Time) (morningai.Record, error) {
	t, err := s.task(now)
	if err != nil {
		return morningai.Record{}, err
	}
	r := morningai.Record{
		Task: t, UniqueKey: strings.Clone(s.uniqueKey), Fingerprint: s.fingerprint, Claim: int64(s.claim), Lease: s.lease, Node: strings.Clone(s.node),
		Settled: outcomeNames[s.settled], Deleted: s.has(flagDeleted), Steps: s.steps,
	}
	if t.State == morningai.StateRunning {
		r.Session = s.session
	}
	if s.has(flagRetention) {
		r.Retention = &s.retention
	}
	if r.Attempts, err = s.attempts(); err != nil {
		return r, err
	}
	r.Logs, err = s.lines()
	return r, err
}

func itoa(n uint32) string {
	var b [10]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

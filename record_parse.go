package morningai

import (
	"encoding/binary"
	"encoding/json"
	"time"
)

// ParseRecord reads what [Record.AppendBinary] has written. The record shares
// no memory with b. Anything else is an [ErrInvalidInput], and a form of a
// version that is not known here an [ErrNewerFormat]; no input needs more memory
// than a small multiple of its length. The values themselves are not judged:
// Import does that.
func ParseRecord(b []byte) (Record, error) {
	if len(b) > 0 && b[0] > secondRecordFormat {
		return Record{}, &Error{Code: CodeNewerFormat, Op: "parse record", Detail: "the record is packed in a form that is not known here",
			Hint: "use the version of the program that wrote it, or a newer one"}
	}
	var r Record
	p := unpacker{b: b}
	if !p.record(&r) || len(p.b) > 0 {
		return Record{}, &Error{Code: CodeInvalidInput, Op: "parse record", Detail: "the bytes are not a packed record"}
	}
	return r, nil
}

// unpacker reads fields; bad stays set after the first that does not fit, and
// everything read after it is zero.
type unpacker struct {
	b    []byte
	last int64
	bad  bool
}

func (p *unpacker) fail() {
	p.bad, p.b = true, nil
}

func (p *unpacker) take(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.fail()
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *unpacker) byte() byte {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (p *unpacker) array(to *[16]byte) { copy(to[:], p.take(16)) }

func (p *unpacker) int64() int64 {
	v, n := binary.Varint(p.b)
	if n <= 0 {
		p.fail()
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *unpacker) int() int {
	v := p.int64()
	if int64(int(v)) != v {
		p.fail()
		return 0
	}
	return int(v)
}

func (p *unpacker) uint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.fail()
		return 0
	}
	p.b = p.b[n:]
	return v
}

// count is the length of a list whose items take at least size bytes each.
func (p *unpacker) count(size int) int {
	n := p.uint()
	if n == 0 || n > uint64(len(p.b)/size) {
		p.fail()
		return 0
	}
	return int(n)
}

func (p *unpacker) text() string { return string(p.take(p.uint())) }

func (p *unpacker) bytes() []byte {
	v := p.take(p.uint())
	if len(v) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

func (p *unpacker) taskError() *TaskError {
	return &TaskError{Code: p.text(), Message: p.text()}
}

func (p *unpacker) time() time.Time {
	v := p.int64()
	var rest uint64
	if v&1 != 0 {
		rest = p.uint()
	}
	us := p.last + v>>1 // cannot overflow: a half of all numbers, and a time
	if us < packedFrom*1e6 || us >= packedUntil*1e6 || rest > 999 {
		p.fail()
		return time.Time{}
	}
	p.last = us
	return time.UnixMicro(us).Add(time.Duration(rest)).UTC()
}

func (p *unpacker) outcome() Outcome {
	n := int(p.byte())
	if n >= len(packedOutcomes) {
		p.fail()
		return ""
	}
	return packedOutcomes[n]
}

func (p *unpacker) record(r *Record) bool {
	t := &r.Task
	format, has := p.byte(), p.uint()
	if has >= packEnd || format != formatOf(has) {
		return false
	}
	p.array((*[16]byte)(&t.ID))
	state := int(p.byte())
	if state >= len(packedStates) {
		return false
	}
	t.State, r.Settled = packedStates[state], p.outcome()
	t.Type, t.Queue = p.text(), p.text()
	t.Priority, t.MaxAttempts, t.Timeout = p.int(), p.int(), time.Duration(p.int64())
	t.Life, t.Version = p.int64(), p.int64()
	t.Payload = p.bytes()
	t.TraceID = t.ID
	if has&packTrace != 0 {
		p.array((*[16]byte)(&t.TraceID))
	}
	if has&packAttempt != 0 {
		t.Attempt = p.int()
	}
	if has&packFailures != 0 {
		t.Failures = p.int()
	}
	if has&packResult != 0 {
		t.Result = p.bytes()
	}
	if has&packError != 0 {
		t.Error = p.taskError()
	}
	if has&packProgress != 0 {
		t.Progress = p.bytes()
	}
	if has&packMetadata != 0 {
		t.Metadata = pairs(p, p.text)
	}
	for i, at := range [...]*time.Time{&t.CreatedAt, &t.RunAt, &t.StartedAt, &t.FinishedAt} {
		if has&(packCreated<<i) != 0 {
			*at = p.time()
		}
	}
	t.MaybeRepeated = has&packMaybeRepeated != 0
	t.Exclusive = has&packExclusive != 0
	t.CancelRequested, r.Deleted = has&packCancel != 0, has&packDeleted != 0
	if has&packKey != 0 {
		r.UniqueKey = p.text()
	}
	if has&packRetention != 0 {
		keep := time.Duration(p.int64())
		r.Retention = &keep
	}
	if has&packFingerprint != 0 {
		r.Fingerprint = p.text()
	}
	if has&packClaim != 0 {
		r.Claim = p.int64()
	}
	if has&packLease != 0 {
		if raw := p.take(8); raw != nil {
			r.Lease = int64(binary.LittleEndian.Uint64(raw))
		}
	}
	if has&packNode != 0 {
		r.Node = p.text()
	}
	if has&packSession != 0 {
		p.array((*[16]byte)(&r.Session))
	}
	if has&packAttempts != 0 {
		r.Attempts = list(p, 4, func(a *Attempt) { p.attempt(a, r.Node) })
	}
	if has&packSteps != 0 {
		r.Steps = pairs(p, func() json.RawMessage { return p.bytes() })
	}
	if has&packLogs != 0 {
		r.Logs = list(p, 5, p.line)
	}
	return !p.bad
}

// list reads items of at least size bytes each. It grows as they come, so that
// a length that lies costs nothing.
func list[T any](p *unpacker, size int, read func(*T)) []T {
	n := p.count(size)
	out := make([]T, 0, min(n, 8))
	for ; n > 0 && !p.bad; n-- {
		var item T
		read(&item)
		out = append(out, item)
	}
	return out
}

// pairs reads a map; a name that comes twice does not fit.
func pairs[V any](p *unpacker, read func() V) map[string]V {
	n := p.count(2)
	out := make(map[string]V, min(n, 8))
	for i := 1; i <= n && !p.bad; i++ {
		name := p.text()
		if out[name] = read(); len(out) != i {
			p.fail()
		}
	}
	return out
}

func (p *unpacker) attempt(a *Attempt, node string) {
	has := p.byte()
	if has >= packAttemptStack<<1 {
		p.fail()
	}
	a.Outcome = p.outcome()
	a.Number, a.Life, a.Node = p.int(), p.int64(), node
	if has&packAttemptNode != 0 {
		a.Node = p.text()
	}
	if has&packAttemptStarted != 0 {
		a.StartedAt = p.time()
	}
	if has&packAttemptFinished != 0 {
		a.FinishedAt = p.time()
	}
	if has&packAttemptError != 0 {
		a.Error = p.taskError()
	}
	if has&packAttemptStack != 0 {
		a.Stack = p.text()
	}
}

func (p *unpacker) line(l *LogLine) {
	switch p.byte() {
	case 0:
		l.At = p.time()
	case 1:
	default:
		p.fail()
	}
	l.Attempt, l.Level, l.Message, l.Attrs = p.int(), p.text(), p.text(), p.bytes()
}

package morningai

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// The first byte of a packed record: recordFormat, if it has none of the bits from
// packSecond on. Programs that do not know those refuse the record by its byte.
const (
	recordFormat       = 1
	secondRecordFormat = 2
)

// What a packed record has beside the fields that every task has. The order of
// the bits is the order of the fields, and both are part of the format.
const (
	packTrace = 1 << iota
	packAttempt
	packFailures
	packResult
	packError
	packProgress
	packMetadata
	packCreated
	packRunAt
	packStarted
	packFinished
	packCancel
	packKey
	packRetention
	packFingerprint
	packClaim
	packLease
	packNode
	packSession
	packDeleted
	packAttempts
	packSteps
	packLogs
	packExclusive
	packMaybeRepeated
	packEnd // the first bit that has no meaning

	packSecond = packExclusive // the first bit that came with secondRecordFormat
)

// What one attempt of a packed record has.
const (
	packAttemptNode = 1 << iota // another node than the record's
	packAttemptStarted
	packAttemptFinished
	packAttemptError
	packAttemptStack
)

// States and outcomes by the number stored; their order is part of the format.
var (
	packedStates   = [...]State{"", StateScheduled, StateBlocked, StateQueued, StateRunning, StateSucceeded, StateFailed, StateCanceled}
	packedOutcomes = [...]Outcome{"", OutcomeSucceeded, OutcomeRetry, OutcomeFailed, OutcomeSnoozed, OutcomeCanceled, OutcomeReleased, OutcomeLost}
)

// Times that can be packed, in seconds: the years 1 to 9999.
const (
	packedFrom  = -62_135_596_800
	packedUntil = 253_402_300_800
)

// AppendBinary implements [encoding.BinaryAppender]: it appends the record in
// the compact form that [ParseRecord] reads. Equal records have equal forms.
// Times keep their nanoseconds and come back in UTC; an empty slice or map comes
// back as nil. What says how a Task was read, and not what it is (Pending,
// Fresh, AsOf, Durable, Runs, Duplicate), is left out. A state, an outcome or a
// time that no engine produces is an [ErrInvalidInput].
func (r *Record) AppendBinary(b []byte) ([]byte, error) {
	t := &r.Task
	state, ok := packedState(t.State)
	settled, ok2 := packedOutcome(r.Settled)
	if !ok || !ok2 {
		return b, InvalidInput("pack record", FieldError{"state, settled", "must be a state and an outcome"})
	}
	has := r.packs()
	w := packer{b: append(b, formatOf(has))}
	w.uint(has)
	w.b = append(w.b, t.ID[:]...)
	w.b = append(w.b, state, settled)
	w.text(t.Type)
	w.text(t.Queue)
	w.int(int64(t.Priority))
	w.int(int64(t.MaxAttempts))
	w.int(int64(t.Timeout))
	w.int(t.Life)
	w.int(t.Version)
	w.bytes(t.Payload)
	if has&packTrace != 0 {
		w.b = append(w.b, t.TraceID[:]...)
	}
	if has&packAttempt != 0 {
		w.int(int64(t.Attempt))
	}
	if has&packFailures != 0 {
		w.int(int64(t.Failures))
	}
	if has&packResult != 0 {
		w.bytes(t.Result)
	}
	if has&packError != 0 {
		w.taskError(t.Error)
	}
	if has&packProgress != 0 {
		w.bytes(t.Progress)
	}
	if has&packMetadata != 0 {
		w.uint(uint64(len(t.Metadata)))
		for _, k := range slices.Sorted(maps.Keys(t.Metadata)) {
			w.text(k)
			w.text(t.Metadata[k])
		}
	}
	for _, at := range [...]time.Time{t.CreatedAt, t.RunAt, t.StartedAt, t.FinishedAt} {
		if !at.IsZero() {
			w.time(at)
		}
	}
	if has&packKey != 0 {
		w.text(r.UniqueKey)
	}
	if has&packRetention != 0 {
		w.int(int64(*r.Retention))
	}
	if has&packFingerprint != 0 {
		w.text(r.Fingerprint)
	}
	if has&packClaim != 0 {
		w.int(r.Claim)
	}
	if has&packLease != 0 {
		w.b = binary.LittleEndian.AppendUint64(w.b, uint64(r.Lease))
	}
	if has&packNode != 0 {
		w.text(r.Node)
	}
	if has&packSession != 0 {
		w.b = append(w.b, r.Session[:]...)
	}
	w.history(r)
	if w.bad != "" {
		return b, InvalidInput("pack record", FieldError{w.bad, "must be what an engine produces"})
	}
	return w.b, nil
}

func formatOf(has uint64) byte {
	if has >= packSecond {
		return secondRecordFormat
	}
	return recordFormat
}

func packedState(s State) (byte, bool) {
	for i, known := range packedStates {
		if known == s {
			return byte(i), true
		}
	}
	return 0, false
}

func packedOutcome(o Outcome) (byte, bool) {
	for i, known := range packedOutcomes {
		if known == o {
			return byte(i), true
		}
	}
	return 0, false
}

// packs says which of the optional fields the record has.
func (r *Record) packs() (has uint64) {
	t := &r.Task
	mark := func(ok bool, bit uint64) {
		if ok {
			has |= bit
		}
	}
	mark(t.TraceID != t.ID, packTrace)
	mark(t.Attempt != 0, packAttempt)
	mark(t.Failures != 0, packFailures)
	mark(len(t.Result) > 0, packResult)
	mark(t.Error != nil, packError)
	mark(len(t.Progress) > 0, packProgress)
	mark(len(t.Metadata) > 0, packMetadata)
	mark(!t.CreatedAt.IsZero(), packCreated)
	mark(!t.RunAt.IsZero(), packRunAt)
	mark(!t.StartedAt.IsZero(), packStarted)
	mark(!t.FinishedAt.IsZero(), packFinished)
	mark(t.CancelRequested, packCancel)
	mark(r.UniqueKey != "", packKey)
	mark(r.Retention != nil, packRetention)
	mark(r.Fingerprint != "", packFingerprint)
	mark(r.Claim != 0, packClaim)
	mark(r.Lease != 0, packLease)
	mark(r.Node != "", packNode)
	mark(r.Session != SessionID{}, packSession)
	mark(r.Deleted, packDeleted)
	mark(len(r.Attempts) > 0, packAttempts)
	mark(len(r.Steps) > 0, packSteps)
	mark(len(r.Logs) > 0, packLogs)
	mark(t.Exclusive, packExclusive)
	mark(t.MaybeRepeated, packMaybeRepeated)
	return has
}

// packer writes fields. Times are differences to the one before, in
// microseconds; what is left of a microsecond follows if there is any.
type packer struct {
	b    []byte
	last int64
	bad  string // the first field that cannot be packed
}

func (w *packer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *packer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *packer) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *packer) bytes(v []byte) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *packer) taskError(e *TaskError) {
	w.text(e.Code)
	w.text(e.Message)
}

func (w *packer) time(t time.Time) {
	if s := t.Unix(); s < packedFrom || s >= packedUntil {
		w.bad = "time"
		return
	}
	us, rest := t.UnixMicro(), t.Nanosecond()%1000
	d := (us - w.last) << 1
	w.last = us
	if rest == 0 {
		w.int(d)
		return
	}
	w.int(d | 1)
	w.uint(uint64(rest))
}

// history writes the lists at the end of a record.
func (w *packer) history(r *Record) {
	if len(r.Attempts) > 0 {
		w.uint(uint64(len(r.Attempts)))
		for i := range r.Attempts {
			w.attempt(&r.Attempts[i], r.Node)
		}
	}
	if len(r.Steps) > 0 {
		w.uint(uint64(len(r.Steps)))
		for _, name := range slices.Sorted(maps.Keys(r.Steps)) {
			w.text(name)
			w.bytes(r.Steps[name])
		}
	}
	if len(r.Logs) > 0 {
		w.uint(uint64(len(r.Logs)))
		for i := range r.Logs {
			w.line(&r.Logs[i])
		}
	}
}

func (w *packer) attempt(a *Attempt, node string) {
	outcome, ok := packedOutcome(a.Outcome)
	if !ok {
		w.bad = "attempts"
		return
	}
	var has byte
	mark := func(ok bool, bit byte) {
		if ok {
			has |= bit
		}
	}
	mark(a.Node != node, packAttemptNode)
	mark(!a.StartedAt.IsZero(), packAttemptStarted)
	mark(!a.FinishedAt.IsZero(), packAttemptFinished)
	mark(a.Error != nil, packAttemptError)
	mark(a.Stack != "", packAttemptStack)
	w.b = append(w.b, has, outcome)
	w.int(int64(a.Number))
	w.int(a.Life)
	if a.Node != node {
		w.text(a.Node)
	}
	if !a.StartedAt.IsZero() {
		w.time(a.StartedAt)
	}
	if !a.FinishedAt.IsZero() {
		w.time(a.FinishedAt)
	}
	if a.Error != nil {
		w.taskError(a.Error)
	}
	if a.Stack != "" {
		w.text(a.Stack)
	}
}

// line writes a log line. One without a time has an odd mark.
func (w *packer) line(l *LogLine) {
	if l.At.IsZero() {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
		w.time(l.At)
	}
	w.int(int64(l.Attempt))
	w.text(l.Level)
	w.text(l.Message)
	w.bytes(json.RawMessage(l.Attrs))
}

package redis

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// The packed form of a task; lua/common.lua has the other half of this codec.
const headLen = 38

const (
	flagRunAt = 1 << iota
	flagCancel
	flagDeleted
	flagHidden
	flagUnique
	flagRetention
	flagHistory
	flagSteps
	flagProgress
	flagLogs
	flagBare   // payload and key were replaced by their digest
	flagRepeat // it may have run more often than is on record
)

var stateCodes = map[morningai.State]byte{
	morningai.StateScheduled: 1, morningai.StateBlocked: 2, morningai.StateQueued: 3, morningai.StateRunning: 4,
	morningai.StateSucceeded: 5, morningai.StateFailed: 6, morningai.StateCanceled: 7, morningai.StateRetrying: 8,
}

var stateNames = invert(stateCodes)

var outcomeCodes = map[morningai.Outcome]byte{
	morningai.OutcomeSucceeded: 1, morningai.OutcomeRetry: 2, morningai.OutcomeFailed: 3, morningai.OutcomeSnoozed: 4,
	morningai.OutcomeCanceled: 5, morningai.OutcomeReleased: 6, morningai.OutcomeLost: 7,
}

var outcomeNames = invert(outcomeCodes)

func invert[V comparable](m map[V]byte) map[byte]V {
	out := make(map[byte]V, len(m))
	for k, v := range m {
		out[v] = k
	}
	return out
}

var errCorrupt = errors.New("a stored task cannot be read")

// packed is a stored value taken apart, nothing of it interpreted.
type packed struct {
	state          byte
	flags          uint16
	priority       byte
	queue, kind    uint32 // numbers of the names
	seq            uint64
	life           uint16
	version, claim uint32
	attempt        uint32
	failures       uint16
	settled        byte
	runAt          int64
	spec, run, fin string
	retention      time.Duration
	uniqueKey      string
	traceID        morningai.ID
	created        int64
	canon          string
	fingerprint    string // known once the request was read
	lease          int64
	session        morningai.SessionID
	started        int64
	node           string
	finished       int64
	outcome        byte
	front, result  string
}

func (p *packed) has(flag uint16) bool { return p.flags&flag != 0 }

func u24(s string) uint32 { return uint32(s[0])<<16 | uint32(s[1])<<8 | uint32(s[2]) }

func u48(s string) uint64 { return uint64(be16(s))<<32 | uint64(be32(s[2:])) }

func be16(s string) uint16 { return binary.BigEndian.Uint16([]byte(s[:2])) }
func be32(s string) uint32 { return binary.BigEndian.Uint32([]byte(s[:4])) }
func be64(s string) int64  { return int64(binary.BigEndian.Uint64([]byte(s[:8]))) }

// unpack reads a record and its spec; see the layout in lua/common.lua.
func unpack(id morningai.ID, v, spec string) (*packed, error) {
	if len(v) < headLen {
		return nil, errCorrupt
	}
	p := &packed{
		state: v[0], flags: be16(v[1:]), queue: u24(v[3:]), kind: u24(v[6:]), seq: uint64(v[9])<<48 | u48(v[10:]), priority: v[16], life: be16(v[17:]),
		version: be32(v[19:]), claim: be32(v[23:]), attempt: be32(v[27:]), failures: be16(v[31:]), settled: v[33],
	}
	runLen, finLen := int(v[34]), int(u24(v[35:]))
	rest := v[headLen:]
	if p.has(flagRunAt) {
		if len(rest) < 8 {
			return nil, errCorrupt
		}
		p.runAt, rest = be64(rest), rest[8:]
	}
	if len(rest) != runLen+finLen {
		return nil, errCorrupt
	}
	p.run, p.fin, p.spec = rest[:runLen], rest[runLen:], spec
	if !p.readSpec(id) || !p.readRun() || !p.readFin() {
		return nil, errCorrupt
	}
	return p, nil
}

func (p *packed) readSpec(id morningai.ID) bool {
	s := p.spec
	if p.has(flagRetention) {
		if len(s) < 8 {
			return false
		}
		p.retention, s = time.Duration(be64(s)), s[8:]
	}
	if p.has(flagUnique) {
		if len(s) < 2 || len(s) < 2+int(be16(s)) {
			return false
		}
		n := int(be16(s))
		p.uniqueKey, s = s[2:2+n], s[2+n:]
	}
	if len(s) < 1 || len(s) < 1+int(s[0]) || s[0] < 1 {
		return false
	}
	head := s[1 : 1+int(s[0])]
	p.canon = s[1+int(s[0]):]
	if !p.has(flagBare) {
		if len(p.canon) < saltLen+seatLen {
			return false
		}
		p.canon = p.canon[:len(p.canon)-saltLen-seatLen]
	}
	p.traceID = id
	traced := head[0]&1 != 0
	head = head[1:]
	if traced {
		if len(head) < 16 {
			return false
		}
		p.traceID = morningai.ID([]byte(head[:16]))
		head = head[16:]
	}
	delta, n := binary.Varint([]byte(head))
	p.created = delta + id.Time().UnixMicro()
	if id.Time().IsZero() {
		p.created = delta
	}
	return n > 0
}

func (p *packed) readRun() bool {
	if p.run == "" {
		return true
	}
	if len(p.run) == 8 {
		p.lease = be64(p.run)
		return true
	}
	if len(p.run) < 38 {
		return false
	}
	p.lease, p.session = be64(p.run), morningai.SessionID([]byte(p.run[8:24]))
	p.started, p.node = be64(p.run[30:]), p.run[38:]
	return true
}

func (p *packed) readFin() bool {
	if p.fin == "" {
		return true
	}
	if len(p.fin) < 12 {
		return false
	}
	n := 12 + int(u24(p.fin[9:]))
	if len(p.fin) < n {
		return false
	}
	p.finished, p.outcome, p.front, p.result = be64(p.fin), p.fin[8], p.fin[12:n], p.fin[n:]
	return true
}

// canonical is the part of a spec that decides whether two requests are the
// same, except what the head of a record has.
func canonical(s *morningai.TaskSpec) string { return string(appendCanonical(nil, s)) }

// exclusiveMark is beyond every number of attempts (MaxAttemptsCap).
const exclusiveMark = 1 << 14

func appendCanonical(b []byte, s *morningai.TaskSpec) []byte {
	attempts := uint64(s.MaxAttempts)
	if s.Exclusive {
		attempts |= exclusiveMark
	}
	b = binary.AppendUvarint(b, attempts)
	switch {
	case s.Timeout%time.Second == 0:
		b = binary.AppendUvarint(b, uint64(s.Timeout/time.Second)<<1)
	default:
		b = binary.AppendUvarint(b, uint64(s.Timeout)<<1|1)
	}
	if s.Fingerprint == "" {
		b = binary.AppendUvarint(b, uint64(len(s.Metadata))<<1)
	} else {
		b = binary.AppendUvarint(b, uint64(len(s.Metadata))<<1|1)
		b = appendText(b, s.Fingerprint)
	}
	if len(s.Metadata) > 0 {
		for _, k := range slices.Sorted(maps.Keys(s.Metadata)) {
			b = appendText(appendText(b, k), s.Metadata[k])
		}
	}
	return append(b, s.Payload...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes a packed text apart; ok turns false at the first thing missing.
type reader struct {
	rest string
	ok   bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if n <= 0 {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes(n uint64) string {
	if !r.ok || uint64(len(r.rest)) < n {
		r.ok = false
		return ""
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return strings.Clone(out)
}

func (r *reader) text() string { return r.bytes(r.uvarint()) }

// request reads the canonical part back.
func (p *packed) request(s *morningai.TaskSpec) bool {
	r := &reader{rest: p.canon, ok: true}
	attempts := r.uvarint()
	s.Exclusive, s.MaxAttempts = attempts&exclusiveMark != 0, int(attempts&^exclusiveMark)
	if t := r.uvarint(); t&1 == 0 {
		s.Timeout = time.Duration(t>>1) * time.Second
	} else {
		s.Timeout = time.Duration(t >> 1)
	}
	n := r.uvarint()
	if n&1 == 1 {
		s.Fingerprint = r.text()
	}
	if n >>= 1; r.ok && n > 0 {
		s.Metadata = make(map[string]string)
		for range n {
			k := r.text()
			s.Metadata[k] = r.text()
			if !r.ok {
				return false
			}
		}
	}
	s.Payload = json.RawMessage(r.rest)
	return r.ok
}

// saltLen bytes of the id end every spec, and a script adds seatLen to it; see
// lua/common.lua.
const (
	saltLen = 2
	seatLen = 16
)

func salt(id morningai.ID) string { return string(id[len(id)-saltLen:]) }

// packSpec is what the producer decides, stored beside the record.
func packSpec(s *morningai.TaskSpec, created time.Time) (flags uint16, spec string) {
	b := make([]byte, 0, 64+len(s.Payload)+len(s.UniqueKey))
	if s.Retention != nil {
		flags |= flagRetention
		b = binary.BigEndian.AppendUint64(b, uint64(*s.Retention))
	}
	if s.UniqueKey != "" {
		flags |= flagUnique
		b = binary.BigEndian.AppendUint16(b, uint16(len(s.UniqueKey)))
		b = append(b, s.UniqueKey...)
	}
	var room [32]byte
	head := room[:1]
	if s.TraceID != s.ID {
		head[0] |= 1
		head = append(head, s.TraceID[:]...)
	}
	base := int64(0)
	if t := s.ID.Time(); !t.IsZero() {
		base = t.UnixMicro()
	}
	head = binary.AppendVarint(head, created.UnixMicro()-base)
	b = append(b, byte(len(head)))
	b = append(b, head...)
	return flags, string(append(appendCanonical(b, s), salt(s.ID)...))
}

// packFront is what an end says beside its result.
func packFront(finished time.Time, failure *morningai.TaskError, stack string) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(nanos(finished)))
	if failure == nil {
		return string(append(b, 0)) + stack
	}
	b = append(b, 1)
	return string(appendText(appendText(b, failure.Code), failure.Message)) + stack
}

func readFront(s string) (finished int64, failure *morningai.TaskError, stack string) {
	if len(s) < 9 {
		return 0, nil, ""
	}
	finished = be64(s)
	if s[8] == 0 {
		return finished, nil, s[9:]
	}
	r := &reader{rest: s[9:], ok: true}
	failure = &morningai.TaskError{Code: r.text(), Message: r.text()}
	return finished, failure, strings.Clone(r.rest)
}

// nanos is 0 for the zero time, and reads back as it.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

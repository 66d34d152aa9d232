package redis

import (
	"encoding/binary"
	"sync"

	"github.com/RC918/morningai"
)

// seats remembers where the tasks sit that this engine has claimed for the first
// time, so that their reports can tell: Redis need not read for that what they were
// asked for. It keeps the last few thousand; what it has forgotten, Redis finds.
type seats struct {
	mu       sync.Mutex
	new, old map[morningai.ID]string
}

const seatsKept = 8192 // at least, and at most twice that

func (s *seats) keep(id morningai.ID, seat string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.new == nil || len(s.new) == seatsKept {
		s.new, s.old = make(map[morningai.ID]string), s.new
	}
	s.new[id] = seat
}

// take returns a task's seat, or "", and forgets it.
func (s *seats) take(id morningai.ID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range []map[morningai.ID]string{s.new, s.old} {
		if seat, found := m[id]; found {
			delete(m, id)
			return seat
		}
	}
	return ""
}

// firstRecord is the record of a task under way for the first time; lua/common.lua
// makes the same.
func firstRecord(seat, run string) string {
	return "\x04" + seat[1:] + seat[:1] + "\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00" +
		string([]byte{byte(len(run)), 0, 0, 0}) + run
}

// packSuccess packs the record that a task gets when its first run succeeds, if it
// is a plain one: priority 1, flags 2 (none), and what else a seat tells.
func packSuccess(r *morningai.Report, seat string, now uint64) (string, bool) {
	if r.Outcome != morningai.OutcomeSucceeded || r.Error != nil || r.Lease.Claim != 1 || r.Attempt != 1 || len(seat) != seatLen || seat[1]|seat[2] != 0 {
		return "", false
	}
	node := r.Node[:min(len(r.Node), maxNode)]
	front := packFront(r.FinishedAt, nil, r.Stack)
	b := make([]byte, 0, headLen+38+len(node)+12+len(front)+len(r.Result))
	b = append(b, stateCodes[morningai.StateSucceeded])
	b = append(append(b, seat[1:]...), seat[0])
	b = append(b, "\x00\x01\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00"...)
	b = append(b, outcomeCodes[morningai.OutcomeSucceeded])
	end := 12 + len(front) + len(r.Result)
	b = append(b, byte(38+len(node)), byte(end>>16), byte(end>>8), byte(end))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Lease.Lease))
	b = append(b, make([]byte, 22)...) // no session, no grant
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(r.StartedAt)))
	b = append(b, node...)
	b = binary.BigEndian.AppendUint64(b, now)
	b = append(b, outcomeCodes[morningai.OutcomeSucceeded], byte(len(front)>>16), byte(len(front)>>8), byte(len(front)))
	b = append(b, front...)
	return string(append(b, r.Result...)), true
}

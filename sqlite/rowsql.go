package sqlite

import (
	"strings"
	"time"

	"github.com/RC918/morningai"
)

const rowColumns = `seq,id,line,state,priority,payload,max_attempts,timeout,retention,trace,ukey,metadata,created,run_at,
version,era,life,attempt,failures,claim,lease,flags,settled,node,started,finished,expires,result,error,stack,progress`

const rowWidth = 31

// scanRow reads the columns of rowColumns.
func (e *Engine) scanRow(s *stmt) *row {
	r := &row{
		seq: s.colInt(0), status: status(s.colInt(3)), priority: int(s.colInt(4)), payload: s.colBlob(5),
		maxAttempts: int(s.colInt(6)), timeout: time.Duration(s.colInt(7)), created: s.colInt(12), runAt: s.colInt(13),
		version: s.colInt(14), era: s.colInt(15), life: s.colInt(16), attempt: s.colInt(17), failures: s.colInt(18),
		claim: s.colInt(19), lease: s.colInt(20), flags: uint8(s.colInt(21)), settled: uint8(s.colInt(22)),
		started: s.colInt(24), finished: s.colInt(25), expires: s.colInt(26), result: s.colBlob(27), progress: s.colBlob(30),
	}
	copy(r.id[:], s.colRaw(1))
	r.line = e.names.line(s.colInt(2))
	if r.maxAttempts == 0 {
		r.maxAttempts = morningai.DefaultMaxAttempts
	}
	if r.timeout == 0 {
		r.timeout = morningai.DefaultTimeout
	}
	if r.life == 0 {
		r.life = 1
	}
	if r.created == 0 {
		r.created = r.seq
	}
	if !s.colNull(8) {
		d := time.Duration(s.colInt(8))
		r.retention = &d
	}
	if t := s.colRaw(9); t == nil {
		r.trace = r.id
	} else {
		copy(r.trace[:], t)
	}
	r.ukey, r.metadata = s.colText(10), s.colText(11)
	if n := s.colInt(23); n != 0 {
		r.node = e.names.node(n)
	}
	r.err, r.stack = s.colText(28), s.colText(29)
	return r
}

// bindRow binds a whole row.
func bindRow(s *stmt, r *row) {
	bindNew(s, 0, r)
	bindLife(s, 17, r)
	bindState(s, 18, r)
}

// bindSpec binds what a task is, 14 columns from parameter at+1 on.
func bindSpec(s *stmt, at int, r *row) {
	s.int(at+1, r.seq)
	s.blob(at+2, r.id[:])
	s.int(at+3, r.line.id)
	s.int(at+4, int64(r.status))
	s.int(at+5, int64(r.priority))
	s.blob(at+6, r.payload)
	if r.maxAttempts == morningai.DefaultMaxAttempts {
		s.null(at + 7)
	} else {
		s.int(at+7, int64(r.maxAttempts))
	}
	if r.timeout == morningai.DefaultTimeout {
		s.null(at + 8)
	} else {
		s.int(at+8, int64(r.timeout))
	}
	if r.retention == nil {
		s.null(at + 9)
	} else {
		s.int(at+9, int64(*r.retention))
	}
	if r.trace == r.id {
		s.null(at + 10)
	} else {
		s.blob(at+10, r.trace[:])
	}
	s.text(at+11, r.ukey)
	s.text(at+12, r.metadata)
	if r.created == r.seq {
		s.null(at + 13)
	} else {
		s.int(at+13, r.created)
	}
	s.intOrNull(at+14, r.runAt)
}

func bindLife(s *stmt, i int, r *row) {
	if r.life == 1 {
		s.null(i)
		return
	}
	s.int(i, r.life)
}

// bindState binds what changes when a task runs, 14 columns from i on.
func bindState(s *stmt, i int, r *row) {
	s.intOrNull(i, r.attempt)
	s.intOrNull(i+1, r.failures)
	s.intOrNull(i+2, r.claim)
	s.intOrNull(i+3, r.lease)
	s.intOrNull(i+4, int64(r.flags))
	s.intOrNull(i+5, int64(r.settled))
	if r.node == nil {
		s.null(i + 6)
	} else {
		s.int(i+6, r.node.id)
	}
	s.intOrNull(i+7, r.started)
	s.intOrNull(i+8, r.finished)
	s.intOrNull(i+9, r.expires)
	s.blob(i+10, r.result)
	s.text(i+11, r.err)
	s.text(i+12, r.stack)
	s.blob(i+13, r.progress)
}

const updateSQL = `UPDATE tasks SET state=?1,run_at=?2,version=?3,era=?4,life=?5,attempt=?6,failures=?7,claim=?8,lease=?9,
flags=?10,settled=?11,node=?12,started=?13,finished=?14,expires=?15,result=?16,error=?17,stack=?18,progress=?19 WHERE seq=?20`

func bindUpdate(s *stmt, r *row) {
	s.int(1, int64(r.status))
	s.intOrNull(2, r.runAt)
	s.int(3, r.version)
	s.int(4, r.era)
	bindLife(s, 5, r)
	bindState(s, 6, r)
	s.int(20, r.seq)
}

// newColumns is how many columns a fresh task fills; the rest stay NULL.
const newColumns = 16

func newRowsSQL(n int) string {
	one := "(" + strings.Repeat("?,", newColumns-1) + "?)"
	return `INSERT INTO tasks (seq,id,line,state,priority,payload,max_attempts,timeout,retention,trace,ukey,metadata,created,
run_at,version,era) VALUES ` + strings.Repeat(one+",", n-1) + one
}

func fullRowSQL() string {
	return "INSERT INTO tasks (" + rowColumns + ") VALUES (" + strings.Repeat("?,", rowWidth-1) + "?)"
}

func (r *row) fresh() bool {
	return r.life == 1 && r.attempt == 0 && r.claim == 0 && r.flags == 0 && r.expires == 0 && r.version == 1 && r.err == "" && r.started == 0 &&
		r.progress == nil && r.result == nil && r.failures == 0 && r.finished == 0 && r.settled == 0 && r.node == nil && r.stack == ""
}

// bindNew binds a fresh row from parameter at+1 on.
func bindNew(s *stmt, at int, r *row) {
	bindSpec(s, at, r)
	s.int(at+15, r.version)
	s.int(at+16, r.era)
}

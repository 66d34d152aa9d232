package sqlite

import (
	"encoding/binary"

	"github.com/RC918/morningai"
)

// insertRows is how many fresh tasks one statement inserts.
const insertRows = 16

// Keys of the table meta.
const (
	metaEra   = "era"   // crashes so far
	metaOpen  = "open"  // 1 while an engine has the file open
	metaProbe = "probe" // when the last probe wrote
	metaRoom  = "room"  // bytes that a probe tries to write
)

// writerSQL is every statement of the writing connection, prepared once.
type writerSQL struct {
	begin, commit, rollback          *stmt
	byID, bySeq                      *stmt
	insert1, insertN                 *stmt
	update, remove                   *stmt
	line, node                       *stmt
	keyGet, keyPut, keyDel           *stmt
	duePut, dueDel, dueNext, dueMin  *stmt
	leasePut, leaseDel               *stmt
	listPut, listDel, listDelAll     *stmt
	attemptPut, attemptDel           *stmt
	stepPut, stepGet, stepDel        *stmt
	logPut, logLast, logTrim, logDel *stmt
	queuePut, countPut               *stmt
	expPut, expNext, expDel, expMin  *stmt
	queued, oldest, metaPut, hasSeq  *stmt
	pages, free                      *stmt
	notePut1, notePutN               *stmt
	noteGet, noteSet, noteDel        *stmt
	kindPut, oldestAny               *stmt
}

func (q *writerSQL) prepare(c *conn) error {
	for _, p := range []struct {
		s   **stmt
		sql string
	}{
		{&q.begin, "BEGIN IMMEDIATE"}, {&q.commit, "COMMIT"}, {&q.rollback, "ROLLBACK"},
		{&q.byID, "SELECT " + rowColumns + " FROM tasks WHERE id=?"},
		{&q.hasSeq, "SELECT seq FROM tasks WHERE seq=?"},
		{&q.bySeq, "SELECT " + rowColumns + " FROM tasks WHERE seq=?"},
		{&q.insert1, insertSQL(1)}, {&q.insertN, insertSQL(insertRows)},
		{&q.update, updateSQL}, {&q.remove, "DELETE FROM tasks WHERE seq=?"},
		{&q.line, "INSERT INTO lines (id,queue,type) VALUES (?,?,?)"},
		{&q.node, "INSERT INTO nodes (id,name) VALUES (?,?)"},
		{&q.keyGet, "SELECT seq FROM uniques WHERE key=?"},
		{&q.keyPut, "INSERT INTO uniques (key,seq) VALUES (?,?)"},
		{&q.keyDel, "DELETE FROM uniques WHERE key=? AND seq=?"},
		{&q.duePut, "INSERT OR IGNORE INTO due (run_at,seq) VALUES (?,?)"},
		{&q.dueDel, "DELETE FROM due WHERE run_at=? AND seq=?"},
		{&q.dueNext, "SELECT run_at,seq FROM due WHERE run_at<=? ORDER BY run_at,seq LIMIT ?"},
		{&q.dueMin, "SELECT run_at FROM due ORDER BY run_at LIMIT 1"},
		{&q.leasePut, "INSERT OR REPLACE INTO leases (seq,claim,lease,node,attempt,version,started,grace) VALUES (?,?,?,?,?,?,?,?)"},
		{&q.leaseDel, "DELETE FROM leases WHERE seq=?"},
		{&q.listPut, "INSERT INTO claims (n,data) VALUES (?,?)"},
		{&q.listDel, "DELETE FROM claims WHERE n=?"},
		{&q.listDelAll, "DELETE FROM claims WHERE n<=?"},
		{&q.attemptPut, "INSERT OR REPLACE INTO attempts (seq,number,life,node,started,finished,outcome,error,stack) VALUES (?,?,?,?,?,?,?,?,?)"},
		{&q.attemptDel, "DELETE FROM attempts WHERE seq=?"},
		{&q.stepPut, "INSERT OR IGNORE INTO steps (seq,name,data) VALUES (?,?,?)"},
		{&q.stepGet, "SELECT name,data FROM steps WHERE seq=?"},
		{&q.stepDel, "DELETE FROM steps WHERE seq=?"},
		{&q.logPut, "INSERT INTO logs (seq,n,attempt,at,level,message,attrs) VALUES (?,?,?,?,?,?,?)"},
		{&q.logLast, "SELECT n FROM logs WHERE seq=? ORDER BY n DESC LIMIT 1"},
		{&q.logTrim, "DELETE FROM logs WHERE seq=? AND n<=?"},
		{&q.logDel, "DELETE FROM logs WHERE seq=?"},
		{&q.queuePut, "INSERT OR REPLACE INTO queues (name,paused,concurrency,rate_count,rate_per,version,paused_at,concurrency_at,rate_at) VALUES (?,?,?,?,?,?,?,?,?)"},
		{&q.countPut, "INSERT INTO counts (line,state,priority,n) VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET n=n+excluded.n"},
		{&q.expPut, "INSERT INTO expiries (bucket,n,seqs) VALUES (?,?,?)"},
		{&q.expNext, "SELECT bucket,n,seqs FROM expiries WHERE bucket<=? ORDER BY bucket,n LIMIT 1"},
		{&q.expDel, "DELETE FROM expiries WHERE bucket=? AND n=?"},
		{&q.expMin, "SELECT bucket FROM expiries ORDER BY bucket LIMIT 1"},
		{&q.queued, "SELECT seq FROM tasks WHERE slot=? AND seq>? ORDER BY seq LIMIT ?"},
		{&q.oldest, "SELECT seq FROM tasks WHERE slot=? ORDER BY seq LIMIT ?"},
		{&q.metaPut, "INSERT OR REPLACE INTO meta (key,value) VALUES (?,?)"},
		{&q.notePut1, noteSQL(1)}, {&q.notePutN, noteSQL(insertRows)},
		{&q.noteGet, "SELECT seq FROM notes WHERE kind=? AND key=?"},
		{&q.noteSet, "UPDATE notes SET alt=?1,data=?2 WHERE seq=?3"},
		{&q.noteDel, "DELETE FROM notes WHERE seq=?"},
		{&q.kindPut, "INSERT OR REPLACE INTO note_kinds (kind,n,last) VALUES (?,?,?)"},
		{&q.oldestAny, "SELECT seq FROM tasks WHERE seq>? ORDER BY seq LIMIT ?"},
		{&q.pages, "PRAGMA page_count"}, {&q.free, "PRAGMA freelist_count"},
	} {
		s, err := c.prepare(p.sql)
		if err != nil {
			return err
		}
		*p.s = s
	}
	return nil
}

func (q *writerSQL) setMeta(key string, v int64) error {
	q.metaPut.text(1, key)
	q.metaPut.int(2, v)
	return q.metaPut.exec()
}

// first returns the number in the first column of the first row.
func first(s *stmt) (v int64, ok bool, err error) {
	if ok, err = s.step(); ok {
		v = s.colInt(0)
		s.reset()
	}
	return v, ok, err
}

func numbers(s *stmt) ([]int64, error) {
	var out []int64
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return out, err
		}
		out = append(out, s.colInt(0))
	}
}

func (q *writerSQL) nextQueued(line int64, prio int, after int64, n int) ([]int64, error) {
	q.queued.int(1, slotOf(line, stQueued, prio))
	q.queued.int(2, after)
	q.queued.int(3, int64(n))
	return numbers(q.queued)
}

// usedPages is how much of the file holds data.
func (q *writerSQL) usedPages() (int64, error) {
	all, _, err := first(q.pages)
	if err != nil {
		return 0, err
	}
	free, _, err := first(q.free)
	return all - free, err
}

// rowByID returns the stored row, or nil.
func (e *Engine) rowByID(s *stmt, id morningai.ID) (*row, error) {
	s.blob(1, id[:])
	return e.oneRow(s)
}

func (e *Engine) rowBySeq(s *stmt, seq int64) (*row, error) {
	s.int(1, seq)
	return e.oneRow(s)
}

func (e *Engine) oneRow(s *stmt) (*row, error) {
	ok, err := s.step()
	if err != nil || !ok {
		return nil, err
	}
	r, err := e.scanRow(s)
	s.reset()
	return r, err
}

// packSeqs and unpackSeqs store numbers as varints of their differences.
func packSeqs(seqs []int64) []byte {
	out := make([]byte, 0, 2*len(seqs)+8)
	var last int64
	for _, s := range seqs {
		out = binary.AppendVarint(out, s-last)
		last = s
	}
	return out
}

func unpackSeqs(raw []byte) []int64 {
	var out []int64
	var last int64
	for len(raw) > 0 {
		d, n := binary.Varint(raw)
		if n <= 0 {
			return out
		}
		last += d
		out = append(out, last)
		raw = raw[n:]
	}
	return out
}

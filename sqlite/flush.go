package sqlite

import (
	"maps"
	"slices"
	"time"
)

// flush writes what the transaction has gathered.
func (t *txn) flush() error {
	if err := t.flushNames(); err != nil {
		return err
	}
	if err := t.flushNew(); err != nil {
		return err
	}
	for _, it := range t.order {
		if err := t.flushItem(it); err != nil {
			return err
		}
	}
	if err := t.flushMarks(); err != nil {
		return err
	}
	if err := t.flushNotes(); err != nil {
		return err
	}
	q := &t.e.sql
	for key, n := range t.deltas {
		if n == 0 {
			continue
		}
		q.countPut.int(1, key.line.id)
		q.countPut.int(2, int64(key.status))
		q.countPut.int(3, int64(key.prio))
		q.countPut.int(4, n)
		if err := q.countPut.exec(); err != nil {
			return err
		}
	}
	for _, bucket := range slices.Sorted(maps.Keys(t.expiries)) {
		t.e.expiryN++
		q.expPut.int(1, bucket)
		q.expPut.int(2, t.e.expiryN)
		q.expPut.blob(3, packSeqs(t.expiries[bucket]))
		if err := q.expPut.exec(); err != nil {
			return err
		}
	}
	return nil
}

// flushNames saves the queues, types and nodes that rows refer to for the
// first time.
func (t *txn) flushNames() error {
	names := t.e.names
	for _, it := range t.order {
		if !it.dirty {
			continue
		}
		if l := it.row.line; (it.orig == nil || it.replaced) && !names.isSaved(l) && !slices.Contains(t.lines, l) {
			t.lines = append(t.lines, l)
		}
		if d := it.row.node; d != nil && (it.orig == nil || it.orig.node != d) && !names.isSavedNode(d) && !slices.Contains(t.nodes, d) {
			t.nodes = append(t.nodes, d)
		}
	}
	for _, l := range t.lines {
		s := t.e.sql.line
		s.int(1, l.id)
		s.text(2, l.queue)
		s.text(3, l.typ)
		if err := s.exec(); err != nil {
			return err
		}
	}
	for _, d := range t.nodes {
		s := t.e.sql.node
		s.int(1, d.id)
		s.text(2, d.name)
		if err := s.exec(); err != nil {
			return err
		}
	}
	return nil
}

// flushNew inserts fresh tasks, many to a statement.
func (t *txn) flushNew() error {
	var group []*row
	write := func() error {
		s := t.e.sql.insert1
		if len(group) == insertRows {
			s = t.e.sql.insertN
			for i, r := range group {
				t.e.buf = bindInsert(s, i*insertColumns, r, t.e.buf)
			}
			group = group[:0]
			return s.exec()
		}
		for _, r := range group {
			t.e.buf = bindInsert(s, 0, r, t.e.buf)
			if err := s.exec(); err != nil {
				return err
			}
		}
		group = group[:0]
		return nil
	}
	for _, it := range t.order {
		if it.orig != nil || it.gone {
			continue
		}
		if group = append(group, it.row); len(group) == insertRows {
			if err := write(); err != nil {
				return err
			}
		}
	}
	return write()
}

func (t *txn) flushItem(it *item) error {
	q := &t.e.sql
	old, r := it.orig, it.row
	if it.entry != nil && (!it.running || it.installed) && it.entry.marked {
		q.leaseDel.int(1, r.seq)
		if err := q.leaseDel.exec(); err != nil {
			return err
		}
	}
	if it.moved {
		return nil
	}
	if it.gone {
		return t.flushGone(it)
	}
	if !it.dirty {
		return nil
	}
	switch {
	case old != nil && it.replaced:
		q.remove.int(1, r.seq)
		if err := q.remove.exec(); err != nil {
			return err
		}
		t.e.buf = bindInsert(q.insert1, 0, r, t.e.buf)
		if err := q.insert1.exec(); err != nil {
			return err
		}
	case old != nil:
		t.e.buf = bindUpdate(q.update, r, t.e.buf)
		if err := q.update.exec(); err != nil {
			return err
		}
	}
	if err := t.flushDue(old, r); err != nil {
		return err
	}
	t.count(old, -1)
	t.count(r, 1)
	if at := nextLook(r, &t.e.cfg); at != 0 && (old == nil || at != nextLook(old, &t.e.cfg)) {
		t.expire(r.seq, at)
	}
	return nil
}

func (t *txn) flushDue(old, r *row) error {
	q := &t.e.sql
	was, is := old != nil && old.status.due(), r != nil && r.status.due()
	if was && is && old.runAt == r.runAt {
		return nil
	}
	if was {
		q.dueDel.int(1, old.runAt)
		q.dueDel.int(2, old.seq)
		if err := q.dueDel.exec(); err != nil {
			return err
		}
	}
	if is {
		q.duePut.int(1, r.runAt)
		q.duePut.int(2, r.seq)
		return q.duePut.exec()
	}
	return nil
}

// flushGone deletes a row and what belongs to it.
func (t *txn) flushGone(it *item) error {
	if it.orig == nil {
		return nil
	}
	q := &t.e.sql
	stmts := []*stmt{q.remove}
	if it.row.flags&flagAttempts != 0 {
		stmts = append(stmts, q.attemptDel)
	}
	if it.row.flags&flagSteps != 0 {
		stmts = append(stmts, q.stepDel)
	}
	if it.row.flags&flagLogs != 0 {
		stmts = append(stmts, q.logDel)
	}
	for _, s := range stmts {
		s.int(1, it.row.seq)
		if err := s.exec(); err != nil {
			return err
		}
	}
	t.count(it.orig, -1)
	return t.flushDue(it.orig, nil)
}

func (t *txn) count(r *row, n int64) {
	if r != nil && !r.status.hidden() {
		t.deltas[countKey{r.line, r.status, r.priority}] += n
	}
}

// nextLook is when retention next has to look at the row; 0 if never.
func nextLook(r *row, cfg *config) int64 {
	switch {
	case r.status.hidden():
		return r.purgeAt(cfg)
	case r.status.ended():
		return r.expires
	}
	return 0
}

// expire notes a task in a bucket of time, at most a second wide: a commit makes
// one entry for all tasks that share a bucket.
func (t *txn) expire(seq, at int64) {
	wide := int64(1 << 20)
	for wide > 1<<13 && wide > (at-t.nowUS)/64 {
		wide >>= 1
	}
	bucket := (at + wide - 1) / wide * wide
	t.expiries[bucket] = append(t.expiries[bucket], seq)
}

// publish brings memory up to the commit that has just been made.
func (t *txn) publish() {
	e := t.e
	e.names.markSaved(t.lines, t.nodes)
	e.mu.Lock()
	for key, n := range t.deltas {
		if n != 0 {
			e.counts[key] += n
		}
	}
	for kind, k := range t.kinds {
		e.kinds[kind] = *k
	}
	woken, signal := 0, false
	for _, it := range t.order {
		if en := it.entry; en != nil {
			if it.running && !it.installed {
				en.row, en.run = it.row, it.run
				if it.mark {
					en.marked, en.list = true, nil
				}
			} else {
				e.endRun(en)
				woken++ // a limit may have room now
			}
		}
		r := it.row
		switch {
		case it.running && it.installed:
			e.adopt(it)
			signal = true
		case it.running || it.gone:
		case r.status == stQueued:
			if it.orig != nil {
				e.readyTurn++
			}
			e.makeReady(r)
			woken++
		case r.status.due() && it.dirty:
			if e.nextDue == 0 || r.runAt < e.nextDue {
				e.nextDue, signal = r.runAt, true
			}
		}
	}
	for bucket := range t.expiries {
		if e.nextExpiry == 0 || bucket < e.nextExpiry {
			e.nextExpiry, signal = bucket, true
		}
	}
	t.publishLists()
	e.oldestUnmarked()
	for _, cfg := range t.configs {
		e.applyConfig(cfg, t.now)
		woken += len(e.waiters.list)
	}
	for _, en := range t.cancels {
		if en.sess != nil && !en.gone {
			en.sess.cancels = append(en.sess.cancels, en.row.id)
			e.waiters.wakeSession(en.sess)
		}
	}
	if e.cfg.maxEnded > 0 {
		signal = e.checkEnded(t.deltas) || signal
	}
	e.traffic.add(t.now, t.traffic)
	e.events.append(t.events)
	e.waiters.wake(e, woken)
	e.mu.Unlock()
	e.erasures.done(t.erased, t.erasedTurn)
	if signal {
		e.look()
	}
}

// adopt takes in a running task that an import has brought, or an earlier process
// has left. It goes back to its queue unless a session beats with it in time. Engine.mu is held.
func (e *Engine) adopt(it *item) {
	now := e.now()
	grace := e.cfg.orphanGrace
	if it.run.grace > 0 {
		grace = time.Duration(it.run.grace) * time.Microsecond
	}
	en := &entry{row: it.row, run: it.run, at: now, marked: true, giveUp: now.Add(grace)}
	e.running[it.row.seq] = en
	e.byID[it.row.id] = en
	e.orphans[en] = struct{}{}
	e.queueFor(it.row.line.queue).running++
}

// endRun forgets a running task. Engine.mu is held.
func (e *Engine) endRun(en *entry) {
	en.gone = true
	delete(e.running, en.row.seq)
	delete(e.byID, en.row.id)
	delete(e.orphans, en)
	if en.sess != nil {
		delete(en.sess.running, en.row.seq)
	}
	e.queueFor(en.row.line.queue).running--
}

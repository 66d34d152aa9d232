package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// clockLoop makes happen what is due: scheduled tasks, the marks of claims,
// retention, erasures, tasks whose session is gone, and rates that allow another start.
func (e *Engine) clockLoop() {
	defer close(e.clockEnd)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-e.tick:
		case <-timer.C:
		}
		failed := false
		for _, w := range e.dueWork() {
			if err := e.submit(context.Background(), w); err != nil {
				if morningai.CodeOf(err) == morningai.CodeClosed {
					return
				}
				// The writer has logged what is wrong with the disk.
				failed = true
			}
		}
		wait := e.nextLook()
		if failed {
			wait = max(wait, time.Second)
		}
		timer.Reset(wait)
	}
}

const (
	promoteBatch = 1000
	sweepBatch   = 2000
	trimBatch    = 500
	longestSleep = time.Minute // so that a step of the wall clock is noticed
)

// dueWork returns what has to be written now.
func (e *Engine) dueWork() []work {
	now := e.now()
	us := now.UnixMicro()
	var out []work
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.nextDue != 0 && e.nextDue <= us {
		out = append(out, promoteWork{})
	}
	if e.nextExpiry != 0 && e.nextExpiry <= us {
		out = append(out, sweepWork{})
	}
	for name := range e.trim {
		out = append(out, trimWork{name})
	}
	at := e.nextMark()
	if in, ok := e.erasures.due(); ok && in <= 0 || !at.IsZero() && !now.Before(at) {
		out = append(out, markWork{})
	}
	var lost []lostRun
	for en := range e.orphans {
		if !now.Before(en.giveUp) {
			lost = append(lost, lostRun{en.row.seq, en.run.claim, en.run.lease})
		}
	}
	if len(lost) > 0 {
		out = append(out, &loseWork{lost, morningai.OutcomeLost})
	}
	if !e.rateWake.IsZero() && !now.Before(e.rateWake) {
		e.rateWake = time.Time{}
		e.waiters.wake(e, len(e.waiters.list))
	}
	return out
}

// nextMark is when a claim is to be written down next; zero if none is. Engine.mu
// is held.
func (e *Engine) nextMark() (at time.Time) {
	if len(e.unlisted) > 0 {
		at = e.unlisted[0].at.Add(listAfter)
	}
	if en := e.oldestUnmarked(); en != nil && (at.IsZero() || en.at.Add(markAfter).Before(at)) {
		at = en.at.Add(markAfter)
	}
	return at
}

// oldestUnmarked returns the longest running task that has no row in leases.
// Engine.mu is held.
func (e *Engine) oldestUnmarked() *entry {
	for len(e.unmarked) > 0 && (e.unmarked[0].gone || e.unmarked[0].marked) {
		e.unmarked[0] = nil
		e.unmarked = e.unmarked[1:]
	}
	if len(e.unmarked) == 0 {
		e.unmarked = nil
		return nil
	}
	return e.unmarked[0]
}

// nextLook is how long the clock may sleep.
func (e *Engine) nextLook() time.Duration {
	now := e.now()
	next := now.Add(longestSleep)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	e.mu.Lock()
	earlier(timeOf(e.nextDue))
	earlier(timeOf(e.nextExpiry))
	earlier(e.rateWake)
	earlier(e.nextMark())
	for en := range e.orphans {
		earlier(en.giveUp)
	}
	if len(e.trim) > 0 {
		earlier(now)
	}
	e.mu.Unlock()
	wait := next.Sub(now)
	if !e.cfg.realClock {
		wait = min(wait, 20*time.Millisecond)
	}
	if in, ok := e.erasures.due(); ok {
		wait = min(wait, in)
	}
	return max(wait, 100*time.Microsecond)
}

// markWork makes a commit, which notes the claims that no other has and makes
// the erasures that wait.
type markWork struct{}

func (markWork) size() int          { return 1 }
func (markWork) apply(_ *txn) error { return nil }

// promoteWork makes scheduled tasks ready whose time has come.
type promoteWork struct{}

func (promoteWork) size() int { return promoteBatch }

func (promoteWork) apply(t *txn) error {
	q := &t.e.sql
	q.dueNext.int(1, t.nowUS)
	q.dueNext.int(2, promoteBatch)
	type dueRow struct{ at, seq int64 }
	var due []dueRow
	for {
		ok, err := q.dueNext.step()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		due = append(due, dueRow{q.dueNext.colInt(0), q.dueNext.colInt(1)})
	}
	for _, d := range due {
		it, err := t.findSeq(d.seq)
		if err != nil {
			return err
		}
		if it == nil || !it.row.status.due() || it.row.runAt != d.at {
			q.dueDel.int(1, d.at)
			q.dueDel.int(2, d.seq)
			if err := q.dueDel.exec(); err != nil {
				return err
			}
			continue
		}
		t.soon(it)
	}
	t.after = append(t.after, func(e *Engine) error {
		at, _, err := first(e.sql.dueMin)
		e.mu.Lock()
		e.nextDue = at
		e.mu.Unlock()
		return err
	})
	return nil
}

// sweepWork hides tasks whose retention is over and deletes those that no
// repeat can ask for any more.
type sweepWork struct{}

func (sweepWork) size() int { return sweepBatch }

func (sweepWork) apply(t *txn) error {
	q := &t.e.sql
	for left := sweepBatch; left > 0; {
		q.expNext.int(1, t.nowUS)
		ok, err := q.expNext.step()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		bucket, n, seqs := q.expNext.colInt(0), q.expNext.colInt(1), unpackSeqs(q.expNext.colRaw(2))
		q.expNext.reset()
		q.expDel.int(1, bucket)
		q.expDel.int(2, n)
		if err := q.expDel.exec(); err != nil {
			return err
		}
		if len(seqs) > left {
			t.expiries[bucket] = append(t.expiries[bucket], seqs[left:]...)
			seqs = seqs[:left]
		}
		left -= len(seqs)
		for _, seq := range seqs {
			it, err := t.findSeq(seq)
			if err != nil {
				return err
			}
			if it != nil {
				t.sweep(it)
			}
		}
	}
	t.after = append(t.after, func(e *Engine) error {
		at, _, err := first(e.sql.expMin)
		e.mu.Lock()
		e.nextExpiry = at
		e.mu.Unlock()
		return err
	})
	return nil
}

// sweep does what the row's times say; a row whose times have moved on is in a
// later bucket too.
func (t *txn) sweep(it *item) {
	r := it.row
	if !r.status.hidden() && r.status.ended() && r.expires <= t.nowUS {
		r = it.edit()
		r.status |= stHidden
	}
	if r.status.hidden() && r.purgeAt(&t.e.cfg) <= t.nowUS {
		it.gone = true
	}
}

// trimWork hides a queue's oldest ended tasks beyond WithMaxEnded.
type trimWork struct{ queue string }

func (trimWork) size() int { return trimBatch }

func (w trimWork) apply(t *txn) error {
	t.e.mu.Lock()
	over := t.e.ended(w.queue) - int64(t.e.cfg.maxEnded)
	var keys []countKey
	for key, n := range t.e.counts {
		if n > 0 && key.status.ended() && key.line.queue == w.queue {
			keys = append(keys, key)
		}
	}
	t.e.mu.Unlock()
	n := min(over, trimBatch)
	t.after = append(t.after, func(e *Engine) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.ended(w.queue) <= int64(e.cfg.maxEnded) {
			delete(e.trim, w.queue)
		}
		return nil
	})
	if n <= 0 {
		return nil
	}
	var seqs []int64
	for _, key := range keys {
		s := t.e.sql.oldest
		s.int(1, slotOf(key.line.id, key.status, key.prio))
		s.int(2, n)
		found, err := numbers(s)
		if err != nil {
			return err
		}
		seqs = append(seqs, found...)
	}
	slices.Sort(seqs)
	for _, seq := range seqs[:min(int(n), len(seqs))] {
		it, err := t.findSeq(seq)
		if err != nil {
			return err
		}
		if it != nil && it.row.status.ended() && !it.row.status.hidden() {
			r := it.edit()
			r.status |= stHidden
			r.expires = min(r.expires, t.nowUS)
		}
	}
	return nil
}

// ended counts a queue's ended tasks. Engine.mu is held.
func (e *Engine) ended(queue string) int64 {
	var n int64
	for key, c := range e.counts {
		if key.line.queue == queue && key.status.ended() {
			n += c
		}
	}
	return n
}

// checkEnded notes the queues that have gone over WithMaxEnded. Engine.mu is
// held.
func (e *Engine) checkEnded(deltas map[countKey]int64) bool {
	over := false
	for key, n := range deltas {
		if n > 0 && key.status.ended() && !e.trim[key.line.queue] && e.ended(key.line.queue) > int64(e.cfg.maxEnded) {
			e.trim[key.line.queue] = true
			over = true
		}
	}
	return over
}

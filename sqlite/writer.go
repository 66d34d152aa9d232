package sqlite

import (
	"context"
	"errors"

	lib "modernc.org/sqlite/lib"

	"github.com/RC918/morningai"
)

// work is one call that writes. apply may run more than once, each time in a
// fresh transaction; an error is one of the database and fails the transaction.
type work interface {
	apply(t *txn) error
	size() int // rough number of rows, to bound a batch
}

type request struct {
	work work
	done chan error
}

// batchMax bounds the rows of one commit, and so how long others wait for it.
const batchMax = 2048

// submit hands work to the writer and waits for its commit. If ctx ends first
// the work goes on, and its results must not be looked at.
func (e *Engine) submit(ctx context.Context, w work) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{work: w, done: make(chan error, 1)}
	e.gate.RLock()
	if e.closed {
		e.gate.RUnlock()
		return errClosed
	}
	select {
	case e.reqs <- r:
		e.gate.RUnlock()
	case <-ctx.Done():
		e.gate.RUnlock()
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeLoop owns the writing connection. Whatever has queued up while one
// commit waited for the disk goes into the next; there is no timer.
func (e *Engine) writeLoop() {
	defer close(e.writerEnd)
	var batch []*request
	for {
		select {
		case r, ok := <-e.reqs:
			if !ok {
				e.leaveClean()
				return
			}
			batch = append(batch[:0], r)
		case <-e.poke:
			e.refill()
			continue
		}
		rows := batch[0].work.size()
	more:
		for rows < batchMax {
			select {
			case r, ok := <-e.reqs:
				if !ok {
					break more
				}
				batch = append(batch, r)
				rows += r.work.size()
			default:
				break more
			}
		}
		e.commitBatch(batch)
		clear(batch)
		e.refill()
	}
}

// commitBatch makes one commit of all requests. If something other than the
// disk is wrong, each gets a commit of its own, so that only the guilty fails.
func (e *Engine) commitBatch(batch []*request) {
	err := e.commit(batch)
	if err == nil || len(batch) == 1 || e.failed.Load() != nil || isStorage(err) {
		for _, r := range batch {
			r.done <- err
		}
		return
	}
	for _, r := range batch {
		r.done <- e.commit([]*request{r})
	}
}

// commit applies the requests in one transaction. On an error nothing of them
// is left, in the file or in memory.
func (e *Engine) commit(batch []*request) error {
	if f := e.failed.Load(); f != nil {
		return f
	}
	rows := 0
	for _, r := range batch {
		rows += r.work.size()
	}
	t := e.begin(rows)
	err := e.sql.begin.exec()
	if err == nil {
		err = t.eraseWaiting()
	}
	for i := 0; err == nil && i < len(batch); i++ {
		err = batch[i].work.apply(t)
	}
	if err == nil {
		err = t.flush()
	}
	if err == nil {
		err = e.sql.commit.exec()
	}
	if err == nil {
		t.publish()
		for _, fn := range t.after {
			if err := fn(e); err != nil {
				e.cfg.logger.Error("the next due time cannot be read", "error", err)
			}
		}
		t.reuse()
		return nil
	}
	if e.w.inTransaction() {
		if back := e.sql.rollback.exec(); back != nil {
			err = errors.Join(err, back)
		}
	}
	t.abandon()
	t.reuse()
	if isFull(err) {
		e.noteFull(batch)
	}
	out := storageError("write", err)
	if permanent(err) {
		f := &morningai.Error{Code: morningai.CodeStorageFailed, Op: "write", Detail: "the disk did not confirm a write; no more are made until a restart",
			Hint: "check the disk, then restart", Err: err}
		e.failed.Store(f)
		e.cfg.logger.Error("the task file can no longer be written", "error", err)
		return f
	}
	if !isStorage(err) && morningai.CodeOf(err) == "" {
		return err
	}
	return out
}

// permanent tells failures after which the state of the file's pages on disk is
// unknown, so that going on could acknowledge what is not there.
func permanent(err error) bool {
	db, ok := errors.AsType[*dbError](err)
	if !ok || isFull(err) {
		return false
	}
	switch db.code & 0xff {
	case lib.SQLITE_IOERR, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return true
	}
	return false
}

// refill reads more ready tasks into the runs that asked for it. It runs
// between transactions, so that memory and table agree.
func (e *Engine) refill() {
	const chunk = 8 << 10
	for {
		e.mu.Lock()
		if len(e.refills) == 0 {
			e.mu.Unlock()
			return
		}
		k := e.refills[0]
		e.refills = e.refills[1:]
		e.mu.Unlock()

		seqs, err := e.sql.nextQueued(k.line.id, k.prio, k.hi, chunk)
		e.mu.Lock()
		if err != nil {
			k.asked = false
			e.mu.Unlock()
			e.cfg.logger.Error("ready tasks cannot be read", "error", err)
			return
		}
		done := len(seqs) < chunk
		hi := k.hi
		if len(seqs) > 0 {
			hi = seqs[len(seqs)-1]
		}
		kept := seqs[:0]
		for _, seq := range seqs {
			if e.running[seq] == nil {
				kept = append(kept, seq)
			}
		}
		k.fill(kept, done)
		k.hi = max(k.hi, hi)
		e.waiters.wake(e, k.len())
		e.mu.Unlock()
	}
}

// askRefill has the writer read more of a run. Engine.mu is held.
func (e *Engine) askRefill(k *run) {
	if k.asked || !k.more {
		return
	}
	k.asked = true
	e.refills = append(e.refills, k)
	select {
	case e.poke <- struct{}{}:
	default:
	}
}
